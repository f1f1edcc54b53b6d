"""Two-stage training of the frontend and training of trainable backends (DESIGN section 5)."""
