"""LSE-D and LSE-C (Prajwal et al. 2020): SyncNet's distance between lips and sound, and its confidence.

The arithmetic is that of the public evaluation of SyncNet (joonson/syncnet_python): windows of five frames,
sound shifted by up to 15 frames either way and filled up with zeros, distances averaged over the video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kpbe.metrics.mfcc import RATE, mfcc
from kpbe.metrics.syncnet import SIDE, WINDOW_FRAMES, WINDOW_MFCC, SyncNet

FPS = 25
MFCC_PER_FRAME = 4
SHIFTS = 15
SETTINGS = {"network": "SyncNet v2", "fps": FPS, "shifts": SHIFTS, "window": WINDOW_FRAMES}

SMALLEST_TRACK = WINDOW_FRAMES + 2  # fewer frames are too short for the median filter of the boxes
CROP_MARGIN = 0.4
BOX_MEDIAN = 13
GREY = (110, 110, 110)

_BATCH = 20  # windows


@dataclass(frozen=True)
class LipSyncError:
    """SyncNet's measures of one video.

    Attributes:
        distance: LSE-D, the smallest mean distance over all shifts; less is better.
        confidence: LSE-C, the median of the mean distances less the smallest; more is better.
        offset: frames by which the sound comes early (above 0) or late where the distance is smallest.
    """

    distance: float
    confidence: float
    offset: int


def lip_sync_error(network: SyncNet, frames: np.ndarray, wave: np.ndarray) -> LipSyncError:
    """LSE of one face track.

    Args:
        network: `kpbe.metrics.syncnet.load_syncnet`.
        frames: (N, 224, 224, 3) uint8 RGB at 25 fps, cut as `crop_face_track` cuts them.
        wave: (S,) mono sound at 16 kHz from the first frame on; int16, or floating point in [-1, 1].

    Raises:
        ValueError: the frames have another shape, or frames and sound have less than six frames (0.24 s) in
            common.
    """
    if frames.ndim != 4 or frames.shape[1:] != (SIDE, SIDE, 3) or frames.dtype != np.uint8:
        raise ValueError(f"frames must be (N, {SIDE}, {SIDE}, 3) uint8, not {frames.shape} {frames.dtype}.")
    length = min(len(frames), len(wave) * FPS // RATE)
    windows = length - WINDOW_FRAMES  # the public code leaves out the last one
    if windows < 1:
        raise ValueError(
            f"lip sync needs at least {WINDOW_FRAMES + 1} frames with sound, these are {length}."
        )
    device = next(network.parameters()).device
    sound = torch.from_numpy(mfcc(wave).T.astype(np.float32))
    lips, audio = [], []
    with torch.inference_mode():
        for start in range(0, windows, _BATCH):
            end = min(windows, start + _BATCH)
            bgr = torch.from_numpy(np.ascontiguousarray(frames[start : end + WINDOW_FRAMES - 1, ..., ::-1]))
            lips.append(network.embed_lips(bgr.to(device).float().permute(3, 0, 1, 2)[None]).cpu())
            cuts = [sound[:, i * MFCC_PER_FRAME :][:, :WINDOW_MFCC] for i in range(start, end)]
            audio.append(network.embed_audio(torch.stack(cuts)[:, None].to(device)).cpu())
    return error_of_embeddings(torch.cat(lips), torch.cat(audio))


def error_of_embeddings(lips: Tensor, audio: Tensor, shifts: int = SHIFTS) -> LipSyncError:
    """LSE of embeddings (N, D) of the lips and of the sound at the same N times."""
    distances = mean_distances(lips, audio, shifts)
    least = int(distances.argmin())
    smallest = float(distances[least])
    return LipSyncError(smallest, float(distances.median()) - smallest, shifts - least)


def mean_distances(lips: Tensor, audio: Tensor, shifts: int = SHIFTS) -> Tensor:
    """(2 shifts + 1,) mean distances of the lips from the sound -shifts .. shifts frames later.

    Beyond the ends of the clip the sound is zeros.
    """
    padded = torch.nn.functional.pad(audio, (0, 0, shifts, shifts))
    moved = (padded[start : start + len(lips)] for start in range(2 * shifts + 1))
    return torch.stack([torch.nn.functional.pairwise_distance(lips, other).mean() for other in moved])


def crop_face_track(frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The face of every frame as SyncNet's public pipeline cuts it.

    Boxes are interpolated over frames without one; centre and half size (of the longer side) go through a
    median of 13 frames; the square reaches one half size above the centre, 1.8 below and 1.4 to either side,
    is grey outside the frame, and is resized bilinearly. The pipeline stores its crops as lossy video and
    pictures in between; here nothing is stored.

    Args:
        frames: (N, H, W, 3) uint8, N at least 7.
        boxes: (N, 4) left, top, right, bottom, pixels; NaN for a frame without a face. The pipeline's are
            S3FD's, with a score above 0.9.

    Returns:
        (N, 224, 224, 3) uint8.

    Raises:
        ValueError: shapes do not fit, there are fewer than seven frames, or no frame has a box.
    """
    import cv2

    if frames.ndim != 4 or frames.shape[3] != 3 or boxes.shape != (len(frames), 4):
        raise ValueError(f"frames {frames.shape} and boxes {boxes.shape} do not fit together.")
    if len(frames) < SMALLEST_TRACK:
        raise ValueError(f"a face track needs at least {SMALLEST_TRACK} frames, this one has {len(frames)}.")
    faces = []
    for frame, (x, y, half) in zip(frames, _smooth_squares(np.asarray(boxes, np.float64)), strict=True):
        below, beside = half * (1 + 2 * CROP_MARGIN), half * (1 + CROP_MARGIN)
        border = int(below)
        wide = cv2.copyMakeBorder(frame, border, border, border, border, cv2.BORDER_CONSTANT, value=GREY)
        x, y = x + border, y + border
        face = wide[int(y - half) : int(y + below), int(x - beside) : int(x + beside)]
        if not face.size:
            raise ValueError("a face box is empty or lies outside its frame.")
        faces.append(cv2.resize(face, (SIDE, SIDE)))
    return np.stack(faces)


def _smooth_squares(boxes: np.ndarray) -> np.ndarray:
    """(N, 3) centre x, centre y and half of the longer side of boxes (N, 4), without gaps and smoothed."""
    from scipy.signal import medfilt

    known = np.flatnonzero(np.isfinite(boxes).all(1))
    if not len(known):
        raise ValueError("no frame has a face box.")
    everywhere = np.arange(len(boxes))
    left, top, right, bottom = (np.interp(everywhere, known, boxes[known, side]) for side in range(4))
    tracks = ((left + right) / 2, (top + bottom) / 2, np.maximum(right - left, bottom - top) / 2)
    return np.stack([medfilt(track, BOX_MEDIAN) for track in tracks], axis=1)


MAX_OFFSET = 5
"""Frames by which the sound is shifted either way to find the offset of a moment."""


def similarity_by_offset(audio: Tensor, face: Tensor) -> Tensor:
    """Cosine similarity of each moment's mouth to the sounds -5, ..., 5 frames away.

    Args:
        audio: embeddings (N, C) of the sounds of consecutive moments.
        face: embeddings (N, C) of their mouths.

    Returns:
        (N, 11); -inf where the offset reaches beyond the clip. A positive offset is sound from later than the
        mouths.
    """
    moments = torch.arange(len(face), device=face.device)
    sounds = moments[:, None] + torch.arange(-MAX_OFFSET, MAX_OFFSET + 1, device=face.device)
    similarity = torch.cosine_similarity(face[:, None], audio[sounds.clamp(0, len(audio) - 1)], dim=2)
    return similarity.masked_fill((sounds < 0) | (sounds >= len(audio)), -torch.inf)


def offset_accuracy(by_offset: Tensor, within: int = 0) -> float:
    """Share of moments whose most similar sound is at most `within` frames away; ties are errors.

    Chance is 1/11 (9 %) for the frame itself and 3/11 (27 %) within one frame; it is higher in short clips,
    whose first and last windows have fewer offsets (`offset_chance`).

    Args:
        by_offset: (N, 11) of `similarity_by_offset`.
        within: frames.
    """
    # argmax takes the first of equal values, so the farthest offsets come first
    farthest_first = sorted(range(-MAX_OFFSET, MAX_OFFSET + 1), key=abs, reverse=True)
    best = by_offset[:, [offset + MAX_OFFSET for offset in farthest_first]].argmax(1)
    distance = torch.tensor(farthest_first, device=best.device)[best].abs()
    return (distance <= within).float().mean().item()


def offset_chance(by_offset: Tensor, within: int = 0) -> float:
    """The `offset_accuracy` of guessing: the mean share of right offsets among the possible ones.

    Args:
        by_offset: (N, 11) of `similarity_by_offset`.
        within: frames.
    """
    possible = by_offset.isfinite()
    right = possible[:, MAX_OFFSET - within : MAX_OFFSET + within + 1]
    return (right.sum(1) / possible.sum(1)).mean().item()
