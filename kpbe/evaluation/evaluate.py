"""Stage `evaluate`: score every method's test videos against the ground truth.

For each backend these are the source frame held still ("static source"), the backend, the backend enhanced by
KPBE, and KPBE's controls (`kpbe.methods`). All are scored on the same frames of the same clips, without the
source frame. A clip for which one video is missing or does not fit is rejected for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kpbe.backends.registry import backend_of
from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks
from kpbe.core.files import fingerprint, write_csv, write_json
from kpbe.core.processes import ShardMap, serial_map
from kpbe.data.clips import Clip, backend_video, enhanced_video, read_manifest
from kpbe.data.landmarks import find_landmarks
from kpbe.data.source_frame import source_frame_index
from kpbe.errors import BadClip, ParamsError
from kpbe.evaluation.mouth_boxes import MouthBoxes, boxes_from_three_points
from kpbe.evaluation.networks import Networks, absent_metrics, choose_networks, landmark_finder
from kpbe.evaluation.results import (
    METRICS,
    ONE_IS_BEST,
    PER_FRAME,
    PER_FRAME_COLUMNS,
    ClipScore,
    summary,
    write_per_clip,
)
from kpbe.evaluation.scoring import StillFrames, VideoScores, open_like, score_videos
from kpbe.media.audio import read_audio
from kpbe.media.recording import Recording
from kpbe.methods import (
    CONTROLS,
    STATIC_SOURCE,
    control_method,
    controls_of,
    enhanced_method,
    methods_of,
)
from kpbe.metrics import image
from kpbe.metrics.lip_sync import FPS as LIP_SYNC_FPS
from kpbe.params import Params
from kpbe.paths import METRICS_FILE
from kpbe.recipes import recipe


@dataclass(frozen=True)
class ClipVideos:
    """One test clip's ground truth and each method's video of it."""

    clip: Clip
    backend: str
    videos: dict[str, Path]
    source_frame: int


@dataclass(frozen=True)
class Scoring:
    """How frames are scored.

    Attributes:
        networks: the networks to use.
        batch: frames per batch.
        face_every: face networks read every `face_every`-th scored frame.
        score_every: every `score_every`-th frame is scored.
    """

    networks: Networks
    batch: int
    face_every: int
    score_every: int = 1


def evaluate(
    backend: str,
    params: Params,
    clips_folder: Path,
    backend_folder: Path,
    enhanced_folder: Path,
    out: Path,
    map: ShardMap = serial_map,
) -> None:
    """Score a backend's and its enhanced test videos and the controls; write the results into `out`.

    Writes per_clip.csv (a row per clip and method), per_frame.csv (SSIM and PSNR of every scored frame),
    metrics.json (means for `dvc metrics`, differences, settings), rejected.csv, and clips/<clip_id>.json,
    from which an interrupted evaluation resumes.

    Args:
        backend: its name in params.yaml, e.g. "wav2lip".
        params: the whole of params.yaml.
        clips_folder: data/clips, with clips.csv; its test clips are the ground truth.
        backend_folder: data/backend/<backend>.
        enhanced_folder: data/enhanced/<backend>.
        out: reports/results/evaluation/<backend>.
        map: see `kpbe.core.processes.ShardMap`.

    Raises:
        ParamsError: evaluate.primary_metric is not a metric that can judge.
        MissingWeights: a measurement is "on" and its weights are not on this machine.
        KPBEError: more than data.max_rejected_fraction of the clips were rejected, or none is left.
    """
    allowed = [metric for metric in METRICS if metric not in ONE_IS_BEST]
    if params.evaluate.primary_metric not in allowed:
        raise ParamsError(
            f"evaluate.primary_metric = {params.evaluate.primary_metric!r} cannot judge: choose one of "
            f"{', '.join(allowed)}."
        )
    networks = choose_networks(params.evaluate, params.label_pose.teacher, params.compute)
    scoring = Scoring(
        networks, params.compute.render_batch, params.evaluate.face_every, params.evaluate.score_every
    )
    tasks = [
        _task(_videos(clip, backend, params, backend_folder, enhanced_folder), out, scoring)
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
    methods = (*methods_of(backend), *controls_of(backend))
    scored = [
        (task.payload.clip, facts["indices"], {method: facts["methods"][method] for method in methods})
        for task, facts in finished
    ]
    clip_scores = [score for row in scored for score in _clip_scores(*row)]
    write_per_clip(out, clip_scores)
    write_csv(out / PER_FRAME, PER_FRAME_COLUMNS, _frame_rows(scored))
    means = summary(clip_scores, backend, resamples=params.evaluate.bootstrap, seed=params.evaluate.seed)
    settings = _settings(backend, params, [clip for clip, *_ in scored], rejections, networks, clip_scores)
    write_json(out / METRICS_FILE, {**means, "settings": settings})


# -- one clip ----------------------------------------------------------------------------------------------


def _videos(
    clip: Clip, backend: str, params: Params, backend_folder: Path, enhanced_folder: Path
) -> ClipVideos:
    videos = {
        backend: backend_video(backend_folder, clip),
        enhanced_method(backend): enhanced_video(enhanced_folder, clip),
        **{control_method(backend, name): enhanced_video(enhanced_folder, clip, name) for name in CONTROLS},
    }
    return ClipVideos(
        clip, backend, videos, source_frame_index(clip.clip_id, clip.frames, params.evaluate.seed)
    )


def _task(videos: ClipVideos, out: Path, scoring: Scoring) -> ClipTask:
    paths = (videos.clip.video, *videos.videos.values())
    contents = [path if path.is_file() else "missing" for path in paths]
    landmarks = videos.clip.landmarks if videos.clip.landmarks.is_file() else None
    made_from = fingerprint(
        recipe("evaluate"),
        contents,
        landmarks,
        videos.clip.wav if videos.clip.has_audio else None,
        videos.clip.fps,
        videos.source_frame,
        image.SETTINGS,
        scoring.networks.digest,
        scoring.face_every,
        scoring.score_every,
    )
    return ClipTask(
        clip_id=videos.clip.clip_id,
        record=out / "clips" / f"{videos.clip.clip_id}.json",
        outputs=(),
        fingerprint=made_from,
        origin=str(videos.videos[enhanced_method(videos.backend)]),
        payload=videos,
    )


def _score_task(task: ClipTask, scoring: Scoring) -> dict[str, Any]:
    indices, scores = score_clip(task.payload, scoring)
    return {"indices": indices, "methods": {method: vars(video) for method, video in scores.items()}}


def score_clip(videos: ClipVideos, scoring: Scoring) -> tuple[list[int], dict[str, VideoScores]]:
    """The scored frames' indices, and each method's scores of them.

    A video may be up to 5 frames shorter or longer than the clip (audio-driven methods end with the audio).
    All methods are scored on the frames that every video has (every `score_every`-th of them), without the
    source frame.

    Raises:
        BadClip: a video is missing, unreadable, of another size, or differs in length by more than that; or
            no frame is left.
    """
    clip = videos.clip
    truth = Recording(clip.video)
    readers = {method: open_like(truth, path) for method, path in videos.videos.items()}
    source = truth[videos.source_frame]
    frames = min(len(reader) for reader in (truth, *readers.values()))
    indices = [index for index in range(0, frames, scoring.score_every) if index != videos.source_frame]
    if not indices:
        raise BadClip(
            f"{clip.video} has no frame besides its source image: take clips of two frames or more."
        )
    follows_backend = (enhanced_method(videos.backend), *controls_of(videos.backend))
    scores = score_videos(
        truth,
        {STATIC_SOURCE: StillFrames(source), **readers},
        indices,
        scoring.networks,
        source=source,
        mouth=_mouth(clip, truth, scoring.networks),
        followed=dict.fromkeys(follows_backend, videos.backend),
        wave=read_audio(clip.wav) if clip.has_audio and clip.fps == LIP_SYNC_FPS else None,
        held=controls_of(videos.backend) if scoring.score_every > 1 else (),
        face_every=scoring.face_every,
        batch=scoring.batch,
    )
    return indices, scores


def _mouth(clip: Clip, truth: Recording, networks: Networks) -> MouthBoxes | None:
    """Boxes of the true mouth without the FaceLandmarker: known with the data, else from another network.

    None where the FaceLandmarker gives them, or nothing does.
    """
    if clip.landmarks.is_file():
        return boxes_from_three_points(np.load(clip.landmarks), clip.width, clip.height)
    if networks.measures("faces") or networks.landmarks is None:
        return None
    finder = landmark_finder(networks.landmarks, networks.compute)
    points = find_landmarks((truth[index] for index in range(len(truth))), finder)
    return boxes_from_three_points(points, clip.width, clip.height)


# -- results -----------------------------------------------------------------------------------------------


def _clip_scores(clip: Clip, indices: Sequence[int], methods: Mapping[str, Any]) -> list[ClipScore]:
    rows = []
    for method, scores in methods.items():
        identical = int(np.isinf(scores["frames"]["psnr"]).sum())
        values = VideoScores(**scores).means()
        rows.append(ClipScore(clip.clip_id, clip.identity, method, len(indices), values, identical))
    return rows


def _frame_rows(
    scored: Sequence[tuple[Clip, Sequence[int], Mapping[str, Any]]],
) -> Iterator[dict[str, Any]]:
    for clip, indices, methods in scored:
        for method, scores in methods.items():
            frames = scores["frames"]
            for frame, ssim, psnr in zip(indices, frames["ssim"], frames["psnr"], strict=True):
                yield {
                    "clip_id": clip.clip_id,
                    "method": method,
                    "frame": frame,
                    "ssim": f"{ssim:.5f}",
                    "psnr": f"{psnr:.4f}",
                }


def _settings(
    backend: str,
    params: Params,
    clips: Sequence[Clip],
    rejections: Sequence[Rejection],
    networks: Networks,
    scores: Sequence[ClipScore],
) -> dict[str, Any]:
    _, backend_settings = backend_of(params, backend)
    return {
        **image.SETTINGS,
        "measured_by": networks.used,
        "absent": absent_metrics(networks, {metric for score in scores for metric in score.values}),
        "backend": backend,
        "kind": backend_settings.kind,
        "feed": backend_settings.feed,
        "given_head_pose": backend_settings.given_head_pose,
        "data_source": _data_source(params),
        "image_size": ", ".join(sorted({f"{clip.width}x{clip.height}" for clip in clips})),
        "frontend": params.model.name,
        "clips": len(clips),
        "identities": len({clip.identity for clip in clips}),
        "scored_frames": sum(score.frames for score in scores if score.method == backend),
        "rejected_clips": len(rejections),
        "score_every": params.evaluate.score_every,
        "face_every": params.evaluate.face_every,
        "primary_metric": params.evaluate.primary_metric,
        "seed": params.evaluate.seed,
        "bootstrap": params.evaluate.bootstrap,
    }


def _data_source(params: Params) -> str:
    """The kind of data; for a folder also its name, but not its path, which may be private."""
    if params.data.source != "folder":
        return params.data.source
    return f"folder {(params.data.list or params.data.root).name}"
