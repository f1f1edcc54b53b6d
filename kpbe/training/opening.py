"""Validation of lip opening in training: does the expression open the mouth in rendered frames?"""

from __future__ import annotations

import numpy as np
import torch

from kpbe.checkpoints import catalogue
from kpbe.errors import MissingWeights
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import Frontend
from kpbe.media.recording import FrameAccess
from kpbe.metrics.face_landmarks import FaceLandmarker, load_face_landmarker, openings_of
from kpbe.metrics.mouth import opening_correlation
from kpbe.params import Detail, ScheduleParams
from kpbe.training.frames import ClipFrames
from kpbe.training.still_mouth import OPENING_R

EXPRESSION_ALONE = OPENING_R
WITH_BACKEND = f"{OPENING_R}_both"

CLIPS = 8


class OpeningJudge:
    """Measures Pearson's r of the lips' opening with the truth, mean over clips.

    Measures nothing without FaceLandmarker's file.

    Args:
        validation: clips held out from training.
        schedule: `validation_frames` is the number of frames to render of each clip.
    """

    def __init__(self, validation: ClipFrames, schedule: ScheduleParams):
        self._frames, self._schedule = validation, schedule
        self._landmarker: FaceLandmarker | None = None
        self._videos: list[tuple[np.ndarray, np.ndarray]] | None = None

    @torch.no_grad()
    def measure(self, frontend: Frontend) -> dict[str, float]:
        """The correlations by name; empty where they cannot be measured.

        `validation_opening_r` is that of the true expression alone. `validation_opening_r_both` also uses the
        true frame as a second source, as a perfect backend would give it. The head pose is that of another
        moment.
        """
        if self._videos is None:
            self._videos = self._read()
        if self._landmarker is None or not self._videos:
            return {}
        trained = frontend.detail
        correlations: dict[str, float] = {}
        settings: tuple[tuple[str, Detail], ...] = ((EXPRESSION_ALONE, "warp"), (WITH_BACKEND, "warp_both"))
        for name, detail in settings:
            if detail == "warp_both" and trained != "warp_both":
                continue
            frontend.use_detail("none" if trained == "none" else detail)
            values = [self._of_clip(frontend, *video) for video in self._videos]
            known = [value for value in values if value is not None]
            if known:
                correlations[name] = float(np.mean(known))
        frontend.use_detail(trained)
        return correlations

    def _read(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Frames of each clip, and the true openings of all but the first."""
        if catalogue.find("face_landmarker") is None:
            return []
        try:
            self._landmarker = load_face_landmarker()
        except MissingWeights:
            return []
        access, videos = FrameAccess(), []
        for clip in self._frames.clips[:CLIPS]:
            count = min(self._schedule.validation_frames, clip.frames - 1)
            rows = [0, *np.linspace(1, clip.frames - 1, count).round().astype(int).tolist()]
            frames = access.read(clip.video, rows)
            videos.append((frames, self._openings(frames[1:])))
        return videos

    def _of_clip(self, frontend: Frontend, frames: np.ndarray, truth: np.ndarray) -> float | None:
        device = next(frontend.parameters()).device
        source = frontend.decompose(to_tensor(frames[:1]).to(device))
        driving = to_tensor(frames[1:]).to(device)
        # the pose of another moment: at the same moment the second source would already be the answer
        pose, _ = frontend.estimate_pose_expression(driving.roll(len(driving) // 2, 0))
        rendered = to_uint8(frontend.reenact(source, pose, driving).frame)
        return opening_correlation(truth, self._openings(rendered))

    def _openings(self, frames: np.ndarray) -> np.ndarray:
        assert self._landmarker is not None
        return openings_of(self._landmarker.read(np.ascontiguousarray(frame)) for frame in frames)
