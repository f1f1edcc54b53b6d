"""KPBE: keypoint based enhancement of audio-driven talking-head videos (arXiv 2210.03335)."""

__version__ = "0.1.0"
