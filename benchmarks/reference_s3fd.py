"""The reference's face detection: S3FD on whole frames in batches, then a Python loop over candidate cells.

It is written from a description of the procedure (Rudrabha/Wav2Lip, face_detection). The network is that of
the package face-alignment, with random weights, because its published file cannot be had here. The answers of
a trained network are therefore planted behind it: a high score and our detector's box at every cell whose
anchor overlaps the face by at least 0.35, which S3FD's training counts as the face. The time of the loop is
reported separately.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.stopwatch import Stopwatch

CHANNEL_MEANS = (104, 117, 123)
SMALLEST_STRIDE = 4
ANCHOR_STRIDES = 4
"""Edge of an anchor in strides of its map."""
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
CANDIDATE_SCORE = 0.05
FINAL_SCORE = 0.5
LARGEST_OVERLAP = 0.3
FACE_OVERLAP = 0.35

Maps = list[tuple[np.ndarray, np.ndarray]]
"""For each stride: face scores (N, h, w) and encoded boxes (N, 4, h, w)."""


class S3FD:
    """Face detection as the reference runs it.

    Args:
        device: torch device of the network.
    """

    def __init__(self, device: torch.device) -> None:
        from face_alignment.detection.sfd.net_s3fd import s3fd

        torch.manual_seed(0)
        self.device = device
        self.network = s3fd().to(device).eval()

    @torch.no_grad()
    def plant(self, frame: np.ndarray, boxes: np.ndarray) -> Maps:
        """The answers of a trained network to frames like `frame` that show faces in `boxes` (N, 4)."""
        answers = self._run([frame])
        return [_planted(2**i * SMALLEST_STRIDE, s.shape[-2:], boxes) for i, (s, _) in enumerate(answers)]

    @torch.no_grad()
    def detect(
        self, frames: Sequence[np.ndarray], planted: Maps, watch: Stopwatch
    ) -> list[np.ndarray | None]:
        """The first box (4,) of each frame of a batch, None for a frame without one.

        The parts of the watch are `S3FD` and `candidate loop`.

        Args:
            frames: B uint8 RGB frames of one size.
            planted: the maps of these frames, which replace the network's.
        """
        with watch.part("S3FD"):
            answers = self._run(frames)
        assert all(s.shape[-2:] == p.shape[-2:] for (s, _), (p, _) in zip(answers, planted, strict=True))
        with watch.part("candidate loop"):
            candidates = _candidates([(torch.from_numpy(s), torch.from_numpy(b)) for s, b in planted])
            return [_best(candidates[:, i]) if len(candidates) else None for i in range(len(frames))]

    def _run(self, frames: Sequence[np.ndarray]) -> list[tuple[Tensor, Tensor]]:
        pixels = np.array(frames) - np.array(CHANNEL_MEANS)
        batch = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float().to(self.device)
        maps = self.network(batch)
        scores = [F.softmax(m, dim=1)[:, 1].cpu() for m in maps[::2]]
        return list(zip(scores, [m.cpu() for m in maps[1::2]], strict=True))


def _candidates(maps: Sequence[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Boxes with scores of every candidate cell, (cells, B, 5).

    A cell with a score in any frame gives a box for every frame of the batch.
    """
    cells = []
    for level, (scores, locations) in enumerate(maps):
        stride = 2**level * SMALLEST_STRIDE
        for _, row, column in zip(*np.where(scores > CANDIDATE_SCORE), strict=True):
            x, y = stride / 2 + column * stride, stride / 2 + row * stride
            anchor = torch.tensor([[x, y, stride * ANCHOR_STRIDES, stride * ANCHOR_STRIDES]])
            boxes = _decode(locations[:, :, row, column].contiguous(), anchor)
            cells.append(torch.cat((boxes, scores[:, row, column, None]), 1).numpy())
    return np.array(cells)


def _decode(location: Tensor, anchor: Tensor) -> Tensor:
    centres = anchor[:, :2] + location[:, :2] * CENTRE_VARIANCE * anchor[:, 2:]
    sizes = anchor[:, 2:] * torch.exp(location[:, 2:] * SIZE_VARIANCE)
    return torch.cat((centres - sizes / 2, centres + sizes / 2), 1)


def _best(boxes: np.ndarray) -> np.ndarray | None:
    """The first box (4,) that non-maximum suppression of (n, 5) boxes with scores leaves, if any."""
    left, top, right, bottom, scores = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    order = scores.argsort()[::-1]
    kept = []
    while order.size:
        first, rest = order[0], order[1:]
        kept.append(boxes[first])
        width = np.minimum(right[first], right[rest]) - np.maximum(left[first], left[rest]) + 1
        height = np.minimum(bottom[first], bottom[rest]) - np.maximum(top[first], top[rest]) + 1
        common = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[common / (areas[first] + areas[rest] - common) <= LARGEST_OVERLAP]
    kept = [box for box in kept if box[4] > FINAL_SCORE]
    return np.clip(kept[0][:4], 0, None) if kept else None


def _planted(stride: int, size: Sequence[int], boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and encoded boxes of one stride for faces in `boxes` (N, 4)."""
    height, width = size
    edge = stride * ANCHOR_STRIDES
    y, x = np.meshgrid(*((np.arange(n) + 0.5) * stride for n in (height, width)), indexing="ij")
    left, top, right, bottom = boxes.T[..., None, None]
    across = np.minimum(right, x + edge / 2) - np.maximum(left, x - edge / 2)
    down = np.minimum(bottom, y + edge / 2) - np.maximum(top, y - edge / 2)
    common = np.maximum(across, 0) * np.maximum(down, 0)
    overlap = common / ((right - left) * (bottom - top) + edge**2 - common)
    scores = np.where(overlap >= FACE_OVERLAP, FINAL_SCORE + (1 - FINAL_SCORE) * overlap, 0)

    encoded = np.stack(
        (
            ((left + right) / 2 - x) / (CENTRE_VARIANCE * edge),
            ((top + bottom) / 2 - y) / (CENTRE_VARIANCE * edge),
            np.broadcast_to(np.log((right - left) / edge) / SIZE_VARIANCE, scores.shape),
            np.broadcast_to(np.log((bottom - top) / edge) / SIZE_VARIANCE, scores.shape),
        ),
        axis=1,
    )
    return scores.astype(np.float32), encoded.astype(np.float32)


def candidates_per_frame(planted: Maps) -> float:
    """Mean number of cells that the loop visits for a frame."""
    return sum((scores > CANDIDATE_SCORE).sum() for scores, _ in planted) / len(planted[0][0])
