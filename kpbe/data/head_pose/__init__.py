"""Head pose labels of training frames: what they mean, the stage that makes them, the networks that teach
them.
"""
