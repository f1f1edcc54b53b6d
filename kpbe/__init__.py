"""KPBE: keypoint based enhancement of audio-driven talking-head videos (arXiv 2210.03335).

What Python programs use is handed on from here and imported when it is used, since torch takes seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

EXPORTS = {
    "Driver": "kpbe.inference.driving",
    "Driving": "kpbe.inference.driving",
    "Frontend": "kpbe.frontend.model",
    "Options": "kpbe.inference.enhance_video",
    "Recording": "kpbe.media.recording",
    "View": "kpbe.inference.free_view",
    "decompose_image": "kpbe.inference.free_view",
    "enhance_video": "kpbe.inference.enhance_video",
    "free_view": "kpbe.inference.free_view",
    "open_frontend": "kpbe.inference.frontends",
    "read_portrait": "kpbe.inference.enhance_video",
    "score_files": "kpbe.evaluation.score_files",
}
"""Names and the modules that define them."""


def __getattr__(name: str) -> Any:
    if name in EXPORTS:
        return getattr(import_module(EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*EXPORTS, "__version__"])
