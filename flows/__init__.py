"""One module per DVC stage (`python -m flows.<stage>`), the pipeline flow that people start from the UI, and
its server.
"""
