"""WHENet and FSA-Net through onnxruntime, one picture at a time (their files have a fixed batch of one)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.data.head_pose.teachers.base import TO_FRONTEND
from kpbe.errors import BadCheckpoint

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def resized(frame: np.ndarray, side: int) -> np.ndarray:
    """A (H, W, 3) picture as (side, side, 3)."""
    import cv2

    shrinks = min(frame.shape[:2]) > side
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def central(frame: np.ndarray, share: float) -> np.ndarray:
    """The middle `share` of a (H, W, 3) picture's height and width."""
    height, width = frame.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = (height - rows) // 2, (width - columns) // 2
    return frame[top : top + rows, left : left + columns]


class WHENet:
    """Zhou and Gregson 2020 (EfficientNet-B0; yaw over the full circle, trained on 300W-LP and Panoptic).

    The file takes (1, 224, 224, 3) ImageNet-normalised RGB and gives degrees; it contains the softmax over
    bins of 3 degrees. The network reads the middle `share` of a clip's picture, where it agrees best with
    FSA-Net and with the line through the eyes (docs/data.md).
    """

    side = 224
    share = 0.8

    def __init__(self, path: Path) -> None:
        self._session = onnx_session(path)

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """See `PoseTeacher.estimate`."""
        angles = np.empty((len(frames), 3), np.float32)
        for row, frame in zip(angles, frames, strict=True):
            face = resized(central(frame, self.share), self.side).astype(np.float32)
            face = (face / 255 - IMAGENET_MEAN) / IMAGENET_STD
            row[:] = np.concatenate(self._session.run(["yaw", "pitch", "roll"], {"face": face[None]}))
        return angles * TO_FRONTEND


class FSANet:
    """Yang et al. 2019 in omasaht's PyTorch version, trained on 300W-LP.

    The angles are the mean of its two networks (1x1 and variance scoring). Each file takes (1, 3, 64, 64)
    BGR, (x - 127.5) / 128, and gives yaw, pitch and roll in degrees. The whole picture is read.
    """

    side = 64

    def __init__(self, path_1x1: Path, path_var: Path) -> None:
        self._sessions = [onnx_session(path_1x1), onnx_session(path_var)]

    def estimate(self, frames: np.ndarray) -> np.ndarray:
        """See `PoseTeacher.estimate`."""
        angles = np.empty((len(frames), 3), np.float32)
        for row, frame in zip(angles, frames, strict=True):
            face = (resized(frame, self.side)[..., ::-1].astype(np.float32) - 127.5) / 128
            inputs = {"input": np.ascontiguousarray(face.transpose(2, 0, 1)[None])}
            row[:] = np.mean([session.run(["output"], inputs)[0][0] for session in self._sessions], axis=0)
        return angles * TO_FRONTEND


def onnx_session(path: Path) -> Any:
    """An onnxruntime session on the CPU with OMP_NUM_THREADS threads (default: one per core).

    Raises:
        BadCheckpoint: the file is damaged or no ONNX file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    # threads that spin while waiting would take the cores from other workers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of errors for each status and no common one
        reason = str(error).strip().splitlines()[0]
        raise BadCheckpoint(f"{path} cannot be loaded as an ONNX network ({reason}): get it again.") from None
