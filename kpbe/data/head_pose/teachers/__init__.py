"""Networks that estimate the head pose in a picture, behind one protocol."""
