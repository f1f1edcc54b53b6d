"""`kpbe score`: Table I's numbers for any videos against their truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.errors import BadClip
from kpbe.evaluation.networks import Networks, absent_metrics, choose_networks
from kpbe.evaluation.results import METRICS
from kpbe.evaluation.scoring import open_like, score_videos
from kpbe.evaluation.table_text import aligned
from kpbe.evaluation.tables import DECIMALS, HEADINGS, plain_heading
from kpbe.media.audio import read_audio
from kpbe.media.recording import Recording
from kpbe.metrics.lip_sync import FPS as LIP_SYNC_FPS
from kpbe.metrics.mouth import SMALLEST_SIDE
from kpbe.params import ComputeParams, EvaluateParams, LabelPoseParams

ON_THE_CPU = ComputeParams()


@dataclass(frozen=True)
class FileScores:
    """The result of `score_files`.

    Attributes:
        frames: number of scored frames.
        scores: file -> metric -> value; metrics that were not measured are missing.
        absent: missing metric -> the reason as part of a sentence.
    """

    frames: int
    scores: dict[str, dict[str, float]]
    absent: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON; a PSNR that is infinite (identical frames) is null."""
        finite = {
            name: {metric: value if np.isfinite(value) else None for metric, value in values.items()}
            for name, values in self.scores.items()
        }
        return {"frames": self.frames, "scores": finite, "absent": self.absent}


def score_files(
    truth: Path,
    tests: Sequence[Path],
    compute: ComputeParams = ON_THE_CPU,
    source_frame: int | None = None,
) -> FileScores:
    """Score videos, frame by frame, against their truth.

    Args:
        truth: the real video; LSE uses its sound.
        tests: videos of the same size and length (five frames more or less); frame k is compared with the
            truth's frame k.
        compute: device and batch.
        source_frame: index of the truth's frame that the tests were made from. It is not scored, and the
            share of the way starts from it. None scores all frames and leaves out the share of the way.

    Raises:
        BadClip: a video cannot be read or does not fit the truth.
    """
    real = Recording(truth)
    readers = {str(path): open_like(real, path) for path in tests}
    frames = min(len(reader) for reader in (real, *readers.values()))
    if source_frame is not None and not 0 <= source_frame < len(real):
        raise BadClip(f"{truth} has {len(real)} frames, so that frame {source_frame} cannot be its source.")
    if min(real.size) < SMALLEST_SIDE:
        raise BadClip(
            f"{truth} is {real.size[0]}x{real.size[1]} pixels large: metrics need {SMALLEST_SIDE} or more."
        )
    indices = [index for index in range(frames) if index != source_frame]
    if not indices:
        raise BadClip(f"{truth} has no frame to score besides its source.")
    networks = choose_networks(EvaluateParams(), LabelPoseParams().teacher, compute)
    scores = score_videos(
        real,
        readers,
        indices,
        networks,
        source=None if source_frame is None else real[source_frame],
        wave=_sound(truth) if round(real.fps, 2) == LIP_SYNC_FPS else None,
        batch=compute.render_batch,
    )
    means = {path: video.means() for path, video in scores.items()}
    return FileScores(len(indices), means, _absent(networks, means, source_frame))


def _sound(path: Path) -> np.ndarray | None:
    try:
        return read_audio(path)
    except BadClip:
        return None


def _absent(
    networks: Networks, means: dict[str, dict[str, float]], source_frame: int | None
) -> dict[str, str]:
    """Reasons of the metrics that no video has."""
    reasons = absent_metrics(networks, {metric for values in means.values() for metric in values})
    reasons["opening_r_backend"] = "there is no backend to follow"
    if source_frame is None and networks.measures("faces"):
        reasons |= dict.fromkeys(
            ("turn", "across", "down"), "it counts from the source frame: --source-frame"
        )
    return reasons


def scores_in_words(result: FileScores) -> str:
    """The scores as a table for a terminal, a line for each metric, with reasons of missing metrics."""
    names = list(result.scores)
    last = [Path(name).name for name in names]
    lines = [["", *(last if len(set(last)) == len(last) else names)]]
    for metric in METRICS:
        values = [result.scores[name].get(metric) for name in names]
        if any(value is not None for value in values):
            cells = ["-" if value is None else f"{value:.{DECIMALS[metric]}f}" for value in values]
            lines.append([HEADINGS[metric], *cells])
    parts = [*aligned(lines), "", f"{result.frames} frames scored."]
    reasons: dict[str, list[str]] = {}
    for metric, reason in result.absent.items():
        reasons.setdefault(reason, []).append(plain_heading(metric))
    parts += [f"Not measured: {', '.join(metrics)} ({reason})." for reason, metrics in reasons.items()]
    return "\n".join(parts)
