"""The clip explorer, a component in plain JavaScript (reports/web/explorer).

It shows panels, one scrubber for all of them, and curves that follow the scrubber and seek on a click. All
methods lie in one video (`reports.comparison`), of which the browser draws parts, so they cannot drift apart.

The video goes to Streamlit's media files, as `st.video` does: Streamlit serves it with byte ranges (Safari
needs them, and seeking is faster), under the digest of its content, and only while a session shows it. A
static folder would serve every clip to anyone who guesses its name and would need cleaning. As component
data, the whole video would go through the websocket before its first frame is shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from streamlit import runtime
from streamlit.components.v2 import component

from kpbe.data.clips import Clip
from kpbe.methods import STATIC_SOURCE, backend_of_method, display_name, enhanced_method
from reports.comparison import Comparison
from reports.layout import method_color
from reports.pictures import png

TRUTH = "ground_truth"
DIFFERENCE = "difference"
WEB = Path(__file__).resolve().parent / "web" / "explorer"
SCRIPTS = ("player.js", "curves.js", "panels.js", "explorer.js")
DASHES = ("", "5 3", "1.5 3")
"""Dash patterns of the curves: of the first backend, the second, and all others."""

CURVES = {"ssim": ("SSIM", "SSIM, frame by frame", 3), "psnr": ("PSNR", "PSNR in dB, frame by frame", 1)}
"""Metric to its name, heading and decimals."""

MOUTH_SIDE = 1.3
"""Side of the mouth's square, in distances between the eyes."""

MOUTH_IN_BOX = (0.5, 0.78, 0.5)
"""Where a face box has its mouth, and the square's side, as shares of the box; for clips without
landmarks.
"""

STEADY_FRAMES = 5
"""Landmarks are averaged over this many frames; otherwise the zoomed picture trembles."""


@dataclass(frozen=True)
class Mouth:
    """Where the mouth is, as shares of the picture."""

    middles: np.ndarray
    side: float


_component = component(
    "kpbe_explorer",
    html=(WEB / "explorer.html").read_text(encoding="utf-8"),
    css=(WEB / "explorer.css").read_text(encoding="utf-8"),
    js="\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS),
)


def explore(data: Mapping[str, Any]) -> None:
    """Show the explorer with the result of `explorer_data`."""
    _component(key="explorer", data=dict(data))


def explorer_data(
    clip: Clip,
    backend: str,
    comparison: Comparison,
    source_image: np.ndarray,
    source_frame: int,
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    still: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the component shows, ready for JSON.

    Args:
        clip: the test clip.
        backend: its panels are open at first.
        comparison: the video.
        source_image: (H, W, 3) uint8 RGB.
        source_frame: index of that frame in the clip.
        curves: metric -> method -> values by frame; not finite where frames are identical.
        still: backends that were fed the source image; their heads stay where they are in it.
    """
    methods = [method for method in comparison.methods if method != TRUTH]
    panels = [
        _panel(STATIC_SOURCE, "Source image", image=_data_url(source_image)),
        _panel(TRUTH, "Ground truth"),
    ]
    panels += [_panel(method, display_name(method), dash=_dash(method, methods)) for method in methods]
    for panel in panels[1:]:
        panel["cell"] = comparison.methods.index(panel["id"])
    enhanced = enhanced_method(backend)
    return {
        "video": _base_path() + served(comparison.video),
        "backend": backend,
        "fps": clip.fps,
        "frames": comparison.frames,
        "grid": {"columns": comparison.columns, "rows": comparison.rows},
        "panels": panels,
        "shown": [STATIC_SOURCE, TRUTH, *(m for m in methods if m in (backend, enhanced)), DIFFERENCE],
        "compared": [enhanced if enhanced in methods else methods[0], TRUTH],
        "curves": [_curve(metric, of_method) for metric, of_method in curves.items()],
        "source_frame": source_frame,
        "mouth": _mouth_data(clip, methods, source_frame, still),
    }


def served(video: bytes) -> str:
    """Return the server's address of a video, handed to Streamlit's media files.

    Streamlit keeps the video for as long as this session shows it.
    """
    return runtime.get_instance().media_file_mgr.add(video, "video/mp4", "kpbe explorer")


def find_mouth(clip: Clip) -> Mouth | None:
    """The mouth of a clip by its landmarks, else by its face boxes, else None."""
    size = (clip.width, clip.height)
    if clip.landmarks.is_file():
        eyes_and_mouth = np.load(clip.landmarks)
        if not np.isfinite(eyes_and_mouth).all():
            return None
        between_eyes = np.linalg.norm(eyes_and_mouth[:, 1] - eyes_and_mouth[:, 0], axis=1).max()
        middles, side = (eyes_and_mouth[:, 2] + 0.5) / size, MOUTH_SIDE * between_eyes / clip.width
    elif clip.boxes.is_file():
        boxes = np.load(clip.boxes)
        x, y, share = MOUTH_IN_BOX
        sides = boxes[:, 2:] - boxes[:, :2]
        middles, side = (boxes[:, :2] + (x, y) * sides) / size, share * sides[:, 0].max() / clip.width
    else:
        return None
    if not len(middles):
        return None
    return Mouth(_steady(middles), float(np.clip(side, 1 / 6, 1.0)))


def _mouth_data(
    clip: Clip, methods: Sequence[str], source_frame: int, still: Sequence[str]
) -> dict[str, Any] | None:
    mouth = find_mouth(clip)
    if mouth is None:
        return None
    moving = np.round(mouth.middles, 4).tolist()
    standing = [moving[min(source_frame, len(moving) - 1)]]
    tracks = {method: standing if method in still else moving for method in (TRUTH, *methods)}
    return {"side": mouth.side, "tracks": {STATIC_SOURCE: standing, **tracks}}


def _steady(points: np.ndarray) -> np.ndarray:
    padded = np.pad(points, ((STEADY_FRAMES // 2,) * 2, (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, STEADY_FRAMES, axis=0).mean(-1)


def _panel(method: str, name: str, dash: str = "", image: str | None = None) -> dict[str, Any]:
    color = None if method == TRUTH else method_color(method)
    return {"id": method, "name": name, "color": color, "dash": dash, "cell": None, "image": image}


def _dash(method: str, methods: Sequence[str]) -> str:
    backends = [name for name in methods if name == backend_of_method(name)]
    return DASHES[min(backends.index(backend_of_method(method) or method), len(DASHES) - 1)]


def _curve(metric: str, of_method: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    name, title, decimals = CURVES[metric]
    lines = [
        {"id": method, "values": [round(float(v), 5) if np.isfinite(v) else None for v in values]}
        for method, values in of_method.items()
    ]
    return {"name": name, "heading": title, "decimals": decimals, "lines": lines}


def _data_url(image: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def _base_path() -> str:
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}" if base else ""
