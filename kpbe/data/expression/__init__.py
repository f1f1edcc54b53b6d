"""Expression labels of training frames: points on the face, blendshapes, and the stage that makes them."""
