"""Expression labels of training frames: points on the face and blendshapes, and the stage that makes them."""
