"""Enhancing a video the usual way, for comparison: a Python loop over frames that are all in memory.

Plain on purpose, as research code does it: imageio reads the whole video; for every frame the face is
detected in the full picture, the source is encoded again with the rest of the generator, and the whole
picture is blended in floats; imageio writes the list. Networks, detail and detector are KPBE's own, not
prepared for rendering. Sound is left out.
"""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch

from kpbe.data.faces import YuNet
from kpbe.frontend.checkpoints import load_frontend
from kpbe.inference.paste_back import face_mask
from kpbe.media.images import scaled

AROUND_FACE = 0.2


@torch.no_grad()
def enhance_as_usual(frontend_file: Path, detector_file: Path, talking: Path, out: Path) -> int:
    """Enhance a video of one face in every frame; the first frame is the source.

    Returns:
        The number of frames.
    """
    frontend = load_frontend(frontend_file)
    detector = YuNet(detector_file)
    frames = [frame for frame in imageio.imread(talking, plugin="pyav")]
    fps = imageio.immeta(talking, plugin="pyav")["fps"]
    results = []
    source = None
    for frame in frames:
        box = detector.detect(frame)[0, :4]
        centre, side = (box[:2] + box[2:]) / 2, (1 + 2 * AROUND_FACE) * max(box[2:] - box[:2])
        side = int(min(side, *frame.shape[:2]))
        left, top = np.clip(
            (centre - side / 2).astype(int), 0, (frame.shape[1] - side, frame.shape[0] - side)
        )
        crop = frame[top : top + side, left : left + side]
        if source is None:
            source = crop
        decomposed = frontend.decompose(_tensor(source))
        rendered = frontend.reenact(decomposed, None, _tensor(scaled(crop, *source.shape[1::-1]))).frame
        picture = (rendered[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        mask = np.zeros((*frame.shape[:2], 1))
        mask[top : top + side, left : left + side, 0] = face_mask((side, side), box - (left, top, left, top))
        pasted = np.zeros(frame.shape)
        pasted[top : top + side, left : left + side] = scaled(picture, side, side)
        results.append((mask * pasted + (1 - mask) * frame).astype(np.uint8))
    with imageio.imopen(out, "w", plugin="pyav") as file:
        file.init_video_stream("libx264", fps=fps)
        for result in results:
            file.write_frame(result)
    return len(results)


def _tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy()).float()[None] / 255
