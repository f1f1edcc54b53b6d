"""params.yaml as typed objects: one class per section, the only reader of that file.

`conf/` holds the Hydra groups that compose it (`dvc exp run -S data=folder`); the result must fit these
classes. The class of a backend's section is in the backend's package (`kpbe.backends`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kpbe.errors import ParamsError


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# -- data --------------------------------------------------------------------------------------------------


class SampleParams(Section):
    """The built-in procedural talking heads (kpbe/data/sample)."""

    train_identities: int = Field(default=12, ge=1)
    """People to train on."""

    test_identities: int = Field(default=4, ge=1)
    """Other people, to test on."""

    clips_per_identity: int = Field(default=4, ge=1)
    """Clips of each person."""

    seconds: float = Field(default=2.2, ge=0.5, le=60)
    """Length of a clip."""

    frame_size: int = Field(default=256, ge=64, le=1024)
    """Side of the drawn frames in pixels."""

    seed: int = Field(default=1, ge=0)
    """Seed of people, speech and motion."""


class GridParams(Section):
    """Drawn people in every combination of poses and mouths, for the frontend's trainings.

    They are not the sample's people.
    """

    identities: int = Field(default=12, ge=0)
    """People; 0 draws none."""

    poses: int = Field(default=6, ge=2)
    """Head poses of each person."""

    mouths: int = Field(default=6, ge=2)
    """Mouths of each person."""

    frame_size: int = Field(default=256, ge=64, le=1024)
    """Side of the drawn frames in pixels."""

    seed: int = Field(default=77, ge=0)
    """Seed of people, poses and mouths."""


class CropParams(Section):
    """Box tubes as FOMM's video preprocessing cuts them (video-preprocessing/crop_vox.py)."""

    mode: Literal["tube", "whole"] = "tube"
    """`tube` follows a face; `whole` takes the middle square of whole frames."""

    iou: float = Field(default=0.25, ge=0, le=1)
    """A box whose IoU with the tube's first box is less starts a new tube."""

    min_frames: int = Field(default=64, ge=1)
    """Shorter tubes are rejected; at 25 frames per second."""

    max_frames: int = Field(default=1024, ge=1)
    """Longer tubes are cut into pieces of at most this many frames."""

    min_size: int = Field(default=256, ge=1)
    """Tubes whose box is smaller, in pixels, are rejected."""

    increase: float = Field(default=0.1, ge=0, le=2)
    """Margin around the tube's box, as a share of its size."""

    at_border: Literal["reject", "shift"] = "reject"
    """If a crop reaches beyond the frame: reject the tube, or shift the crop inside."""


class DataParams(Section):
    """The source of videos, and how they become clips."""

    source: Literal["sample", "folder", "voxceleb1"] = "sample"
    """The built-in sample, a folder of videos, or VoxCeleb1."""

    image_size: int = Field(default=256, ge=64, le=1024, multiple_of=2)
    """Side of the clips in pixels."""

    root: Path = Path("data/videos")
    """Folder of the videos."""

    list: Path | None = None
    """CSV of videos, identities and splits; null takes every video below `root`."""

    metadata: Path | None = None
    """VoxCeleb1's vox-metadata.csv."""

    detector: Literal["known", "yunet", "blazeface", "sfd", "mediapipe", "cascade"] = "known"
    """Face detector; `known` where boxes come with the videos."""

    fps: float = Field(default=25.0, gt=0, le=120)
    """Frames per second of the clips."""

    gop: int = Field(default=12, ge=1, le=250)
    """Most frames between two key frames of the clips."""

    crf: int = Field(default=12, ge=0, le=40)
    """H.264 quality of the clips; less is better."""

    max_rejected_fraction: float = Field(default=0.5, ge=0, le=1)
    """A stage fails when a larger share of its clips is rejected."""

    validation_identities: int = Field(default=0, ge=0)
    """Number of training identities that replace the test split, to compare variants without using it."""

    crop: CropParams = CropParams()
    sample: SampleParams = SampleParams()
    grids: GridParams = GridParams()

    @model_validator(mode="after")
    def _voxceleb_needs_metadata(self) -> DataParams:
        if self.source == "voxceleb1" and self.metadata is None:
            raise ValueError("data.metadata must name vox-metadata.csv when data.source is voxceleb1")
        return self


class LabelPoseParams(Section):
    """Labels of the head pose of training frames (kpbe/data/head_pose/label.py)."""

    teacher: Literal["auto", "known", "mediapipe", "whenet", "fsanet", "hopenet", "off"] = "auto"
    """`auto`: true poses where known, else the first teacher whose weights are found (mediapipe, hopenet,
    fsanet, whenet).
    """

    batch: int = Field(default=32, ge=1)
    """Pictures per forward pass of hopenet."""


class LabelExpressionParams(Section):
    """Labels of face points and blendshapes of training frames (kpbe/data/expression/label.py)."""

    teacher: Literal["auto", "known", "mediapipe", "off"] = "auto"
    """`auto`: true points where known, else MediaPipe's FaceLandmarker where its file is found."""


# -- frontend ----------------------------------------------------------------------------------------------


class CanonicalKeypointParams(Section):
    """Canonical keypoint estimator: a 2D-to-3D U-Net with soft-argmax."""

    width: int = Field(default=32, ge=1)
    """Channels of the first block; each halving doubles them."""

    max_width: int = Field(default=1024, ge=1)
    """Most channels of a block."""

    blocks: int = Field(default=5, ge=1)
    """Halvings."""

    input_scale: float = Field(default=0.25, gt=0, le=1)
    """Size of the input as a share of the picture's size; 1/n."""

    temperature: float = Field(default=0.1, gt=0)
    """Temperature of the softmax over the heat maps."""


class PoseExpressionParams(Section):
    """Head pose and expression estimator: a bottleneck ResNet with binned angles."""

    width: int = Field(default=64, ge=4)
    """Channels of the first stage."""

    pooling: Literal["mean", "grid"] = "mean"
    """Pooling of the last features: their `mean`, as published, or a `grid` that keeps their places, with
    which small networks learn faster.
    """

    stage_blocks: tuple[int, int, int, int] = (3, 3, 5, 2)
    """Blocks of each stage."""

    bins: int = Field(default=66, ge=2)
    """Bins of each angle."""


class AppearanceParams(Section):
    """Appearance feature extractor: image to feature volume."""

    width: int = Field(default=64, ge=1)
    """Channels of the first block; each halving doubles them."""

    max_width: int = Field(default=512, ge=1)
    """Most channels of a block."""

    down_blocks: int = Field(default=2, ge=1)
    """Halvings of the picture."""

    volume_channels: int = Field(default=32, ge=1)
    """Channels of the feature volume."""

    volume_blocks: int = Field(default=6, ge=0)
    """3D residual blocks."""


class MotionFieldParams(Section):
    """Motion field estimator: 3D hourglass over warped, compressed features."""

    width: int = Field(default=32, ge=1)
    """Channels of the first block; each halving doubles them."""

    max_width: int = Field(default=1024, ge=1)
    """Most channels of a block."""

    blocks: int = Field(default=5, ge=1)
    """Halvings."""

    compressed_channels: int = Field(default=4, ge=1)
    """Channels of the feature volume while it is warped to estimate the motion."""

    mask_kernel: Literal[3, 5, 7] = 7
    """Side of the mask's 3D kernel."""


Detail = Literal["none", "warp", "warp_both"]


class GeneratorParams(Section):
    """Generator: warped volume to image."""

    decoder: Literal["original", "spade"] = "original"
    """OSFV's plain decoder or its SPADE decoder."""

    width: int = Field(default=256, ge=1)
    """Channels of the decoder's widest layer."""

    blocks: int = Field(default=6, ge=0)
    """2D residual blocks."""

    detail: Detail = "none"
    """Pictures that a frame is blended from: the decoder's (`none`, as in the paper), also the moved source
    (`warp`), also the moved backend's frame (`warp_both`).
    """

    detail_width: int = Field(default=16, ge=1)
    """Channels of the network that blends these."""

    backend_reach: float | None = Field(default=None, gt=0)
    """Radius around the driving lips in which the backend's frame is used, in widths of the mouth; needs
    `losses.guides`. Null: everywhere.
    """


class ConventionParams(Section):
    """Conventions of a checkpoint's numbers, stored with it (after zhanglonghao1992's OSFV code)."""

    degree_offset: float = 99.0
    """Negated degrees of the first bin."""

    pi: float = Field(default=3.14, ge=3.1, le=3.15)
    """Value of pi in conversions of degrees to radians; public checkpoints were trained with 3.14."""

    swap_yaw_and_roll_heads: bool = True
    """Whether the checkpoint's heads `fc_roll` and `fc_yaw` are swapped."""

    align_corners: bool = False
    """Argument of every grid sampling."""

    rotation: Literal["pitch_yaw_roll", "beta"] = "pitch_yaw_roll"
    """Order of the rotations: `pitch_yaw_roll`, or that of the public beta checkpoint."""

    pitch_sign: Literal[1, -1] = 1
    """The network's pitch for one degree down: 1 with our labels, -1 in public OSFV checkpoints."""

    first_order: Literal["translation", "rotation"] = "translation"
    """How a keypoint's neighbourhood moves: `translation` as in the public code; `rotation` also turns it by
    R_s R_d^T.
    """


class ModelParams(Section):
    """The frontend's five modules (paper Fig. 1 and 2; the sizes of `vox256` are the published OSFV ones)."""

    name: str = "vox256"
    """Name in tables."""

    image_size: int = Field(default=256, ge=32, le=1024, multiple_of=16)
    """Side of the networks' input pictures in pixels; frames are resized to it."""

    num_keypoints: int = Field(default=15, ge=2)
    """K of eq. (1); at least 6 with `losses.guides`."""

    depth: int = Field(default=16, ge=2)
    """Planes of the feature volume."""

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
    """Learning rate."""

    beta1: float = Field(default=0.5, ge=0, lt=1)
    """Decay of the first moment."""

    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""

    milestones: tuple[int, ...] = ()
    """Steps at which the learning rate is divided by ten."""

    clip_norm: float = Field(default=0.0, ge=0)
    """Largest norm of the gradients; 0: no limit."""


class ScheduleParams(Section):
    """Length of a training and intervals of its reports."""

    steps: int = Field(ge=0)
    """Training steps."""

    batch_size: int = Field(ge=1)
    """Samples per step, of all processes together."""

    time_budget_s: float | None = Field(default=None, gt=0)
    """Seconds after which the training ends; null: it ends after `steps`."""

    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two states on disk."""

    sheet_every: int = Field(default=500, ge=1)
    """Steps between two validations with a picture sheet."""

    log_every: int = Field(default=20, ge=1)
    """Steps between two rows of the curves."""

    validation_pairs: int = Field(default=8, ge=1)
    """Pairs of frames that a validation renders."""

    validation_frames: int = Field(default=12, ge=8)
    """Frames of each clip in which a validation measures the mouth's opening, if FaceLandmarker's file is
    found.
    """


LayerWeights = tuple[float, float, float, float, float]


class VGGTermParams(Section):
    """One VGG term's own scales and layer weights."""

    scales: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Null: those of all terms."""

    layer_weights: LayerWeights | None = None
    """Null: those of all terms."""


class PerceptualParams(Section):
    """The perceptual terms' image pyramids, and the choice when a VGG's weights are missing."""

    scales: tuple[float, ...] = Field(default=(1.0, 0.5, 0.25, 0.125), min_length=1)
    """Scales of the compared pictures: 1 and fractions 1/n."""

    layer_weights: LayerWeights = (1.0, 1.0, 1.0, 1.0, 1.0)
    """Weights of relu1_1 .. relu5_1."""

    vgg19: VGGTermParams = VGGTermParams()
    vgg_face: VGGTermParams = VGGTermParams()
    vgg19_unit: Literal["normalised", "own"] = "normalised"
    """`normalised`: features of torchvision's file are scaled like those of our normalised file; `own`: they
    are not scaled, as in the published loss.
    """

    missing: Literal["refuse", "pixels"] = "refuse"
    """`refuse` stops with a message, also when a head pose term has no label; `pixels` replaces the term by
    the pixel pyramid and says so.
    """

    def of_vgg(self, term: str) -> tuple[tuple[float, ...], LayerWeights]:
        """Scales and layer weights of the term `vgg19` or `vgg_face`."""
        own: VGGTermParams = getattr(self, term)
        return own.scales or self.scales, own.layer_weights or self.layer_weights


class PerceptualWeights(Section):
    """Weights of the terms that compare pictures; 0 turns a term off."""

    vgg19: float = Field(default=10.0, ge=0)
    """VGG-19 features."""

    vgg_face: float = Field(default=0.0, ge=0)
    """VGGFace features (eq. 3)."""

    pixel: float = Field(default=0.0, ge=0)
    """The pixel pyramid."""


class FrontendLossParams(PerceptualWeights):
    """Weights of the frontend's loss terms.

    Sources: OSFV (Wang et al. 2021, 3.3) for stage 1, the paper's eq. 3 and 4 for stage 2.
    """

    mouth: float = Field(default=1.0, ge=1)
    """Weight of the mouth over that of the rest in the pixel terms, where the face's points are known."""

    parts: float = Field(default=0.0, ge=0)
    """Pixel differences of the blended pictures: decoder's, moved source, moved backend's frame."""

    guides: float = Field(default=0.0, ge=0)
    """Pulls six keypoints to lips and eyes; needs expression labels, as the next three terms do."""

    lips: float = Field(default=0.0, ge=0)
    """Errors of the height and width of the lips between their keypoints."""

    motion: float = Field(default=0.0, ge=0)
    """Errors of where the motion field carries points of face and scene."""

    shapes: float = Field(default=0.0, ge=0)
    """Errors of blendshapes that are read from the expression."""

    mouth_share: float = Field(default=0.0, ge=0)
    """Rewards taking the mouth's pixels from the backend's frame where that is a second source."""

    decoder_share: float = Field(default=0.0, ge=0)
    """Penalises the decoder's share of the picture, since its pictures are soft."""

    gan: float = Field(default=1.0, ge=0)
    """Hinge loss of the patch discriminator."""

    feature_matching: float = Field(default=10.0, ge=0)
    """L1 of the discriminator's features."""

    equivariance: float = Field(default=10.0, ge=0)
    """Keypoints must move with a random warp of the picture."""

    keypoint_prior: float = Field(default=10.0, ge=0)
    """Keeps keypoints apart and near a depth."""

    head_pose: float = Field(default=20.0, ge=0)
    """Errors of the head pose in degrees."""

    turn: float = Field(default=0.0, ge=0)
    """Errors of the turn between source and pose frame in degrees."""

    expression_depth: float = Field(default=0.0, ge=0)
    """L1 norm of the expression's depth, in addition to `expression`: shifts in depth do not turn with the
    head.
    """

    expression: float = Field(default=5.0, ge=0)
    """L1 norm of the expression (eq. 4)."""


Goal = Literal["labels", "motion", "frames"]
"""The goal of a training step of the frontend; each includes the ones before it."""


class WarmUpParams(Section):
    """The first part of a training; zeros turn it off (FOMM's sampling from the first step)."""

    labels_until: int = Field(default=0, ge=0)
    """Before this step only the labels are learned (pose, guides, shapes); nothing is rendered."""

    motion_until: int = Field(default=0, ge=0)
    """Before this step only labels and the motion of known points are learned; nothing is rendered."""

    same_frame_until: int = Field(default=0, ge=0)
    """Before this step the two frames of a sample are the same."""

    any_frame_from: int = Field(default=0, ge=0)
    """From this step on they are any two frames of a clip; in between their largest distance grows."""

    def goal(self, step: int) -> Goal:
        """The goal of a step."""
        return "labels" if step < self.labels_until else "motion" if step < self.motion_until else "frames"

    def reach(self, step: int) -> float:
        """Largest distance of the two frames at a step, as a share of the clip, 0 to 1."""
        if step >= self.any_frame_from:
            return 1.0
        grown = (step - self.same_frame_until) / max(1, self.any_frame_from - self.same_frame_until)
        return max(0.0, grown)


class SamplingParams(Section):
    """FOMM's sampling: two random frames of a random clip of each identity."""

    by_identity: bool = True
    """Whether an epoch goes over identities, not over clips."""

    num_repeats: int = Field(default=75, ge=1)
    """Number of times that an epoch shows each of them."""

    drawn_share: float = Field(default=0.0, ge=0, le=1)
    """Share of samples that are quadruples of drawn people (data.grids)."""

    simulate_backends: bool = False
    """Without a backend's video, take the expression from a simulated backend's frame; if false, from the
    driving frame, as in OSFV.
    """

    second_source_share: float = Field(default=0.65, ge=0, le=1)
    """Share of samples in which the expression frame is a second source; for `generator.detail` warp_both."""


class AugmentParams(Section):
    """FOMM's augmentation, the same for all images of a sample; roll, scale and shift are ours."""

    time_flip: bool = True
    """Half of the pairs are played backwards."""

    mirror: bool = True
    """Half of the others are mirrored."""

    brightness: float = Field(default=0.1, ge=0, lt=1)
    """Brightness is scaled by up to 1 +- this."""

    contrast: float = Field(default=0.1, ge=0, lt=1)
    """Contrast is scaled by up to 1 +- this."""

    saturation: float = Field(default=0.1, ge=0, lt=1)
    """Saturation is scaled by up to 1 +- this."""

    hue: float = Field(default=0.1, ge=0, le=0.5)
    """The hue is rotated by up to +- this share of a full turn."""

    roll: float = Field(default=0.0, ge=0, le=45)
    """Pictures and labels are rolled by up to +- this, degrees."""

    scale: float = Field(default=0.0, ge=0, lt=1)
    """Pictures and labels are scaled by up to 1 + this or its inverse."""

    shift: float = Field(default=0.0, ge=0, lt=1)
    """Pictures and labels are shifted by up to +- this share of half the side."""


class FrontendTrainParams(Section):
    """One of the frontend's two training stages."""

    schedule: ScheduleParams
    start: Path | None = None
    """Start weights; null: random weights in stage 1, stage 1's result in stage 2."""

    accumulate: int = Field(default=1, ge=1)
    """Parts in which a batch is processed, for a GPU that cannot hold all of it."""

    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the weights' moving average, which is validated and exported; 0: no average."""

    optimiser: OptimiserParams = OptimiserParams()
    perceptual: PerceptualParams = PerceptualParams()
    losses: FrontendLossParams = FrontendLossParams()
    warm_up: WarmUpParams = WarmUpParams()
    sampling: SamplingParams = SamplingParams()
    augment: AugmentParams = AugmentParams()


class Stage2Params(FrontendTrainParams):
    """Stage 2."""

    videos: Literal["own", "all"] = "own"
    """Videos of the frontend's `own` backend, or of `all` backends (one frontend for all)."""


class TrainParams(Section):
    """The frontend's two trainings; a backend's own are in its section."""

    seed: int = Field(default=0, ge=0)
    """Seed of all trainings."""

    stage1: FrontendTrainParams
    stage2: Stage2Params


# -- evaluation and compute --------------------------------------------------------------------------------


Measure = Literal["auto", "on", "off"]


class EvaluateParams(Section):
    """Protocol of Table I.

    A `Measure` is used if its network's file is found (`auto`), always (`on`) or never (`off`).
    """

    seed: int = Field(default=2210, ge=0)
    """Seed of source frames and intervals."""

    lpips: Measure = "auto"
    """LPIPS, by AlexNet."""

    faces: Measure = "auto"
    """Mouth opening and the share of the way, by the FaceLandmarker."""

    head_pose: Measure = "auto"
    """Errors in degrees, by the teacher of `label_pose`."""

    identity: Measure = "auto"
    """CSIM, by ArcFace."""

    lip_sync: Measure = "auto"
    """LSE-C and LSE-D, by SyncNet."""

    score_every: int = Field(default=1, ge=1, le=25)
    """Every n-th frame is scored; controls are rendered on these only."""

    face_every: int = Field(default=1, ge=1, le=25)
    """All networks except LPIPS and SyncNet read every n-th scored frame only."""

    primary_metric: str = "mouth_l1"
    """Metric that judges an enhanced backend against its source-expression control; p-values of the others
    are adjusted (Holm).
    """

    bootstrap: int = Field(default=10000, ge=100)
    """Bootstrap resamples."""

    figure_clips: int = Field(default=4, ge=1)
    """Clips shown in Figure 3."""


class ComputeParams(Section):
    """Machines and processes of the work; only `precision` changes results beyond rounding."""

    device: Literal["cpu", "cuda", "auto"] = "auto"
    """`auto` takes a GPU if there is one."""

    devices: int = Field(default=1, ge=1)
    """Processes per node of the frontend's trainings."""

    nodes: int = Field(default=1, ge=1)
    """Machines of the frontend's trainings."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Precision of the trainings."""

    compile: bool = False
    """Whether torch compiles the frontend and the VGGs."""

    runner: Literal["threads", "processes", "dask", "ray"] = "processes"
    """Kind of workers that run shards."""

    workers: int = Field(default=2, ge=1)
    """Number of processes or threads that run shards."""

    shard_size: int = Field(default=64, ge=1)
    """Clips per shard."""

    render_batch: int = Field(default=16, ge=1)
    """Frames rendered at once."""

    frames: Literal["auto", "memory", "video"] = "auto"
    """Source of training frames: decoded in `memory`, or from the `video` files; `auto` takes memory if they
    fit.
    """

    frames_memory_gb: float = Field(default=4.0, gt=0)
    """Most memory for decoded clips with `auto`, GB."""

    loader_threads: int = Field(default=2, ge=1)
    """Threads that decode ahead of a training step."""


# -- survey ------------------------------------------------------------------------------------------------


class ScreeningParams(Section):
    """Rules by which raters are left out of the scores, fixed before answers come in.

    See kpbe/survey/scores/screening.py.
    """

    min_completed: float = Field(default=0.9, ge=0, le=1)
    """Share of the clips that must be scored."""

    min_watched: float = Field(default=0.9, ge=0, le=1)
    """Share of a clip that must be played for it to count as watched."""

    max_unwatched: float = Field(default=0.0, ge=0, le=1)
    """Share of clips that may be unwatched."""

    min_traps_passed: float = Field(default=0.5, ge=0, le=1)
    """Share of traps with an allowed answer."""

    min_gold_passed: float = Field(default=0.5, ge=0, le=1)
    """Share of gold items with an allowed answer."""

    max_repeat_difference: float = Field(default=1.75, ge=0, le=4)
    """Largest mean difference, in points, between the answers to a clip and its repeat."""

    min_variance: float = Field(default=0.15, ge=0, le=4)
    """Least variance of a rater's scores."""

    bt500: bool = True
    """Whether erratic raters are rejected (ITU-R BT.500-14 A1-2.3.1)."""

    min_correlation: float | None = Field(default=None, ge=-1, le=1)
    """Least correlation with the mean of all (after ITU-T P.913); null: no rule."""


class SurveyParams(Section):
    """The MOS survey (paper IV.E, ITU-T P.910)."""

    study: str = Field(default="main", pattern=r"^[\w.-]+$", max_length=100)
    """Name of the study."""

    seed: int = Field(default=910, ge=0)
    """Seed of clips and orders."""

    clips: int = Field(default=13, ge=1, le=1000)
    """Test clips that every rater sees by every method."""

    max_seconds: float = Field(default=10.0, ge=2, le=60)
    """Longest length of a video (ITU-T P.910 advises 8 to 10 s)."""

    image_size: int = Field(default=256, ge=64, le=1080, multiple_of=2)
    """Longer side of the videos in pixels."""

    loudness_lufs: float = Field(default=-23.0, ge=-40, le=-14)
    """Loudness of the sound (EBU R128)."""

    traps: int = Field(default=2, ge=0, le=10)
    """Items whose sound comes late."""

    trap_shift_ms: int = Field(default=400, ge=200, le=1000)
    """Delay of their sound, ms."""

    gold: int = Field(default=2, ge=0, le=10)
    """Items with a known answer, alternately good and bad."""

    repeats: int = Field(default=1, ge=0, le=5)
    """Items shown a second time."""

    training: int = Field(default=2, ge=0, le=10)
    """Items with feedback before the session."""

    planned_raters: int = Field(default=35, ge=1, le=1000)
    """Number of orders (ITU-T P.913: 35 raters outside a laboratory; P.910: at least 15)."""

    break_after: int = Field(default=35, ge=1)
    """Number of items between two breaks."""

    leave_out: tuple[str, ...] = ("perfect", "wav2lip_video")
    """Backends that raters do not see."""

    ratings: Path = Path("survey/ratings.csv")
    """Answers for Table II."""

    accept_demo: bool = False
    """Whether Table II may use invented answers (`kpbe survey simulate`), which it then says."""

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
    """The whole of params.yaml."""

    data: DataParams
    label_pose: LabelPoseParams = LabelPoseParams()
    label_expression: LabelExpressionParams = LabelExpressionParams()
    model: ModelParams
    backends: tuple[str, ...] = Field(default=("wav2lip",), min_length=1)
    """Backends that the DAG runs."""

    backend: dict[str, dict[str, Any]]
    """Sections of backends by name; see `kpbe.backends.registry.backend_of` for their classes."""

    train: TrainParams
    evaluate: EvaluateParams
    survey: SurveyParams = SurveyParams()
    compute: ComputeParams

    @property
    def rated_backends(self) -> tuple[str, ...]:
        """The backends that raters see: without those of `survey.leave_out`, unless none would remain."""
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
                f"conf/backend/{missing[0]}.yaml to the choice of `backend`"
            )
        return self


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and validate a params file.

    Raises:
        ParamsError: the file is missing, is not YAML, or a value does not fit; the message names every wrong
            key, its value and the allowed values.
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
    """Validate values that are already read; error messages name their origin `name`."""
    return parse_section(Params, values, name)


AnySection = TypeVar("AnySection", bound=Section)


def parse_section(section: type[AnySection], values: Any, name: str, prefix: str = "") -> AnySection:
    """Validate the values of one section.

    Args:
        section: its class.
        values: content of the section.
        name: origin of the values, for error messages.
        prefix: place of the section in the file, e.g. "backend.wav2lip.".

    Raises:
        ParamsError: values do not fit; the message names every wrong key, its value and the allowed values.
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
