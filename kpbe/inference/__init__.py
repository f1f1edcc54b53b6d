"""The trained frontend at work: enhancement, free view, whole videos, released weights."""
