"""params.yaml as typed objects: one class per section, the only reader of that file.

`conf/` holds the Hydra groups that compose it (`dvc exp run -S data=folder`); whatever they compose must fit
these classes. The class of a backend's section lies with the backend (`kpbe.backends`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kpbe.errors import ParamsError


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- data --------------------------------------------------------------------------------------------------


class SampleParams(Section):
    """The built-in procedural talking heads (kpbe/data/sample)."""

    train_identities: int = Field(default=12, ge=1)
    test_identities: int = Field(default=4, ge=1)
    clips_per_identity: int = Field(default=4, ge=1)
    seconds: float = Field(default=2.2, ge=0.5, le=60)
    frame_size: int = Field(default=256, ge=64, le=1024)
    seed: int = Field(default=1, ge=0)


class GridParams(Section):
    """Drawn people in every combination of poses and mouths, for the frontend's trainings
    (kpbe/data/sample/grids.py).

    They are other people than those of the sample: `seed` is theirs.
    """

    identities: int = Field(default=12, ge=0)
    poses: int = Field(default=6, ge=2)
    mouths: int = Field(default=6, ge=2)
    frame_size: int = Field(default=256, ge=64, le=1024)
    seed: int = Field(default=77, ge=0)


class CropParams(Section):
    """Box tubes as FOMM's video preprocessing cuts them (reference: video-preprocessing/crop_vox.py)."""

    mode: Literal["tube", "whole"] = "tube"
    iou: float = Field(default=0.25, ge=0, le=1)
    min_frames: int = Field(default=64, ge=1)
    max_frames: int = Field(default=1024, ge=1)
    min_size: int = Field(default=256, ge=1)
    increase: float = Field(default=0.1, ge=0, le=2)
    at_border: Literal["reject", "shift"] = "reject"


class DataParams(Section):
    """Where videos come from and how they become clips of `image_size` x `image_size` pixels.

    With `validation_identities` above 0 so many training identities take the place of the test split: for
    comparing variants without a look at the test clips.
    """

    source: Literal["sample", "folder", "voxceleb1"] = "sample"
    image_size: int = Field(default=256, ge=64, le=1024, multiple_of=2)
    root: Path = Path("data/videos")
    list: Path | None = None
    metadata: Path | None = None
    detector: Literal["known", "yunet", "blazeface", "sfd", "mediapipe", "cascade"] = "known"
    fps: float = Field(default=25.0, gt=0, le=120)
    gop: int = Field(default=12, ge=1, le=250)
    crf: int = Field(default=12, ge=0, le=40)
    max_rejected_fraction: float = Field(default=0.5, ge=0, le=1)
    validation_identities: int = Field(default=0, ge=0)
    crop: CropParams = CropParams()
    sample: SampleParams = SampleParams()
    grids: GridParams = GridParams()

    @model_validator(mode="after")
    def _voxceleb_needs_metadata(self) -> DataParams:
        if self.source == "voxceleb1" and self.metadata is None:
            raise ValueError("data.metadata must name vox-metadata.csv when data.source is voxceleb1")
        return self


class LabelPoseParams(Section):
    """Who labels the head pose of training frames (kpbe/data/head_pose/label.py).

    `auto` takes the true poses where they are known, and otherwise the first of mediapipe, hopenet, fsanet,
    whenet whose weights are found.
    `batch` is the number of pictures per forward pass of hopenet.
    """

    teacher: Literal["auto", "known", "mediapipe", "whenet", "fsanet", "hopenet", "off"] = "auto"
    batch: int = Field(default=32, ge=1)


class LabelExpressionParams(Section):
    """Who labels points on the face and blendshapes of training frames (kpbe/data/expression/label.py).

    `auto` takes the true points where they are known, and otherwise MediaPipe's FaceLandmarker where its file
    is found.
    """

    teacher: Literal["auto", "known", "mediapipe", "off"] = "auto"


# -- frontend ----------------------------------------------------------------------------------------------


class CanonicalKeypointParams(Section):
    """Canonical keypoint estimator: a 2D-to-3D U-Net with soft-argmax."""

    width: int = Field(default=32, ge=1)
    max_width: int = Field(default=1024, ge=1)
    blocks: int = Field(default=5, ge=1)
    input_scale: float = Field(default=0.25, gt=0, le=1)
    temperature: float = Field(default=0.1, gt=0)


class PoseExpressionParams(Section):
    """Head pose and expression estimator: a bottleneck ResNet with binned angles.

    `pooling` of its last features: their `mean` over the picture, as published, or a `grid` that keeps where
    they are; from a grid, small networks learn places and angles several times as fast.
    """

    width: int = Field(default=64, ge=4)
    pooling: Literal["mean", "grid"] = "mean"
    stage_blocks: tuple[int, int, int, int] = (3, 3, 5, 2)
    bins: int = Field(default=66, ge=2)


class AppearanceParams(Section):
    """Appearance feature extractor: image to feature volume."""

    width: int = Field(default=64, ge=1)
    max_width: int = Field(default=512, ge=1)
    down_blocks: int = Field(default=2, ge=1)
    volume_channels: int = Field(default=32, ge=1)
    volume_blocks: int = Field(default=6, ge=0)


class MotionFieldParams(Section):
    """Motion field estimator: 3D hourglass over warped, compressed features."""

    width: int = Field(default=32, ge=1)
    max_width: int = Field(default=1024, ge=1)
    blocks: int = Field(default=5, ge=1)
    compressed_channels: int = Field(default=4, ge=1)
    mask_kernel: Literal[3, 5, 7] = 7


Detail = Literal["none", "warp", "warp_both"]


class GeneratorParams(Section):
    """Generator: warped volume to image, with OSFV's plain or SPADE decoder.

    `detail` says what a frame is made of: of the decoder's picture alone (`none`, the paper's way), also of
    the source image, moved at its own resolution (`warp`), or of these and the backend's frame, moved
    likewise (`warp_both`). `detail_width` is the width of the network that chooses among them.
    `backend_reach` is how far around the driving lips the backend's frame counts, in widths of the mouth; it
    needs a training that guides keypoints to the lips (`losses.guides`). Null: everywhere.
    """

    decoder: Literal["original", "spade"] = "original"
    width: int = Field(default=256, ge=1)
    blocks: int = Field(default=6, ge=0)
    detail: Detail = "none"
    detail_width: int = Field(default=16, ge=1)
    backend_reach: float | None = Field(default=None, gt=0)


class ConventionParams(Section):
    """What a checkpoint's numbers mean; stored with it (as zhanglonghao1992's OSFV code has them).

    `pitch_sign` is the pitch that the network estimates for one degree of a label's or a user's pitch, which
    is positive for a head that looks down: 1 with our labels, -1 in public OSFV checkpoints, which learned
    from Hopenet's. `first_order` says how the neighbourhood of a keypoint moves: `translation` with the
    keypoint, as in the public code; `rotation` also turns it by R_s R_d^T about the keypoint. The defaults of
    these two are what checkpoints without the fields were trained with.
    """

    degree_offset: float = 99.0
    pi: float = Field(default=3.14, ge=3.1, le=3.15)
    swap_yaw_and_roll_heads: bool = True
    align_corners: bool = False
    rotation: Literal["pitch_yaw_roll", "beta"] = "pitch_yaw_roll"
    pitch_sign: Literal[1, -1] = 1
    first_order: Literal["translation", "rotation"] = "translation"


class ModelParams(Section):
    """The frontend's five modules (paper Fig. 1 and 2; sizes of `vox256` are the published OSFV ones)."""

    name: str = "vox256"
    image_size: int = Field(default=256, ge=32, le=1024, multiple_of=16)
    num_keypoints: int = Field(default=15, ge=2)
    depth: int = Field(default=16, ge=2)
    canonical_keypoints: CanonicalKeypointParams = CanonicalKeypointParams()
    pose_expression: PoseExpressionParams = PoseExpressionParams()
    appearance: AppearanceParams = AppearanceParams()
    motion_field: MotionFieldParams = MotionFieldParams()
    generator: GeneratorParams = GeneratorParams()
    conventions: ConventionParams = ConventionParams()


# -- training ----------------------------------------------------------------------------------------------


class OptimiserParams(Section):
    """Adam with the paper's betas (IV.B)."""

    lr: float = Field(default=2e-4, gt=0, le=1)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    milestones: tuple[int, ...] = ()
    clip_norm: float = Field(default=0.0, ge=0)


class ScheduleParams(Section):
    """How long a training stage runs and how often it reports.

    `validation_pairs` pairs of frames are rendered at every report, and `validation_frames` frames of as many
    clips for the opening of the mouth, where FaceLandmarker's file is found.
    """

    steps: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    time_budget_s: float | None = Field(default=None, gt=0)
    checkpoint_every: int = Field(default=500, ge=1)
    sheet_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=20, ge=1)
    validation_pairs: int = Field(default=8, ge=1)
    validation_frames: int = Field(default=12, ge=8)


LayerWeights = tuple[float, float, float, float, float]


class VGGTermParams(Section):
    """One VGG term's own scales and layer weights; null takes those that all terms share."""

    scales: tuple[float, ...] | None = Field(default=None, min_length=1)
    layer_weights: LayerWeights | None = None


class PerceptualParams(Section):
    """The perceptual terms' image pyramids, and what to do where a VGG's weights are not found.

    `scales` and `layer_weights` (of relu1_1 .. relu5_1) are those of all terms; `vgg19` and `vgg_face` may
    have their own. `vgg19_unit`: with `normalised`, torchvision's VGG-19 file is measured so that its layers
    count as those of our normalised file; with `own`, features are compared as the file has them, which with
    torchvision's is the published loss. `missing`: `refuse` stops with a sentence, `pixels` puts the pixel
    pyramid in the place of that term, at the term's weight, and the report says so. With `refuse`, a head
    pose term without any label stops as well.
    """

    scales: tuple[float, ...] = Field(default=(1.0, 0.5, 0.25, 0.125), min_length=1)
    layer_weights: LayerWeights = (1.0, 1.0, 1.0, 1.0, 1.0)
    vgg19: VGGTermParams = VGGTermParams()
    vgg_face: VGGTermParams = VGGTermParams()
    vgg19_unit: Literal["normalised", "own"] = "normalised"
    missing: Literal["refuse", "pixels"] = "refuse"

    def of_vgg(self, term: str) -> tuple[tuple[float, ...], LayerWeights]:
        """Scales and layer weights of the term `vgg19` or `vgg_face`."""
        own: VGGTermParams = getattr(self, term)
        return own.scales or self.scales, own.layer_weights or self.layer_weights


class PerceptualWeights(Section):
    """Weights of the terms that compare pictures: VGG-19 and VGGFace features, and the pixel pyramid. 0 turns
    a term off.
    """

    vgg19: float = Field(default=10.0, ge=0)
    vgg_face: float = Field(default=0.0, ge=0)
    pixel: float = Field(default=0.0, ge=0)


class FrontendLossParams(PerceptualWeights):
    """Weights of the frontend's loss terms (OSFV, Wang et al. 2021, 3.3, for stage 1; paper eq. 3 and 4 for
    stage 2).

    `mouth` is how many times as much the mouth counts in the pixel terms as the rest of the picture, where
    the points of the face are known. `parts` judges what frames are put together from: the decoder's picture,
    the moved source, the moved backend. The next four need expression labels: `guides` draws six keypoints to
    lips and eyes, `lips` asks for the lips' height and width between their keypoints, `motion` asks the
    motion field to carry the points of face and scene to their places, `shapes` reads blendshapes from the
    expression. `mouth_share` asks that the pixels of the mouth are the backend's where its frame is a second
    source. `decoder_share` is a price on what the decoder, which is soft, has of the picture. `head_pose`
    asks for the pose of the head, `turn` for its turn between source and pose frame. `expression_depth` is a
    penalty on the depth in the expression, beside `expression` on all of it: what stands there does not turn
    with the head.
    """

    mouth: float = Field(default=1.0, ge=1)
    parts: float = Field(default=0.0, ge=0)
    guides: float = Field(default=0.0, ge=0)
    lips: float = Field(default=0.0, ge=0)
    motion: float = Field(default=0.0, ge=0)
    shapes: float = Field(default=0.0, ge=0)
    mouth_share: float = Field(default=0.0, ge=0)
    decoder_share: float = Field(default=0.0, ge=0)
    gan: float = Field(default=1.0, ge=0)
    feature_matching: float = Field(default=10.0, ge=0)
    equivariance: float = Field(default=10.0, ge=0)
    keypoint_prior: float = Field(default=10.0, ge=0)
    head_pose: float = Field(default=20.0, ge=0)
    turn: float = Field(default=0.0, ge=0)
    expression_depth: float = Field(default=0.0, ge=0)
    expression: float = Field(default=5.0, ge=0)


Goal = Literal["labels", "motion", "frames"]
"""What a training step of the frontend learns; each needs all that those before it need."""


class WarmUpParams(Section):
    """What comes first. Until step `labels_until` only the labels are learned (pose, guides, shapes), until
    step `motion_until` those and the motion of the face's points; nothing is rendered, and a step is several
    times as fast. Pairs grow apart: the same frame until step `same_frame_until`, any two frames of a clip
    from step `any_frame_from`.

    Self-reconstruction teaches appearance and decoder first; motion is then learned from sharp, slightly
    displaced features. Zeros turn it off (FOMM's sampling from the first step).
    """

    labels_until: int = Field(default=0, ge=0)
    motion_until: int = Field(default=0, ge=0)
    same_frame_until: int = Field(default=0, ge=0)
    any_frame_from: int = Field(default=0, ge=0)

    def goal(self, step: int) -> Goal:
        """What is learned at a step."""
        return "labels" if step < self.labels_until else "motion" if step < self.motion_until else "frames"

    def reach(self, step: int) -> float:
        """How far apart two frames may be at a step, as a share of the clip, 0 to 1."""
        if step >= self.any_frame_from:
            return 1.0
        grown = (step - self.same_frame_until) / max(1, self.any_frame_from - self.same_frame_until)
        return max(0.0, grown)


class SamplingParams(Section):
    """FOMM's sampling: an epoch shows each identity (each clip if not `by_identity`) `num_repeats` times, in
    random order.

    A sample is a random clip of the identity and two of its frames, drawn with replacement. `drawn_share` of
    the samples are quadruples of drawn people instead (data.grids). With `simulate_backends` the expression
    comes from a frame that a simulated backend made (kpbe/training/simulated_backends.py) where there is no
    backend's video; without, from the driving frame itself, as OSFV has it. With `generator.detail` =
    warp_both the expression frame is a second source in `second_source_share` of the samples: the network
    learns to do with it and without.
    """

    by_identity: bool = True
    num_repeats: int = Field(default=75, ge=1)
    drawn_share: float = Field(default=0.0, ge=0, le=1)
    simulate_backends: bool = False
    second_source_share: float = Field(default=0.65, ge=0, le=1)


class AugmentParams(Section):
    """FOMM's augmentation, the same for all images of a sample.

    With `time_flip`, every second pair is played backwards; of the others (of all without `time_flip`),
    `mirror` turns every second one left to right. Brightness, contrast and saturation are scaled by up to 1
    +- their value, the hue is turned by up to +- its share of a full turn, in random order; 0 leaves it
    alone. Not FOMM's: pictures are rolled by up to +- `roll` degrees, scaled by up to 1 + `scale` or its
    inverse, and shifted by up to +- `shift` of half their side, their labels with them.
    """

    time_flip: bool = True
    mirror: bool = True
    brightness: float = Field(default=0.1, ge=0, lt=1)
    contrast: float = Field(default=0.1, ge=0, lt=1)
    saturation: float = Field(default=0.1, ge=0, lt=1)
    hue: float = Field(default=0.1, ge=0, le=0.5)
    roll: float = Field(default=0.0, ge=0, le=45)
    scale: float = Field(default=0.0, ge=0, lt=1)
    shift: float = Field(default=0.0, ge=0, lt=1)


class FrontendTrainParams(Section):
    """One of the frontend's two training stages.

    `start` names a frontend to begin with (stage 1: instead of random weights; stage 2: instead of stage 1's
    result). Each batch is made in `accumulate` parts whose gradients are added up, for a GPU that does not
    hold it. `ema_decay` above 0 judges and hands on the moving average of the weights.
    """

    schedule: ScheduleParams
    start: Path | None = None
    accumulate: int = Field(default=1, ge=1)
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    optimiser: OptimiserParams = OptimiserParams()
    perceptual: PerceptualParams = PerceptualParams()
    losses: FrontendLossParams = FrontendLossParams()
    warm_up: WarmUpParams = WarmUpParams()
    sampling: SamplingParams = SamplingParams()
    augment: AugmentParams = AugmentParams()


class Stage2Params(FrontendTrainParams):
    """Stage 2; `videos` are those of the frontend's `own` backend, or of `all` backends: one frontend for
    every backend.
    """

    videos: Literal["own", "all"] = "own"


class TrainParams(Section):
    """The frontend's two trainings; a backend's own are in its section. `seed` is that of all of them."""

    seed: int = Field(default=0, ge=0)
    stage1: FrontendTrainParams
    stage2: Stage2Params


# -- evaluation and compute --------------------------------------------------------------------------------


Measure = Literal["auto", "on", "off"]


class EvaluateParams(Section):
    """Protocol of Table I: what is measured, and how it is compared.

    `lpips`, `faces` (mouth opening and the share of the way, by the FaceLandmarker), `head_pose` (degrees, by
    the teacher of `label_pose`), `identity` (CSIM, by ArcFace) and `lip_sync` (LSE, by SyncNet) need a
    network's file: `auto` measures where it is there and says what is missing, `on` stops without it. All
    methods are scored on every `score_every`-th frame, and only these are rendered of the controls, whose
    videos hold them in between. The networks, all but LPIPS and SyncNet, look at every `face_every`-th of the
    scored frames. `primary_metric` is the one by which an enhanced backend is judged against its
    source-expression control; the p-values of all other comparisons are adjusted for their number (Holm).
    """

    seed: int = Field(default=2210, ge=0)
    lpips: Measure = "auto"
    faces: Measure = "auto"
    head_pose: Measure = "auto"
    identity: Measure = "auto"
    lip_sync: Measure = "auto"
    score_every: int = Field(default=1, ge=1, le=25)
    face_every: int = Field(default=1, ge=1, le=25)
    primary_metric: str = "mouth_l1"
    bootstrap: int = Field(default=10000, ge=100)
    figure_clips: int = Field(default=4, ge=1)


class ComputeParams(Section):
    """Where and how the work runs; apart from the trainings' `precision` it never changes a result beyond
    rounding.

    The frontend's trainings share their batches among `devices` x `nodes` processes. `compile` has torch
    compile the frontend and the VGGs. `frames` says where they take their frames from: `memory` holds all
    clips decoded, in each process; `video` reads the asked frames from the files; `auto` takes memory where
    the clips fit into `frames_memory_gb`. `loader_threads` decode ahead of the step.
    """

    device: Literal["cpu", "cuda", "auto"] = "auto"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    runner: Literal["threads", "processes", "dask", "ray"] = "processes"
    workers: int = Field(default=2, ge=1)
    shard_size: int = Field(default=64, ge=1)
    render_batch: int = Field(default=16, ge=1)
    frames: Literal["auto", "memory", "video"] = "auto"
    frames_memory_gb: float = Field(default=4.0, gt=0)
    loader_threads: int = Field(default=2, ge=1)


# -- survey ------------------------------------------------------------------------------------------------


class ScreeningParams(Section):
    """Which raters are left out of the scores (kpbe/survey/scores/screening.py); fixed before answers come
    in.

    A rater counts who scored at least the share `min_completed` of the clips, played at most `max_unwatched`
    of them less than `min_watched` through, answered at least `min_traps_passed` of the traps and
    `min_gold_passed` of the gold items as may be, was on average at most `max_repeat_difference` points off
    where a clip came again, and whose scores have a variance of at least `min_variance`. `bt500` rejects
    erratic raters among those (ITU-R BT.500-14 A1-2.3.1), `min_correlation` those who correlate less with the
    mean of all (after ITU-T P.913).
    """

    min_completed: float = Field(default=0.9, ge=0, le=1)
    min_watched: float = Field(default=0.9, ge=0, le=1)
    max_unwatched: float = Field(default=0.0, ge=0, le=1)
    min_traps_passed: float = Field(default=0.5, ge=0, le=1)
    min_gold_passed: float = Field(default=0.5, ge=0, le=1)
    max_repeat_difference: float = Field(default=1.75, ge=0, le=4)
    min_variance: float = Field(default=0.15, ge=0, le=4)
    bt500: bool = True
    min_correlation: float | None = Field(default=None, ge=-1, le=1)


class SurveyParams(Section):
    """The MOS survey (paper IV.E, ITU-T P.910).

    Every rater sees `clips` test clips by every backend but those of `leave_out`, by their enhancements, and
    the ground truth; `traps` items whose sound comes `trap_shift_ms` late; `gold` items with a known answer
    (an even number: plainly good and plainly bad in turn); `repeats` items a second time; and before them
    `training` items with feedback (good and bad in turn). Videos are the first `max_seconds` of a clip (ITU-T
    P.910 advises 8 to 10 s), `image_size` pixels on their longer side, with sound at `loudness_lufs` (EBU
    R128). `planned_raters` orders are made (ITU-T P.913: 35 raters outside a laboratory; P.910: at least 15);
    a break is offered after every `break_after` items. `ratings` is what Table II is made from; `accept_demo`
    lets invented answers (`kpbe survey simulate`) into it, and it then says so.
    """

    study: str = Field(default="main", pattern=r"^[\w.-]+$", max_length=100)
    seed: int = Field(default=910, ge=0)
    clips: int = Field(default=13, ge=1, le=1000)
    max_seconds: float = Field(default=10.0, ge=2, le=60)
    image_size: int = Field(default=256, ge=64, le=1080, multiple_of=2)
    loudness_lufs: float = Field(default=-23.0, ge=-40, le=-14)
    traps: int = Field(default=2, ge=0, le=10)
    trap_shift_ms: int = Field(default=400, ge=200, le=1000)
    gold: int = Field(default=2, ge=0, le=10)
    repeats: int = Field(default=1, ge=0, le=5)
    training: int = Field(default=2, ge=0, le=10)
    planned_raters: int = Field(default=35, ge=1, le=1000)
    break_after: int = Field(default=35, ge=1)
    leave_out: tuple[str, ...] = ("perfect", "wav2lip_video")
    ratings: Path = Path("survey/ratings.csv")
    accept_demo: bool = False
    screening: ScreeningParams = ScreeningParams()

    @field_validator("gold")
    @classmethod
    def _even(cls, gold: int) -> int:
        if gold % 2:
            raise ValueError(
                f"survey.gold = {gold} is odd: gold items are plainly good and plainly bad in turn, set an "
                f"even number."
            )
        return gold


# -- the whole ---------------------------------------------------------------------------------------------


class Params(Section):
    """The whole of params.yaml.

    `backends` are the backends that the DAG carries through; `backend` holds a section for each by the same
    name, whose keys its own class knows (`kpbe.backends.base.backend_settings` reads it).
    """

    data: DataParams
    label_pose: LabelPoseParams = LabelPoseParams()
    label_expression: LabelExpressionParams = LabelExpressionParams()
    model: ModelParams
    backends: tuple[str, ...] = Field(default=("wav2lip",), min_length=1)
    backend: dict[str, dict[str, Any]]
    train: TrainParams
    evaluate: EvaluateParams
    survey: SurveyParams = SurveyParams()
    compute: ComputeParams

    @property
    def rated_backends(self) -> tuple[str, ...]:
        """The backends that raters see: all but those of `survey.leave_out`, or all where these would be
        none.
        """
        return tuple(name for name in self.backends if name not in self.survey.leave_out) or self.backends

    @field_validator("backends")
    @classmethod
    def _plain_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"backends = {list(names)} names a backend twice")
        if wrong := [name for name in names if not re.fullmatch(r"[\w.-]+", name)]:
            raise ValueError(
                f"backends = {wrong} is not allowed: letters, digits, '-', '_', '.' (they name folders)"
            )
        return names

    @model_validator(mode="after")
    def _backends_have_sections(self) -> Params:
        if missing := [name for name in self.backends if name not in self.backend]:
            raise ValueError(
                f"backend has no section {', '.join(missing)}, but backends names it: add "
                f"conf/backend/{missing[0]}.yaml "
                "to the choice of `backend`"
            )
        return self


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a params file.

    Raises:
        ParamsError: the file is missing, is not YAML, or a value does not fit; the message names every wrong
            key, its value and what is allowed.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist: run from the repository root.") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    return parse_params(values, name=str(path))


def parse_params(values: Any, name: str = "params") -> Params:
    """Validate already read values; `name` stands for their origin in error messages."""
    return parse_section(Params, values, name)


AnySection = TypeVar("AnySection", bound=Section)


def parse_section(section: type[AnySection], values: Any, name: str, prefix: str = "") -> AnySection:
    """Validate the values of one section.

    Args:
        section: its class.
        values: what the file holds.
        name: stands for their origin in error messages.
        prefix: where the section lies in the file, e.g. "backend.wav2lip.".

    Raises:
        ParamsError: names every wrong key, its value and what is allowed.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(_in_words(item, prefix) for item in error.errors())
        raise ParamsError(f"{name}: {wrong}.") from None


def _in_words(item: Any, prefix: str) -> str:
    key = prefix + ".".join(str(part) for part in item["loc"]) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{key} is not a known key (a typo?)"
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "value_error":
        return item["msg"].removeprefix("Value error, ")
    allowed = item["msg"][0].lower() + item["msg"][1:]
    return f"{key} = {item['input']!r} is not allowed: {allowed}"
