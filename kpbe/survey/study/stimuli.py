"""Stage `mos_stimuli`: the survey's videos, alike for all methods, under names that reveal nothing.

All videos of a clip have the same length, size, frame rate and sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from kpbe.core.clip_tasks import ClipTask, Rejection, run_clip_tasks, write_rejections
from kpbe.core.files import file_sha256, fingerprint
from kpbe.core.processes import ShardMap, serial_map
from kpbe.data.clips import Clip, backend_video, read_manifest
from kpbe.errors import BadClip, KPBEError, SurveyError
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.demuxer import VideoInfo
from kpbe.media.images import scaled
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.methods import display_name, enhanced_method
from kpbe.params import Params
from kpbe.recipes import recipe
from kpbe.survey.study.design import (
    GROUND_TRUTH,
    LEAST_RATERS,
    QUESTIONS,
    WEB_RATERS,
    Item,
    Study,
    clips_needed,
    design_items,
    read_study,
    stratified,
)
from kpbe.survey.study.loudness import RATE, at_loudness
from kpbe.survey.study.orders import breaches, session_orders

STAGE = "mos_stimuli"

MIN_SECONDS = 1.0
CRF = 14
GOP = 25
COARSE, HELD = 16, 5
"""How pictures of deliberately bad items are spoilt: 16 blocks along the longer side, each frame shown five
times.
"""


@dataclass(frozen=True)
class Source:
    """The common properties and the files of a clip's videos.

    Attributes:
        clip: the test clip.
        videos: file by method, including the ground truth's.
        frames: length of the shortest of them, at most `survey.max_seconds`.
        size: (width, height) of the stimuli.
    """

    clip: Clip
    videos: Mapping[str, Path]
    frames: int
    size: tuple[int, int]

    @property
    def seconds(self) -> float:
        """Length of the stimuli."""
        return self.frames / self.clip.fps


def make_stimuli(
    params: Params,
    clips: Path,
    backend_videos: Path,
    enhanced_videos: Path,
    stimuli: Path,
    records: Path,
    study_file: Path,
    map: ShardMap = serial_map,
    answered: Callable[[str], int] = lambda study: 0,
) -> Study:
    """Choose clips, make the videos of all items, write the study.

    Args:
        params: the whole params.
        clips: data/clips.
        backend_videos: data/backend.
        enhanced_videos: data/enhanced.
        stimuli: folder of the videos, `<item>.mp4`; other files in it are removed.
        records: folder of the records of the videos, and rejected.csv; not inside `stimuli`, which is served.
        study_file: path of study.json; the file is absent until its videos are complete.
        map: see `kpbe.core.processes.ShardMap`.
        answered: gives the number of answers of a study by its name.

    Returns:
        The study.

    Raises:
        SurveyError: `study_file` is a different study of this name that already has answers.
        KPBEError: no test clip has a usable video by every method, or a video cannot be made.
    """
    survey = params.survey
    methods = [name for backend in params.rated_backends for name in (backend, enhanced_method(backend))]
    test = read_manifest(clips, "test")
    videos = {
        clip.clip_id: _videos(clip, params.rated_backends, backend_videos, enhanced_videos) for clip in test
    }
    sources, rejections = choose_sources(params, test, videos)
    digests = {
        (clip_id, method): _digest(s, method, params) for clip_id, s in sources.items() for method in s.videos
    }
    ranked = [(source.clip.clip_id, source.clip.identity) for source in sources.values()]
    items = design_items(ranked, methods, survey, lambda clip_id, method: digests[clip_id, method])
    orders = session_orders(items, survey.planned_raters, survey.repeats, survey.seed)
    _refuse_to_end_a_running_study(study_file, survey.study, items, orders, answered)
    study_file.unlink(missing_ok=True)
    tasks = [
        ClipTask(
            clip_id=item.item,
            record=records / "items" / f"{item.item}.json",
            outputs=(stimuli / item.file,),
            fingerprint=fingerprint(digests[item.clip_id, item.method], item.shift_ms, item.degraded),
            origin=str(sources[item.clip_id].videos[item.method]),
            payload=(item, sources[item.clip_id]),
        )
        # sorted by name, so that the files' times, which the server shows, reveal nothing
        for item in sorted(items, key=lambda item: item.item)
    ]
    finished, _ = run_clip_tasks(
        STAGE,
        tasks,
        partial(_make_item, lufs=survey.loudness_lufs),
        records,
        map=map,
        shard_size=params.compute.shard_size,
        max_rejected_fraction=0.0,  # a clip without one of its methods would be no part of a balanced design
    )
    write_rejections(records, rejections)
    facts = {task.clip_id: item_facts for task, item_facts in finished}
    study = Study(
        name=survey.study,
        seed=survey.seed,
        questions=QUESTIONS,
        items=tuple(replace(item, **facts[item.item]) for item in items),
        orders=orders,
        training=tuple(item.item for item in items if item.kind == "training"),
        break_after=survey.break_after,
    )
    study.write(study_file)
    print(describe(study, survey.clips, len(test), rejections), flush=True)
    return study


def _refuse_to_end_a_running_study(
    study_file: Path,
    name: str,
    items: Sequence[Item],
    orders: Sequence[Sequence[str]],
    answered: Callable[[str], int],
) -> None:
    try:
        running = read_study(study_file)
    except SurveyError:
        return
    same = {item.item for item in items} == running.by_id.keys() and tuple(orders) == running.orders
    if running.name == name and not same and (count := answered(name)):
        raise SurveyError(
            f"The study {name!r} has {count} answers to other videos or another order than it would have "
            "now, and stays as it is: export them (kpbe survey export), then set survey.study to a new name."
        )


def describe(study: Study, planned: int, tested: int, rejections: Sequence[Rejection] = ()) -> str:
    """A study in a few sentences: its size, and the parts of the planned design that were impossible."""
    scored = [item for item in study.items if item.kind == "reference"]
    methods = {item.method for item in study.items if item.kind == "main"}
    session = [study.by_id[name] for name in (*study.training, *study.orders[0])]
    minutes = sum(item.seconds for item in session) / 60
    lines = [
        f"{STAGE}: {len(scored)} of {tested} test clips ({len({item.identity for item in scored})} "
        f"identities) by {len(methods)} methods and the ground truth; {len(session)} items and {minutes:.1f} "
        f"minutes of video for each rater, {len(study.orders)} orders."
    ]
    if len(scored) < planned:
        lines.append(
            f"{STAGE}: survey.clips is {planned}, but only {len(scored)} test clips have a usable video by "
            f"every method."
        )
    if study.too_short:
        lines.append(f"{STAGE}: {study.too_short}")
    if len(study.orders) < LEAST_RATERS:
        lines.append(
            f"{STAGE}: survey.planned_raters is {len(study.orders)}: ITU-T P.910 asks for at least "
            f"{LEAST_RATERS} raters, P.913 for {WEB_RATERS} on the web."
        )
    lines += [f"{STAGE}: {r.clip_id} is left out: {r.reason}" for r in rejections]
    counts = [breaches([study.by_id[name] for name in order]) for order in study.orders]
    for name in ("clip", "identity", "repeat"):
        if orders := sum(getattr(count, name) > 0 for count in counts):
            what = {
                "clip": "show a clip twice in a row",
                "identity": "show a person twice in a row",
                "repeat": "repeat an item before a third of the session has passed",
            }[name]
            lines.append(
                f"{STAGE}: {orders} of {len(counts)} orders {what}: there are too few clips or people."
            )
    return "\n".join(lines)


# -- sources -----------------------------------------------------------------------------------------------


def choose_sources(
    params: Params, test: Sequence[Clip], videos: Mapping[str, Mapping[str, Path]]
) -> tuple[dict[str, Source], list[Rejection]]:
    """The clips that the study uses, in the order of `stratified`, and the rejected ones.

    The clips used have a usable video by every method. Only as many clips are checked as are needed.

    Raises:
        KPBEError: no clip is usable.
    """
    remaining = {clip.clip_id: clip for clip in test}
    rejections: list[Rejection] = []
    usable: dict[str, Source] = {}
    while True:
        ranked = stratified([(c.clip_id, c.identity) for c in remaining.values()], params.survey.seed)
        chosen = [clip_id for clip_id, _ in ranked[: clips_needed(params.survey)]]
        unseen = [clip_id for clip_id in chosen if clip_id not in usable]
        for clip_id in unseen:
            try:
                usable[clip_id] = _source(remaining[clip_id], videos[clip_id], params)
            except BadClip as error:
                clip = remaining.pop(clip_id)
                rejections.append(Rejection(clip_id, str(clip.video), STAGE, str(error)))
        if not remaining:
            reasons = "".join(f"\n  {r.clip_id}: {r.reason}" for r in rejections[:20])
            raise KPBEError(f"{STAGE}: no test clip has a usable video by every method:{reasons}")
        if all(clip_id in remaining for clip_id in chosen):
            return {clip_id: usable[clip_id] for clip_id in chosen}, rejections


def _videos(
    clip: Clip, backends: Sequence[str], backend_videos: Path, enhanced_videos: Path
) -> dict[str, Path]:
    """A clip's files by method: lossless videos, and the clip itself."""
    videos = {GROUND_TRUTH: clip.video}
    for backend in backends:
        videos[backend] = backend_video(backend_videos / backend, clip)
        videos[enhanced_method(backend)] = backend_video(enhanced_videos / backend, clip)
    return videos


def _source(clip: Clip, videos: Mapping[str, Path], params: Params) -> Source:
    """Check a clip's videos and its sound.

    Raises:
        BadClip: one is missing, unreadable, too short, or of another size or rate than the clip; the sound is
            missing or silent.
    """
    for method, path in videos.items():
        if not path.exists():
            raise BadClip(f"{display_name(method)} made no video of it ({path} does not exist).")
    infos = {method: Recording(path).info for method, path in videos.items()}
    truth = infos[GROUND_TRUTH]
    for method, info in infos.items():
        if (info.width, info.height) != (truth.width, truth.height) or abs(info.fps - truth.fps) > 0.01:
            raise BadClip(
                f"its video by {display_name(method)} is {_form(info)}, the clip {_form(truth)}: make it "
                f"again."
            )
    if not clip.has_audio or not clip.wav.exists():
        raise BadClip("it has no sound.")
    scale = params.survey.image_size / max(truth.width, truth.height)
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (truth.width, truth.height))
    frames = min(*(info.frames for info in infos.values()), int(params.survey.max_seconds * clip.fps))
    source = Source(clip, dict(videos), frames, (width, height))
    shortest = MIN_SECONDS + params.survey.trap_shift_ms / 1000
    if source.seconds < shortest:
        raise BadClip(f"its shortest video lasts {source.seconds:.2f} s; {shortest:.2f} s are needed.")
    for shift_ms in (0, params.survey.trap_shift_ms):
        _sound(source, shift_ms, params.survey.loudness_lufs)
    return source


def _form(info: VideoInfo) -> str:
    return f"{info.width}x{info.height} at {info.fps:g} fps"


def _digest(source: Source, method: str, params: Params) -> str:
    """Digest of all inputs of a clip's video by a method."""
    return fingerprint(
        recipe(STAGE),
        source.clip.sha256,
        source.clip.wav,
        source.videos[method],
        source.frames,
        source.size,
        params.survey.loudness_lufs,
    )


# -- making ------------------------------------------------------------------------------------------------


def _make_item(task: ClipTask, lufs: float) -> dict[str, Any]:
    item, source = task.payload
    path = task.outputs[0]
    with TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        write_wav(wav, _sound(source, item.shift_ms, lufs), RATE)
        frames = _pictures(source, item)
        write_video(path, frames, source.clip.fps, crf=CRF, gop=GOP, audio=wav)
    return {"seconds": round(source.seconds, 3), "sha256": file_sha256(path)}


def _sound(source: Source, shift_ms: int, lufs: float) -> np.ndarray:
    """The clip's sound at 48 kHz with the videos' length, `shift_ms` late (after silence), at a loudness.

    Raises:
        BadClip: the sound has no loudness, or too high peaks for it.
    """
    wave = read_audio(source.clip.wav, RATE, end=source.seconds)
    late = round(shift_ms * RATE / 1000)
    return at_loudness(np.concatenate([np.zeros(late), wave])[: len(wave)], lufs)


def _pictures(source: Source, item: Item) -> Iterator[np.ndarray]:
    """Yield the item's frames in the study's size, spoilt if the item is degraded."""
    reader = Recording(source.videos[item.method])
    for index in range(source.frames):
        frame = reader[index - index % HELD if item.degraded else index]
        yield _spoilt(frame, source.size) if item.degraded else scaled(frame, *source.size)


def _spoilt(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = (max(1, round(side * COARSE / max(size))) for side in size)
    blocks = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(blocks, size, interpolation=cv2.INTER_NEAREST)
