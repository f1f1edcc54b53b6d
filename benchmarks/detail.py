"""Compare `generator.detail` none, warp and warp_both: `python -m benchmarks.detail CLIPS`.

Each unseen person is enhanced from a *simulated* still backend: one frame with the true mouth of each moment,
degraded as backends degrade theirs (kpbe/training/simulated_backends.py). The backend's frames thus contain
the true mouth, and whatever of it is missing from the result, the enhancement has lost. Controls are the
source image as expression, and the backend's frames in another order. The report goes to
benchmarks/detail.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.report import Page, page, processor, table, write_page
from kpbe.core.files import file_sha256
from kpbe.data.clips import Clip, read_manifest
from kpbe.data.expression.label import labels_of_faces
from kpbe.data.source_frame import random_seed, source_frame_index
from kpbe.evaluation.networks import Networks, choose_networks, face_landmarker
from kpbe.evaluation.scoring import score_videos
from kpbe.frontend.images import to_tensor, to_uint8
from kpbe.frontend.model import DETAILS, Frontend
from kpbe.inference.frontends import frontend_file, open_frontend
from kpbe.media.recording import Recording
from kpbe.params import ComputeParams, Detail, EvaluateParams
from kpbe.training.simulated_backends import Head, simulate

ROOT = Path(__file__).resolve().parents[1]
SEED = 2210
AT_ONCE = 8
BACKEND, STATIC = "simulated backend", "static source"

COLUMNS = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS", 3),
    "mouth_l1": ("mouth L1", 4),
    "mouth_lpips": ("mouth LPIPS", 3),
    "opening_r": ("opening r, truth", 2),
    "opening_r_backend": ("opening r, backend", 2),
    "turn": ("turn", 2),
    "across": ("across", 2),
    "down": ("down", 2),
}
"""Metrics of the table: heading, digits."""


@dataclass(frozen=True)
class Pictures:
    """Frames (N, H, W, 3) as a video (see `kpbe.evaluation.scoring.Frames`)."""

    frames: np.ndarray

    def at(self, indices: Sequence[int]) -> np.ndarray:
        """See `kpbe.evaluation.scoring.Frames`."""
        return self.frames[list(indices)]


def one_clip_each(clips: Sequence[Clip], people: int) -> list[Clip]:
    """The first clip of each of `people` identities, which are spread evenly over the sorted names."""
    first = {clip.identity: clip for clip in reversed(clips)}
    names = sorted(first)
    chosen = np.unique(np.linspace(0, len(names) - 1, min(people, len(names))).round().astype(int))
    return [first[names[i]] for i in chosen]


def simulated_backend(frames: np.ndarray, source: int, seed: int) -> np.ndarray:
    """A still backend's frames (N, H, W, 3) with the mouths of `frames`, all degraded alike."""
    landmarker = face_landmarker()
    faces = [landmarker.read(frame) for frame in frames]
    points = labels_of_faces(faces, (frames.shape[1], frames.shape[2])).points
    heads = [Head(frame, own) for frame, own in zip(frames, points, strict=True)]
    return np.stack([simulate(heads[source], head, np.random.default_rng(seed)).picture for head in heads])


@torch.inference_mode()
def enhanced(
    frontend: Frontend, detail: Detail, frames: np.ndarray, source: int, expression: np.ndarray
) -> np.ndarray:
    """Frames (N, H, W, 3) of the source image with the head poses of `frames` and other expressions.

    The expressions are those of the frames `expression` (N, H, W, 3).
    """
    frontend.use_detail(detail)
    decomposed = frontend.decompose(to_tensor(frames[source : source + 1]))
    pieces = []
    for begin in range(0, len(frames), AT_ONCE):
        at = slice(begin, begin + AT_ONCE)
        pose, _ = frontend.estimate_pose_expression(to_tensor(frames[at]))
        pieces.append(to_uint8(frontend.reenact(decomposed, pose, to_tensor(expression[at])).frame))
    return np.concatenate(pieces)


def measure(
    frontend: Frontend, clip: Clip, most_frames: int, networks: Networks
) -> dict[str, dict[str, float]]:
    """Method -> metric -> value for one clip."""
    frames = Recording(clip.video).frames()
    shown = np.unique(np.linspace(0, len(frames) - 1, min(most_frames, len(frames))).round().astype(int))
    frames = frames[shown]
    source = source_frame_index(clip.clip_id, len(frames), SEED)
    seed = random_seed(clip.clip_id, SEED)
    backend = simulated_backend(frames, source, seed)
    still = np.broadcast_to(frames[source], frames.shape)
    shuffled = backend[np.random.default_rng(seed).permutation(len(backend))]
    methods = {STATIC: still, BACKEND: backend}
    for detail in DETAILS[: 1 + DETAILS.index(frontend.params.generator.detail)]:
        methods[detail] = enhanced(frontend, detail, frames, source, backend)
        methods[f"{detail}, source expression"] = enhanced(frontend, detail, frames, source, still)
        methods[f"{detail}, shuffled backend"] = enhanced(frontend, detail, frames, source, shuffled)
    scores = score_videos(
        Pictures(frames),
        {name: Pictures(video) for name, video in methods.items()},
        [index for index in range(len(frames)) if index != source],
        networks,
        source=frames[source],
        followed={name: BACKEND for name in methods if name not in (STATIC, BACKEND)},
    )
    return {name: score.means() for name, score in scores.items()}


def rows_of(clips: Sequence[Mapping[str, Mapping[str, float]]]) -> list[list[str]]:
    """Table rows with means over clips, one for each method; `clips` holds the results of `measure`."""
    rows = []
    for method in clips[0]:
        values = defaultdict(list)
        for of_clip in clips:
            for metric, value in of_clip[method].items():
                values[metric].append(value)
        cells = [
            f"{np.mean(values[name]):.{digits}f}" if values[name] else ""
            for name, (_, digits) in COLUMNS.items()
        ]
        rows.append([method, *cells])
    return rows


def report(frontend_path: Path, clips: Sequence[Clip], frames: int, rows: Sequence[Sequence[str]]) -> Page:
    """The report."""
    about = f"""\
`python -m benchmarks.detail CLIPS` writes this page: {len(clips)} clips of as many people on whom nothing was
trained, {frames} frames of each at most, at {clips[0].width}x{clips[0].height}; means over clips. Seed
{SEED}, {processor()}. Frontend: `{frontend_path.name}`, sha256 `{file_sha256(frontend_path)[:12]}`.

The backend is a *simulated* one: one still frame with the true mouth of every moment, spoiled as backends
spoil theirs. `none` is the paper's decoder; `warp` adds the source image, moved at its own size; `warp_both`
also the backend's frame, moved (docs/training.md). Opening r is Pearson's, of the lips' opening with the
truth's and with the backend's; turn, across and down are the shares that heads make of the true movements."""
    head = ["", *(heading for heading, _ in COLUMNS.values())]
    return page(["# What frames are made of", about, table(head, rows)])


def main() -> None:
    """Measure all clips and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "clips", type=Path, help="a folder like data/clips, with unseen people in its test split"
    )
    parser.add_argument("--checkpoint", type=Path, help="a frontend; the released one without it")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "detail.md")
    chosen = parser.parse_args()
    path = frontend_file(chosen.checkpoint)
    frontend = open_frontend(path)
    compute = ComputeParams(device="cpu")
    networks = choose_networks(
        EvaluateParams(lpips="on", faces="on", head_pose="off", identity="off", lip_sync="off"),
        "off",
        compute,
    )
    clips = one_clip_each(read_manifest(chosen.clips, "test"), chosen.people)
    results = [measure(frontend, clip, chosen.frames, networks) for clip in tqdm(clips, unit="clip")]
    written = report(path, clips, chosen.frames, rows_of(results))
    write_page(chosen.out, written)
    print(written)


if __name__ == "__main__":
    main()
