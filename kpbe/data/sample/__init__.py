"""Built-in sample data: procedural talking heads with speech-like sound and ground truth."""

from kpbe.data.sample.clip import RenderedClip, Truth, render_clip
from kpbe.data.sample.write import write_sample

__all__ = ["RenderedClip", "Truth", "render_clip", "write_sample"]
