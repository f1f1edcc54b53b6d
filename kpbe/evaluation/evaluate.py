"""The evaluate stage: every method's test videos against the ground truth (DESIGN section 6).

Three methods per backend: the source frame held still ("static source"), the backend, and the backend enhanced
by KPBE. All are scored on the same frames of the same clips; a clip for which one video is missing or does not
fit is rejected for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kpbe.compute import torch_device
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip, MissingWeights
from kpbe.evaluation.results import (
    METRICS_FILE,
    PER_FRAME,
    PER_FRAME_COLUMNS,
    ClipScore,
    summary,
    write_per_clip,
)
from kpbe.media.video import VideoReader
from kpbe.methods import STATIC_SOURCE, enhanced_method
from kpbe.metrics import image as metrics
from kpbe.metrics import lpips
from kpbe.params import Params
from kpbe.work import (
    ClipTask,
    Rejection,
    ShardMap,
    fingerprint,
    run_clip_tasks,
    serial_map,
    write_csv,
    write_json,
)

SPARE_FRAMES = 5
FrameScores = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class ClipVideos:
    """One test clip's ground truth and the videos that stand for it."""

    clip: Clip
    backend: str
    backend_video: Path
    enhanced_video: Path
    source_frame: int


@dataclass(frozen=True)
class Scoring:
    """How frames are scored: where, how many at once, and whether LPIPS is measured."""

    device: torch.device
    batch: int
    lpips: bool


def evaluate(
    backend: str,
    params: Params,
    clips_folder: Path,
    backend_folder: Path,
    enhanced_folder: Path,
    out: Path,
    map: ShardMap = serial_map,
) -> None:
    """Score a backend's and its enhanced test videos; write the results into `out`.

    Writes per_clip.csv (a row per clip and method), per_frame.csv (SSIM and PSNR of every frame), metrics.json
    (means for `dvc metrics`, differences enhanced - backend, settings), rejected.csv, and clips/<clip_id>.json,
    by which an interrupted evaluation goes on where it stopped.

    Args:
        backend: registry name, e.g. "wav2lip".
        params: the whole of params.yaml.
        clips_folder: data/clips, with clips.csv; its test clips are the ground truth.
        backend_folder: folder of the backend's <clip_id>.mkv of the test clips.
        enhanced_folder: folder of the enhanced <clip_id>.mkv.
        out: reports/results/evaluation/<backend>.
        map: how shards of clips are run.

    Raises:
        MissingWeights: evaluate.lpips is "on" and its weights are not on this machine.
        KPBEError: more than data.max_rejected_fraction of the clips were rejected, or none is left.
    """
    lpips_state = _lpips_state(params)
    scoring = Scoring(torch_device(params.compute), params.compute.render_batch, lpips_state == lpips.NAME)
    tasks = [
        _task(_videos(clip, backend, params, backend_folder, enhanced_folder), out, lpips_state)
        for clip in read_manifest(clips_folder, split="test")
    ]
    finished, rejections = run_clip_tasks(
        f"evaluate {backend}",
        tasks,
        partial(_score_task, scoring=scoring),
        out,
        map=map,
        shard_size=params.compute.shard_size,
        max_rejected_fraction=params.data.max_rejected_fraction,
    )
    scored = [(task.payload.clip, facts) for task, facts in finished]
    clip_scores = [score for clip, frame_scores in scored for score in _clip_scores(clip, frame_scores)]
    write_per_clip(out, clip_scores)
    write_csv(out / PER_FRAME, PER_FRAME_COLUMNS, _frame_rows(scored))
    means = summary(clip_scores, backend, resamples=params.evaluate.bootstrap, seed=params.evaluate.seed)
    settings = _settings(backend, params, [clip for clip, _ in scored], rejections, lpips_state)
    write_json(out / METRICS_FILE, {**means, "settings": settings})


# -- one clip --------------------------------------------------------------------------------------------------


def _videos(
    clip: Clip, backend: str, params: Params, backend_folder: Path, enhanced_folder: Path
) -> ClipVideos:
    name = f"{clip.clip_id}.mkv"
    source_frame = source_frame_index(clip.clip_id, clip.frames, params.evaluate.seed)
    return ClipVideos(clip, backend, backend_folder / name, enhanced_folder / name, source_frame)


def _task(videos: ClipVideos, out: Path, lpips_state: str) -> ClipTask:
    paths = (videos.clip.video, videos.backend_video, videos.enhanced_video)
    contents = [path if path.is_file() else "missing" for path in paths]
    return ClipTask(
        clip_id=videos.clip.clip_id,
        record=out / "clips" / f"{videos.clip.clip_id}.json",
        outputs=(),
        fingerprint=fingerprint(contents, videos.source_frame, metrics.SETTINGS, lpips_state),
        origin=str(videos.enhanced_video),
        payload=videos,
    )


def _score_task(task: ClipTask, scoring: Scoring) -> FrameScores:
    return score_clip(task.payload, scoring)


def score_clip(videos: ClipVideos, scoring: Scoring) -> FrameScores:
    """Scores of each frame: {method: {metric: [value of frame 0, 1, ...]}}.

    A video may be up to 5 frames shorter or longer than the clip (audio-driven methods end with the audio); all
    methods are scored on the frames that every video has.

    Raises:
        BadClip: a video is missing, unreadable, of another size, or differs in length by more than that.
    """
    truth = VideoReader(videos.clip.video)
    readers = {
        videos.backend: _open_like(truth, videos.backend_video),
        enhanced_method(videos.backend): _open_like(truth, videos.enhanced_video),
    }
    source = truth[videos.source_frame]
    frames = min(len(reader) for reader in (truth, *readers.values()))
    scores: FrameScores = {}
    for start in range(0, frames, scoring.batch):
        indices = range(start, min(start + scoring.batch, frames))
        batch = {STATIC_SOURCE: np.repeat(source[None], len(indices), axis=0)}
        batch |= {method: reader.get_batch(indices) for method, reader in readers.items()}
        for method, values in _score_frames(truth.get_batch(indices), batch, scoring).items():
            of_method = scores.setdefault(method, {})
            for metric, per_frame in values.items():
                of_method.setdefault(metric, []).extend(per_frame)
    return scores


def _open_like(truth: VideoReader, path: Path) -> VideoReader:
    if not path.is_file():
        raise BadClip(f"{path} is missing: rejected.csv of the stage that makes it says why.")
    reader = VideoReader(path)
    if reader.size != truth.size:
        sizes = [f"{width}x{height}" for width, height in (reader.size, truth.size)]
        raise BadClip(f"{path} is {sizes[0]} pixels large, but its ground truth is {sizes[1]}.")
    if abs(len(reader) - len(truth)) > SPARE_FRAMES:
        raise BadClip(f"{path} has {len(reader)} frames, but its ground truth has {len(truth)}.")
    return reader


@torch.inference_mode()
def _score_frames(truth: np.ndarray, methods: dict[str, np.ndarray], scoring: Scoring) -> FrameScores:
    target = torch.as_tensor(truth, device=scoring.device)
    network = _lpips_network(scoring.device) if scoring.lpips else None
    target_embedding = network.embed(target) if network else []
    scores: FrameScores = {}
    for method, frames in methods.items():
        shown = torch.as_tensor(frames, device=scoring.device)
        values = {
            "ssim": metrics.ssim(target, shown),
            "ssim_rgb": metrics.ssim_rgb(target, shown),
            "psnr": metrics.psnr(target, shown),
            "l1": metrics.l1(target, shown),
        }
        if network:
            values["lpips"] = network.distance(target_embedding, network.embed(shown))
        scores[method] = {metric: value.tolist() for metric, value in values.items()}
    return scores


@lru_cache(maxsize=1)
def _lpips_network(device: torch.device) -> lpips.LPIPS:
    return lpips.load_lpips(device)


# -- results ---------------------------------------------------------------------------------------------------


def _clip_scores(clip: Clip, scores: FrameScores) -> list[ClipScore]:
    found = []
    for method, values in scores.items():
        psnr = np.array(values["psnr"])
        means = {metric: float(np.mean(per_frame)) for metric, per_frame in values.items()}
        means["psnr"] = metrics.mean_psnr(psnr)
        found.append(
            ClipScore(clip.clip_id, clip.identity, method, len(psnr), means, int(np.isinf(psnr).sum()))
        )
    return found


def _frame_rows(scored: Sequence[tuple[Clip, FrameScores]]) -> Iterator[dict[str, Any]]:
    for clip, scores in scored:
        for method, values in scores.items():
            for frame, (ssim, psnr) in enumerate(zip(values["ssim"], values["psnr"], strict=True)):
                yield {
                    "clip_id": clip.clip_id,
                    "method": method,
                    "frame": frame,
                    "ssim": f"{ssim:.5f}",
                    "psnr": f"{psnr:.4f}",
                }


def _settings(
    backend: str, params: Params, clips: Sequence[Clip], rejections: Sequence[Rejection], lpips_state: str
) -> dict[str, Any]:
    return {
        **metrics.SETTINGS,
        "lpips": lpips_state,
        "backend": backend,
        "feed": params.backend[backend].get("feed", "source_image"),
        "data_source": _data_source(params),
        "image_size": ", ".join(sorted({f"{clip.width}x{clip.height}" for clip in clips})),
        "frontend": params.model.name,
        "clips": len(clips),
        "identities": len({clip.identity for clip in clips}),
        "rejected_clips": len(rejections),
        "seed": params.evaluate.seed,
        "bootstrap": params.evaluate.bootstrap,
    }


def _data_source(params: Params) -> str:
    """The kind of data and, for a folder, which: only last names, so that results do not hold private paths."""
    if params.data.source != "folder":
        return params.data.source
    return f"folder {(params.data.list or params.data.root).name}"


def _lpips_state(params: Params) -> str:
    """The metric's name when it is to be measured, else why it is not."""
    if params.evaluate.lpips == "off":
        return "not measured: evaluate.lpips is off"
    try:
        lpips.load_lpips()
    except MissingWeights as error:
        if params.evaluate.lpips == "on":
            raise
        return f"not measured: {error}"
    return lpips.NAME
