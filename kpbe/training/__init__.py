"""Two-stage training of the frontend and training of trainable backends (paper III.D)."""
