"""The backend kind `perfect`: the clip's true mouth on the still pose of its source frame.

It exists for the built-in sample only. It shows what a backend without any fault would be worth, and whether
an enhancement carries the mouth over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from kpbe.backends.base import BackendSettings, SynthesisRequest
from kpbe.data.crops import PixelBox, cropped
from kpbe.data.sample.clip import ClipPlan, plan_clip
from kpbe.data.sample.identity import identity_name
from kpbe.data.sample.person import Person, Pose
from kpbe.data.voxceleb import reference_frames
from kpbe.errors import BadClip, ParamsError
from kpbe.params import Params, SampleParams
from kpbe.recipes import recipe

SAMPLE_ONLY = "the perfect backend exists for the built-in sample only"

OF_THE_HEAD = ("brow",)
"""Controls that do not belong to the mouth."""

LARGEST_ERROR = 200.0
"""Mean squared error (25 dB) between the clip's source frame and the same frame drawn again; codecs cause a
tenth of it.
"""


class PerfectSettings(BackendSettings):
    """The perfect backend; there is nothing to set."""

    kind: Literal["perfect"] = "perfect"
    feed: Literal["source_image"] = "source_image"
    checkpoint: None = None

    def refuse_unfit(self, params: Params, name: str) -> None:
        """Raise ParamsError where the data are not the built-in sample."""
        if params.data.source != "sample":
            raise ParamsError(
                f"params.yaml: data.source is {params.data.source}, and {SAMPLE_ONLY}: take {name} out of "
                f"`backend` and `backends`."
            )


@dataclass(frozen=True)
class PreparedMouth:
    """A person with the poses of one clip: the source frame's pose with the mouth of each frame."""

    actor: Person
    poses: list[Pose]
    crop: PixelBox
    size: int


class PerfectBackend:
    """The sample's renderer as a backend."""

    kind: ClassVar[str] = "perfect"
    Settings: ClassVar[type[BackendSettings]] = PerfectSettings

    @classmethod
    def from_checkpoint(cls, path: Path | None, settings: PerfectSettings, device: str = "cpu") -> Self:
        """There is nothing to load."""
        return cls()

    @classmethod
    def made_from(cls, settings: PerfectSettings, clip_id: str) -> dict[str, Any]:
        """The version of the sample's pictures; the clip's own digest covers their params."""
        return {"sample": recipe("acquire")}

    def prepare(self, request: SynthesisRequest) -> PreparedMouth:
        """Recompute the clip's motion; see `Backend.prepare`.

        Raises:
            BadClip: it is no clip of the sample, or of a sample drawn with other params.
        """
        source = request.first_frames(1)[0]
        drawn = request.drawn
        if drawn is None:
            raise BadClip(f"{request.name}: {SAMPLE_ONLY}.")
        plan = _plan(request.name, request.clip_id, drawn.params)
        rows = reference_frames(drawn.start, request.frames, request.fps)
        poses = [plan.poses[row] for row in np.minimum(rows, len(plan.poses) - 1)]
        still = poses[min(drawn.source_frame, len(poses) - 1)]
        prepared = PreparedMouth(
            plan.actor, [with_mouth_of(still, pose) for pose in poses], drawn.crop, source.shape[0]
        )
        redrawn = _draw(prepared, still)
        if (
            redrawn.shape != source.shape
            or np.mean((redrawn.astype(np.float64) - source) ** 2) > LARGEST_ERROR
        ):
            raise BadClip(
                f"{request.name} is not what data.sample of params.yaml draws: make the clips again (dvc "
                f"repro preprocess)."
            )
        return prepared

    def synthesize(self, request: SynthesisRequest, prepared: PreparedMouth) -> Iterator[np.ndarray]:
        """Yield the source frame with the true mouth of every frame; see `Backend.synthesize`."""
        for pose in prepared.poses:
            yield _draw(prepared, pose)


def with_mouth_of(still: Pose, speaking: Pose) -> Pose:
    """A pose with the mouth of another pose: head, body, gaze, lids and brows stay."""
    head_controls = {name: still.controls[name] for name in OF_THE_HEAD if name in still.controls}
    return replace(still, controls={**speaking.controls, **head_controls})


def _draw(prepared: PreparedMouth, pose: Pose) -> np.ndarray:
    return cropped(prepared.actor.draw(pose), prepared.crop, prepared.size)


def _plan(name: str, clip_id: str, params: SampleParams) -> ClipPlan:
    """The plan of the clip, without its pictures."""
    identity, _, rest = clip_id.partition("#")
    people = {identity_name(i): i for i in range(params.train_identities + params.test_identities)}
    videos = {f"{clip + 1:02d}": clip for clip in range(params.clips_per_identity)}
    video = rest.partition("#")[0]
    if identity not in people or video not in videos:
        raise BadClip(f"{name} is no clip of the sample that data.sample describes: {SAMPLE_ONLY}.")
    return plan_clip(people[identity], videos[video], params)
