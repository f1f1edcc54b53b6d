"""The outputs of each stage for the tiny inputs of `world`, as numbers that all machines agree on.

An output becomes a sketch: the number of values, their mean and deviation, and sums with fixed random signs,
which any change of the values moves. Networks and encoders differ a little between machines, so sketches are
compared within a tolerance.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from kpbe.backends.pcavs import PCAVSNetworks, save_networks
from kpbe.backends.synthesize import synthesize
from kpbe.backends.training import train_backend, train_sync
from kpbe.backends.wav2lip import Wav2LipGenerator, save_generator
from kpbe.backends.wav2lip.checkpoints import save_sync_expert
from kpbe.backends.wav2lip.networks import SyncNet
from kpbe.core.files import read_csv, write_csv, write_json
from kpbe.data.acquire import acquire
from kpbe.data.expression.label import label_expressions
from kpbe.data.head_pose.label import label_head_pose
from kpbe.data.preprocess import preprocess
from kpbe.data.raw import RawVideo, write_raw_videos
from kpbe.data.sample.grids import draw_grids
from kpbe.evaluation.evaluate import evaluate
from kpbe.evaluation.report import write_report
from kpbe.frontend.checkpoints import save_frontend
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance import enhance_clips
from kpbe.media.audio import read_audio, write_wav
from kpbe.media.recording import Recording
from kpbe.media.video_writer import write_video
from kpbe.params import ComputeParams
from kpbe.survey.scores.results import write_survey_results
from kpbe.survey.study.stimuli import make_stimuli
from kpbe.training.frames import TrainingFolders
from kpbe.training.stage1 import train_stage1
from kpbe.training.stage2 import train_stage2
from tests.frontend.tiny import tiny_frontend, tiny_model
from tests.networks.recorded import published_frontend
from tests.recipes import world
from tests.survey import opinions

Network = TypeVar("Network", bound=torch.nn.Module)
Sketch = list[float]
Made = dict[str, Sketch]
CPU = ComputeParams(device="cpu")
SIGNS = 3
STEPS, LEARNING_RATE = 4, 1e-6
NOT_SMOOTH = ("step", "offset_", "validation_opening_r", "validation_mouth_from_pose")
CHANGES_WITH_THE_MACHINE = ("seconds", "sha256", "made_at", "fingerprint")


# -- sketches ----------------------------------------------------------------------------------------------


def sketch(values: Any) -> Sketch:
    """Counts of finite and other values, mean, standard deviation, and three sums with fixed signs.

    The sums are divided by the root of the count.
    """
    flat = np.asarray(values, np.float64).ravel()
    known = np.isfinite(flat)
    flat = np.where(known, flat, 0)
    signs = np.random.default_rng(len(flat)).integers(0, 2, (SIGNS, len(flat))) * 2 - 1
    sums = signs @ flat / max(1, len(flat)) ** 0.5
    spread = (flat.mean(), flat.std()) if len(flat) else (0.0, 0.0)
    return [int(known.sum()), int((~known).sum()), *(float(f"{x:.6g}") for x in (*spread, *sums))]


def of_file(path: Path) -> Iterator[tuple[str, Any]]:
    """Names and values of the contents of a stage's file."""
    name = path.name
    if path.suffix == ".mkv":
        yield name, Recording(path).frames()
    elif path.suffix == ".mp4":
        yield name, _coarse(Recording(path).frames())
    elif path.suffix == ".wav":
        yield name, read_audio(path)
    elif path.suffix == ".npy":
        yield name, np.load(path)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            yield from ((f"{name}/{key}", arrays[key]) for key in arrays if arrays[key].dtype.kind in "fiu")
    elif path.suffix == ".json":
        yield from numbers(name, json.loads(path.read_text(encoding="utf-8")))
    elif path.suffix == ".csv":
        yield from numbers(name, {str(number): row for number, row in enumerate(read_csv(path))})


def _coarse(frames: np.ndarray) -> np.ndarray:
    """Means of blocks of 8 x 8 pixels, because a lossy encoder changes single pixels a little."""
    rows, columns = (side // 8 * 8 for side in frames.shape[1:3])
    blocks = frames[:, :rows, :columns].reshape(len(frames), rows // 8, 8, columns // 8, 8, 3)
    return blocks.mean((2, 4))


def numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The numbers of a JSON-like value by key, across all parents.

    For example, [{"a": 1}, {"a": 2}] gives [1, 2] for a.
    """
    found: dict[str, list[float]] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                visit(name, inner)
        elif isinstance(value, list):
            for inner in value:
                visit(key, inner)
        else:
            with suppress(TypeError, ValueError):
                number = float(value)
                found.setdefault(key, []).append(number)

    visit("", value)
    for key, values in found.items():
        if key not in CHANGES_WITH_THE_MACHINE:
            yield f"{name}/{key}", values


def sketches(folder: Path, *patterns: str) -> Made:
    """Sketches, by name, of all files below a folder that match.

    Files of equal names are told apart by their folders.
    """
    made: dict[str, Sketch] = {}
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            for name, values in of_file(path):
                key = (
                    name if path.parent == folder else f"{path.parent.relative_to(folder).as_posix()}/{name}"
                )
                made[key] = sketch(values)
    return made


def training(folder: Path) -> Made:
    """Sketches of a training's losses, each over all steps, and of its optimisers' settings and moments.

    The learning rate must be small: what machines compute differently would grow from step to step.
    """
    rows = read_csv(folder / "curves.csv")
    columns = {
        name for row in rows for name, value in row.items() if value and not name.startswith(NOT_SMOOTH)
    }
    losses = {name: sketch([float(row[name]) for row in rows if row[name]]) for name in sorted(columns)}
    parts = torch.load(folder / "state.pt", weights_only=True)["parts"]
    optimisers = {name: part for name, part in parts.items() if "param_groups" in part}
    return losses | {name: sketch(list(_moments(optimiser))) for name, optimiser in optimisers.items()}


def _moments(optimiser: Mapping[str, Any]) -> Iterator[float]:
    """Learning rate and betas, and how large Adam's two moments are."""
    for group in optimiser["param_groups"]:
        yield from (1e4 * group["lr"], *group["betas"])
    for moment, power in (("exp_avg", 1), ("exp_avg_sq", 0.5)):
        sizes = [state[moment].abs().pow(power).sum().item() for state in optimiser["state"].values()]
        yield math.log(sum(sizes))


# -- stages ------------------------------------------------------------------------------------------------


def _acquire(root: Path) -> Made:
    sample = {
        "train_identities": 1,
        "test_identities": 1,
        "clips_per_identity": 1,
        "seconds": 0.5,
        "frame_size": 64,
    }
    acquire(world.params(data={"source": "sample", "sample": sample}).data, root)
    return sketches(root, "*.mp4", "*.wav", "*.npy", "*.npz", "videos.csv")


def _preprocess(root: Path) -> Made:
    videos = []
    for number, (identity, split) in enumerate(world.SPEAKERS):
        speaker = world.Speaker(number, side=96)
        path = root / "raw" / f"{identity}.mp4"
        write_wav(path.with_suffix(".wav"), speaker.wave)
        write_video(path, speaker.frames, world.FPS, codec="h264-lossless", audio=path.with_suffix(".wav"))
        boxes, landmarks = root / f"{identity}.boxes.npy", root / f"{identity}.landmarks.npy"
        np.save(boxes, speaker.boxes)
        np.save(landmarks, speaker.landmarks)
        video = RawVideo(path, identity, split, "1", width=96, height=96, fps=world.FPS)
        known = {"boxes": boxes, "landmarks": landmarks} if split == "train" else {"bbox": (12, 8, 84, 80)}
        videos.append(replace(video, **known))
    write_raw_videos(root / "raw", videos)
    crop = {"mode": "tube", "min_frames": 10, "max_frames": 20, "min_size": 32}
    data = world.params(data={"crop": crop, "detector": "known"}).data
    preprocess(data, world.SIDE, root / "raw", root / "clips")
    return sketches(root / "clips", "*.mp4", "*.wav", "*.npy", "clips.csv")


def _known_people(root: Path) -> TrainingFolders:
    """Raw videos with what is true of them, and clips cut out of them."""
    world.write_clips(root / "clips")
    videos = []
    for number, (identity, split) in enumerate(world.SPEAKERS):
        path = root / "raw" / f"{identity}.mp4"
        path.parent.mkdir(exist_ok=True)
        rng = np.random.default_rng(number)
        angles = np.linspace(-0.4, 0.4, world.FRAMES)
        rotation = np.zeros((world.FRAMES, 3, 3))
        rotation[:, 0, 0] = rotation[:, 2, 2] = np.cos(angles)
        rotation[:, 0, 2], rotation[:, 2, 0], rotation[:, 1, 1] = np.sin(angles), -np.sin(angles), 1
        places = {"lips": 4, "eyes": 2, "surface": 96, "scene": 96}
        points = {
            name: rng.uniform(0, world.SIDE, (world.FRAMES, count, 2)) for name, count in places.items()
        }
        np.savez(path.with_suffix(".truth.npz"), rotation=rotation, **points)  # pyright: ignore[reportArgumentType]
        videos.append(RawVideo(path, identity, split, "1"))
    write_raw_videos(root / "raw", videos)
    return TrainingFolders(root / "clips", root / "pose", root / "expression", root / "grids")


def _label_pose(root: Path) -> Made:
    folders = _known_people(root)
    label_head_pose(world.params().label_pose, root / "raw", folders.clips, folders.head_pose, compute=CPU)
    return sketches(folders.head_pose, "*.npy", "summary.json")


def _label_expression(root: Path) -> Made:
    folders = _known_people(root)
    params = world.params().label_expression
    label_expressions(params, root / "raw", folders.clips, folders.expression, compute=CPU)
    return sketches(folders.expression, "*.npz", "summary.json")


def _draw_grids(root: Path) -> Made:
    grids = {"identities": 1, "poses": 2, "mouths": 2, "frame_size": 64}
    draw_grids(world.params(data={"grids": grids}).data.grids, world.SIDE, root)
    return sketches(root, "*.mp4", "*.npy", "*.npz")


def _backend(kind: str, **changes: Any) -> dict[str, Any]:
    optimiser = {"lr": LEARNING_RATE}
    schedule = {**world.SCHEDULE, "steps": STEPS, "batch_size": 4}
    if kind == "wav2lip":
        expert = {
            "schedule": schedule,
            "optimiser": optimiser,
            "width_multiplier": 0.125,
            "warm_up_steps": 2,
            "opening": 0.3,
        }
        losses = {"sync": 0.03, "gan": 0.1, "opening": 0.1}
        training = {"schedule": schedule, "optimiser": optimiser, "losses": losses}
        sizes = {"width_multiplier": 0.125, "residual": True}
        return {"kind": kind, **sizes, "sync_expert": expert, "train": training, **changes}
    losses = {"vgg19": 0.0, "pixel": 10.0, "gan": 0.1, "feature_matching": 1.0, "mouth": 2.0, "opening": 0.1}
    sizes = {"image_size": 64, "width_multiplier": 0.0625, "landmarks": "known"}
    training = {
        "schedule": schedule,
        "optimiser": optimiser,
        "losses": losses,
        "perceptual": {"scales": [1.0, 0.5]},
    }
    return {
        "kind": kind,
        **sizes,
        "sync": {"schedule": schedule, "optimiser": optimiser},
        "train": training,
        **changes,
    }


def _trained_backend(kind: str, root: Path, train_generator: bool) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_labels(root / "labels", clips)
    params = world.params(backend={kind: _backend(kind)})
    sync, out = root / "sync", root / "out"
    if not train_generator:
        train_sync(kind, params, root / "clips", root / "labels", out)
        return training(out)
    _save_sync_networks(kind, sync)
    train_backend(kind, params, root / "clips", root / "labels", sync, out)
    return training(out)


def _save_sync_networks(kind: str, folder: Path) -> None:
    folder.mkdir()
    if kind == "wav2lip":
        save_sync_expert(folder / "sync_expert.safetensors", _exact(SyncNet(0.125, True)))
    else:
        save_networks(folder / "sync.safetensors", _exact(PCAVSNetworks(0.0625, 64)))


def _exact(network: Network) -> Network:
    """The network with weights of the same bits on every machine.

    A training draws its dropout from the digest of its initial weights.
    """
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1:
                rng = np.random.default_rng(zlib.crc32(name.encode()))
                power = math.ceil(math.log2(weight[0].numel()) / 2)
                weight.copy_(torch.from_numpy(rng.integers(-256, 257, weight.shape) / 128 * 2.0**-power))
            else:
                weight.fill_(float(name.endswith("weight")))
    return network


def _train_sync_wav2lip(root: Path) -> Made:
    return _trained_backend("wav2lip", root, train_generator=False)


def _train_sync_pcavs(root: Path) -> Made:
    return _trained_backend("pcavs", root, train_generator=False)


def _train_backend_wav2lip(root: Path) -> Made:
    return _trained_backend("wav2lip", root, train_generator=True)


def _train_backend_pcavs(root: Path) -> Made:
    return _trained_backend("pcavs", root, train_generator=True)


def _synthesize(root: Path) -> Made:
    world.write_clips(root / "clips")
    made: dict[str, Sketch] = {}
    torch.manual_seed(0)
    for name, kind, changes in (
        ("wav2lip", "wav2lip", {}),
        ("wav2lip_video", "wav2lip", {"feed": "video"}),
        ("pcavs", "pcavs", {}),
    ):
        trained = root / "trained" / name
        trained.mkdir(parents=True)
        if kind == "wav2lip":
            save_generator(trained / "wav2lip.safetensors", Wav2LipGenerator(0.125))
        else:
            save_networks(trained / "pcavs.safetensors", PCAVSNetworks(0.0625, 64).eval())
        params = world.params(
            backend={
                name: _backend(kind, detector="known", **changes) if kind == "wav2lip" else _backend(kind)
            }
        )
        synthesize(name, params, root / "clips", trained, root / "out" / name, splits=("test",))
        made |= {f"{name}/{key}": value for key, value in sketches(root / "out" / name, "*.mkv").items()}
    return made


def _training_section(**changes: Any) -> dict[str, Any]:
    section = world.params().train.stage1.model_dump(mode="json")
    section |= {"start": None, "schedule": {**section["schedule"], **world.SCHEDULE, "steps": STEPS}}
    section["optimiser"] |= {"lr": LEARNING_RATE}
    section["perceptual"]["missing"] = "pixels"
    section["losses"] |= {"gan": 1.0, "feature_matching": 10.0, "vgg19": 0.0}
    section["warm_up"] = {"labels_until": 1, "motion_until": 2}
    section["sampling"] |= {"drawn_share": 0.0}
    return section | changes


def _train_stage1(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_labels(root / "labels", clips)
    params = world.params(train={"stage1": _training_section()})
    train_stage1(
        params,
        TrainingFolders(root / "clips", root / "labels", root / "labels", root / "grids"),
        root / "out",
    )
    return training(root / "out")


def _train_stage2(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_labels(root / "labels", clips)
    world.write_backend_videos(root / "backend" / world.BACKEND, clips)
    (root / "stage1").mkdir()
    save_frontend(root / "stage1" / "frontend.safetensors", tiny_frontend(num_keypoints=15), {})
    params = world.params(train={"stage2": _training_section(videos="own")})
    folders = TrainingFolders(root / "clips", root / "labels", root / "labels", root / "grids")
    train_stage2(world.BACKEND, params, folders, root / "backend", root / "stage1", root / "out")
    return training(root / "out")


def _frontend_that_chooses() -> Frontend:
    """A tiny frontend whose compositor, unlike a fresh one, looks at the pictures and at their colours."""
    details = tiny_model()["generator"] | {"detail": "warp_both", "backend_reach": 1.0}
    frontend = tiny_frontend(num_keypoints=15, generator=details)
    assert frontend.compositor is not None
    generator = torch.Generator().manual_seed(1)
    assert frontend.compositor.colours.bias is not None
    for layer in (frontend.compositor.choice, frontend.compositor.colours):
        torch.nn.init.normal_(layer.weight, std=0.3, generator=generator)
    torch.nn.init.constant_(frontend.compositor.colours.bias, 0.8)
    return frontend


def _enhance(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_backend_videos(root / "backend", clips)
    made: dict[str, Sketch] = {}
    frontends = {"none": published_frontend("original"), "warp_both": _frontend_that_chooses()}
    for detail, frontend in frontends.items():
        checkpoint, out = root / f"{detail}.safetensors", root / detail
        save_frontend(checkpoint, frontend, {})
        enhance_clips(world.BACKEND, world.params(), root / "clips", root / "backend", checkpoint, out)
        made |= {f"{detail}/{key}": value for key, value in sketches(out, "*.mkv", "*.mp4").items()}
    return made


def _evaluate(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_backend_videos(root / "backend", clips)
    world.write_enhanced_videos(root / "enhanced", clips)
    clips_folder, backend, enhanced, out = (root / name for name in ("clips", "backend", "enhanced", "out"))
    evaluate(world.BACKEND, world.params(), clips_folder, backend, enhanced, out)
    return sketches(root / "out", "per_clip.csv", "per_frame.csv", "metrics.json")


def _mos_stimuli(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_backend_videos(root / "backend" / world.BACKEND, clips)
    world.write_enhanced_videos(root / "enhanced" / world.BACKEND, clips)
    params = world.params(survey={"clips": 2, "image_size": 64, "planned_raters": 3, "trap_shift_ms": 200})
    videos = [root / name for name in ("clips", "backend", "enhanced")]
    make_stimuli(
        params, videos[0], videos[1], videos[2], root / "stimuli", root / "records", root / "study.json"
    )
    return sketches(root / "stimuli", "*.mp4") | sketches(root, "study.json")


def _mos_scores(root: Path) -> Made:
    study = opinions.make_study(6)
    study.write(root / "study.json")
    opinions.write_ratings(root / "ratings.csv", opinions.answers_to(study, 10, opinions.opinion()))
    write_survey_results(opinions.params_with(), root / "ratings.csv", root / "study.json", root / "out")
    return sketches(root / "out", "*.json", "*.csv")


def _report(root: Path) -> Made:
    clips = world.write_clips(root / "clips")
    world.write_backend_videos(root / "backend" / world.BACKEND, clips)
    world.write_enhanced_videos(root / "enhanced" / world.BACKEND, clips)
    params = world.params()
    backend = root / "backend" / world.BACKEND
    results = root / "results"
    evaluation = results / "evaluation" / world.BACKEND
    evaluate(world.BACKEND, params, root / "clips", backend, root / "enhanced" / world.BACKEND, evaluation)
    stage1 = root / "stage1"
    write_csv(stage1 / "curves.csv", ["step", "loss"], [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5}])
    facts = {"clips": 2, "steps": 2, "seconds": 1.0, "seed": 0, "stopped_by_time_budget": False}
    write_json(stage1 / "summary.json", facts)
    stage2 = root / "stage2" / world.BACKEND
    stage2.mkdir(parents=True)
    save_frontend(stage2 / "frontend.safetensors", tiny_frontend(num_keypoints=15), {})
    write_report(
        params,
        root / "clips",
        root / "backend",
        root / "enhanced",
        {"stage 1": stage1},
        root / "stage2",
        results,
    )
    return sketches(results, "table1.json", "table1.csv", "trainings.json") | sketches(
        results / "curves", "*.csv"
    )


STAGES: Mapping[str, Callable[[Path], Made]] = {
    "acquire": _acquire,
    "preprocess": _preprocess,
    "label_pose": _label_pose,
    "label_expression": _label_expression,
    "draw_grids": _draw_grids,
    "train_sync.wav2lip": _train_sync_wav2lip,
    "train_sync.pcavs": _train_sync_pcavs,
    "train_backend.wav2lip": _train_backend_wav2lip,
    "train_backend.pcavs": _train_backend_pcavs,
    "synthesize": _synthesize,
    "train_stage1": _train_stage1,
    "train_stage2": _train_stage2,
    "enhance": _enhance,
    "evaluate": _evaluate,
    "mos_stimuli": _mos_stimuli,
    "mos_scores": _mos_scores,
    "report": _report,
}
"""Keys of recipes.yaml, `stage` or `stage.kind`, to what makes their sketches in an empty folder."""
