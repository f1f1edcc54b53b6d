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
    """Of people, speech and motion."""


class GridParams(Section):
    """Drawn people in every combination of poses and mouths, for the frontend's trainings; others than the
    sample's.
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
    """Of people, poses and mouths."""


class CropParams(Section):
    """Box tubes as FOMM's video preprocessing cuts them (video-preprocessing/crop_vox.py)."""

    mode: Literal["tube", "whole"] = "tube"
    """`tube` follows a face; `whole` takes the middle square of whole frames."""

    iou: float = Field(default=0.25, ge=0, le=1)
    """A box that overlaps the tube by less begins a new tube."""

    min_frames: int = Field(default=64, ge=1)
    """Shorter tubes are rejected; at 25 frames per second."""

    max_frames: int = Field(default=1024, ge=1)
    """Longer tubes are cut into pieces of so many frames."""

    min_size: int = Field(default=256, ge=1)
    """Tubes whose box is smaller, in pixels, are rejected."""

    increase: float = Field(default=0.1, ge=0, le=2)
    """Margin around the tube's box, as a share of its size."""

    at_border: Literal["reject", "shift"] = "reject"
    """A crop that reaches beyond the frame: reject the tube, or shift the crop inside."""


class DataParams(Section):
    """Where videos come from and how they become clips."""

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
    """Finds faces; `known` where boxes come with the videos."""

    fps: float = Field(default=25.0, gt=0, le=120)
    """Frames per second of the clips."""

    gop: int = Field(default=12, ge=1, le=250)
    """Frames between two key frames of the clips at most."""

    crf: int = Field(default=12, ge=0, le=40)
    """H.264 quality of the clips; less is better."""

    max_rejected_fraction: float = Field(default=0.5, ge=0, le=1)
    """A stage fails when a larger share of its clips is rejected."""

    validation_identities: int = Field(default=0, ge=0)
    """So many training identities take the place of the test split, to compare variants without a look at it.
    """

    crop: CropParams = CropParams()
    sample: SampleParams = SampleParams()
    grids: GridParams = GridParams()

    @model_validator(mode="after")
    def _voxceleb_needs_metadata(self) -> DataParams:
        if self.source == "voxceleb1" and self.metadata is None:
            raise ValueError("data.metadata must name vox-metadata.csv when data.source is voxceleb1")
        return self


class LabelPoseParams(Section):
    """Who labels the head pose of training frames (kpbe/data/head_pose/label.py)."""

    teacher: Literal["auto", "known", "mediapipe", "whenet", "fsanet", "hopenet", "off"] = "auto"
    """`auto`: true poses where known, else the first teacher whose weights are found (mediapipe, hopenet,
    fsanet, whenet).
    """

    batch: int = Field(default=32, ge=1)
    """Pictures per forward pass of hopenet."""


class LabelExpressionParams(Section):
    """Who labels points on the face and blendshapes of training frames (kpbe/data/expression/label.py)."""

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
    """Size of the input as a share of the picture's."""

    temperature: float = Field(default=0.1, gt=0)
    """Of the softmax over the heat maps."""


class PoseExpressionParams(Section):
    """Head pose and expression estimator: a bottleneck ResNet with binned angles."""

    width: int = Field(default=64, ge=4)
    """Channels of the first stage."""

    pooling: Literal["mean", "grid"] = "mean"
    """Of the last features: their `mean`, as published, or a `grid` that keeps where they are, from which
    small networks learn faster.
    """

    stage_blocks: tuple[int, int, int, int] = (3, 3, 5, 2)
    """Blocks of each stage."""

    bins: int = Field(default=66, ge=2)
    """Classes that each angle is read from."""


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
    """Channels that the feature volume is compressed to before it is warped."""

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
    """What a frame is made of: the decoder's picture (`none`, the paper's way), also the moved source
    (`warp`), also the moved backend's frame (`warp_both`).
    """

    detail_width: int = Field(default=16, ge=1)
    """Channels of the network that chooses among these."""

    backend_reach: float | None = Field(default=None, gt=0)
    """How far around the driving lips the backend's frame counts, in widths of the mouth; needs
    `losses.guides`. Null: everywhere.
    """


class ConventionParams(Section):
    """What a checkpoint's numbers mean; stored with it (as zhanglonghao1992's OSFV code has them)."""

    degree_offset: float = 99.0
    """Degrees of the first bin, negated."""

    pi: float = Field(default=3.14, ge=3.1, le=3.15)
    """The pi of degrees to radians; public checkpoints were trained with 3.14."""

    swap_yaw_and_roll_heads: bool = True
    """Whether the checkpoint's heads `fc_roll` and `fc_yaw` have each other's meaning."""

    align_corners: bool = False
    """Of every grid sampling."""

    rotation: Literal["pitch_yaw_roll", "beta"] = "pitch_yaw_roll"
    """Order of the rotations: `pitch_yaw_roll`, or that of the public beta checkpoint."""

    pitch_sign: Literal[1, -1] = 1
    """Pitch that the network estimates for one degree down: 1 with our labels, -1 in public OSFV checkpoints.
    """

    first_order: Literal["translation", "rotation"] = "translation"
    """How a keypoint's neighbourhood moves: `translation` as in the public code; `rotation` also turns it by
    R_s R_d^T.
    """


class ModelParams(Section):
    """The frontend's five modules (paper Fig. 1 and 2; the sizes of `vox256` are the published OSFV ones)."""

    name: str = "vox256"
    """Shown in tables."""

    image_size: int = Field(default=256, ge=32, le=1024, multiple_of=16)
    """Side of the pictures that the networks see; frames are reduced to it."""

    num_keypoints: int = Field(default=15, ge=2)
    """K of eq. (1)."""

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
    """Largest norm of the gradients; 0 leaves them as they are."""


class ScheduleParams(Section):
    """How long a training stage runs and how often it reports."""

    steps: int = Field(ge=0)
    """Training steps."""

    batch_size: int = Field(ge=1)
    """Samples per step, of all processes together."""

    time_budget_s: float | None = Field(default=None, gt=0)
    """The training ends after so many seconds; null: after `steps`."""

    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two states on disk."""

    sheet_every: int = Field(default=500, ge=1)
    """Steps between two validations with a picture sheet."""

    log_every: int = Field(default=20, ge=1)
    """Steps between two rows of the curves."""

    validation_pairs: int = Field(default=8, ge=1)
    """Pairs of frames that a validation renders."""

    validation_frames: int = Field(default=12, ge=8)
    """Frames of as many clips by which a validation measures the mouth's opening, where FaceLandmarker's file
    is found.
    """


LayerWeights = tuple[float, float, float, float, float]


class VGGTermParams(Section):
    """One VGG term's own scales and layer weights."""

    scales: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Null takes those that all terms share."""

    layer_weights: LayerWeights | None = None
    """Null takes those that all terms share."""


class PerceptualParams(Section):
    """The perceptual terms' image pyramids, and what to do where a VGG's weights are not found."""

    scales: tuple[float, ...] = Field(default=(1.0, 0.5, 0.25, 0.125), min_length=1)
    """Sizes of the pictures compared, as shares."""

    layer_weights: LayerWeights = (1.0, 1.0, 1.0, 1.0, 1.0)
    """Of relu1_1 .. relu5_1."""

    vgg19: VGGTermParams = VGGTermParams()
    vgg_face: VGGTermParams = VGGTermParams()
    vgg19_unit: Literal["normalised", "own"] = "normalised"
    """`normalised`: torchvision's file counts as our normalised file does; `own`: features as the file has
    them, the published loss.
    """

    missing: Literal["refuse", "pixels"] = "refuse"
    """`refuse` stops with a sentence, also where a head pose term has no label; `pixels` puts the pixel
    pyramid in the term's place and says so.
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
    """Weights of the frontend's loss terms (OSFV, Wang et al. 2021, 3.3, for stage 1; paper eq. 3 and 4 for
    stage 2).
    """

    mouth: float = Field(default=1.0, ge=1)
    """How many times as much the mouth counts in the pixel terms as the rest, where the points of the face
    are known.
    """

    parts: float = Field(default=0.0, ge=0)
    """Of what frames are put together from: the decoder's picture, the moved source, the moved backend's
    frame.
    """

    guides: float = Field(default=0.0, ge=0)
    """Draws six keypoints to lips and eyes; needs expression labels, as the next three do."""

    lips: float = Field(default=0.0, ge=0)
    """Height and width of the lips between their keypoints."""

    motion: float = Field(default=0.0, ge=0)
    """The motion field carries the points of face and scene to their places."""

    shapes: float = Field(default=0.0, ge=0)
    """Blendshapes are read from the expression."""

    mouth_share: float = Field(default=0.0, ge=0)
    """The pixels of the mouth are the backend's where its frame is a second source."""

    decoder_share: float = Field(default=0.0, ge=0)
    """A price on what the decoder, which is soft, has of the picture."""

    gan: float = Field(default=1.0, ge=0)
    """Hinge loss of the patch discriminator."""

    feature_matching: float = Field(default=10.0, ge=0)
    """L1 of the discriminator's features."""

    equivariance: float = Field(default=10.0, ge=0)
    """Keypoints move with a random warp of the picture."""

    keypoint_prior: float = Field(default=10.0, ge=0)
    """Keypoints keep apart and near a depth."""

    head_pose: float = Field(default=20.0, ge=0)
    """Degrees of the head pose against its labels."""

    turn: float = Field(default=0.0, ge=0)
    """The turn between source and pose frame against its labels."""

    expression_depth: float = Field(default=0.0, ge=0)
    """A penalty on the expression's depth, beside `expression`: what stands there does not turn with the
    head.
    """

    expression: float = Field(default=5.0, ge=0)
    """L1 norm of the expression (eq. 4)."""


Goal = Literal["labels", "motion", "frames"]
"""What a training step of the frontend learns; each needs all that those before it need."""


class WarmUpParams(Section):
    """What comes first; zeros turn it off (FOMM's sampling from the first step)."""

    labels_until: int = Field(default=0, ge=0)
    """Until this step only the labels are learned (pose, guides, shapes); nothing is rendered."""

    motion_until: int = Field(default=0, ge=0)
    """Until this step those and the motion of known points; nothing is rendered."""

    same_frame_until: int = Field(default=0, ge=0)
    """Until this step the two frames of a sample are one."""

    any_frame_from: int = Field(default=0, ge=0)
    """From this step on they are any two of a clip; in between they grow apart."""

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
    """FOMM's sampling: two random frames of a random clip of each identity."""

    by_identity: bool = True
    """Whether an epoch is over identities, not over clips."""

    num_repeats: int = Field(default=75, ge=1)
    """How often an epoch shows each of them."""

    drawn_share: float = Field(default=0.0, ge=0, le=1)
    """Share of samples that are quadruples of drawn people (data.grids)."""

    simulate_backends: bool = False
    """The expression comes from a simulated backend's frame where there is no backend's video; without, from
    the driving frame, as in OSFV.
    """

    second_source_share: float = Field(default=0.65, ge=0, le=1)
    """With `generator.detail` warp_both: share of samples in which the expression frame is a second source.
    """


class AugmentParams(Section):
    """FOMM's augmentation, the same for all images of a sample; roll, scale and shift are not FOMM's."""

    time_flip: bool = True
    """Every second pair is played backwards."""

    mirror: bool = True
    """Every second of the others is mirrored."""

    brightness: float = Field(default=0.1, ge=0, lt=1)
    """Scaled by up to 1 +- this."""

    contrast: float = Field(default=0.1, ge=0, lt=1)
    """Scaled by up to 1 +- this."""

    saturation: float = Field(default=0.1, ge=0, lt=1)
    """Scaled by up to 1 +- this."""

    hue: float = Field(default=0.1, ge=0, le=0.5)
    """Turned by up to +- this share of a full turn."""

    roll: float = Field(default=0.0, ge=0, le=45)
    """Turned by up to +- so many degrees, the labels too."""

    scale: float = Field(default=0.0, ge=0, lt=1)
    """Scaled by up to 1 + this or its inverse, the labels too."""

    shift: float = Field(default=0.0, ge=0, lt=1)
    """Shifted by up to +- this share of half the side, the labels too."""


class FrontendTrainParams(Section):
    """One of the frontend's two training stages."""

    schedule: ScheduleParams
    start: Path | None = None
    """Frontend to begin with; null: random weights in stage 1, stage 1's result in stage 2."""

    accumulate: int = Field(default=1, ge=1)
    """Parts in which a batch is made, for a GPU that does not hold it."""

    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Above 0 the moving average of the weights is judged and handed on."""

    optimiser: OptimiserParams = OptimiserParams()
    perceptual: PerceptualParams = PerceptualParams()
    losses: FrontendLossParams = FrontendLossParams()
    warm_up: WarmUpParams = WarmUpParams()
    sampling: SamplingParams = SamplingParams()
    augment: AugmentParams = AugmentParams()


class Stage2Params(FrontendTrainParams):
    """Stage 2."""

    videos: Literal["own", "all"] = "own"
    """Those of the frontend's `own` backend, or of `all` backends: one frontend for every backend."""


class TrainParams(Section):
    """The frontend's two trainings; a backend's own are in its section."""

    seed: int = Field(default=0, ge=0)
    """Of all trainings."""

    stage1: FrontendTrainParams
    stage2: Stage2Params


# -- evaluation and compute --------------------------------------------------------------------------------


Measure = Literal["auto", "on", "off"]


class EvaluateParams(Section):
    """Protocol of Table I. A `Measure` is taken where its network's file is there (`auto`), always (`on`) or
    never (`off`).
    """

    seed: int = Field(default=2210, ge=0)
    """Of source frames and intervals."""

    lpips: Measure = "auto"
    """LPIPS, by AlexNet."""

    faces: Measure = "auto"
    """Mouth opening and the share of the way, by the FaceLandmarker."""

    head_pose: Measure = "auto"
    """Degrees, by the teacher of `label_pose`."""

    identity: Measure = "auto"
    """CSIM, by ArcFace."""

    lip_sync: Measure = "auto"
    """LSE-C and LSE-D, by SyncNet."""

    score_every: int = Field(default=1, ge=1, le=25)
    """Every n-th frame is scored; controls are rendered on these only."""

    face_every: int = Field(default=1, ge=1, le=25)
    """All networks but LPIPS and SyncNet look at every n-th scored frame."""

    primary_metric: str = "mouth_l1"
    """Judges an enhanced backend against its source-expression control; all other p-values are adjusted
    (Holm).
    """

    bootstrap: int = Field(default=10000, ge=100)
    """Resamples."""

    figure_clips: int = Field(default=4, ge=1)
    """Clips shown in Figure 3."""


class ComputeParams(Section):
    """Where and how the work runs; only `precision` changes results beyond rounding."""

    device: Literal["cpu", "cuda", "auto"] = "auto"
    """`auto` takes a GPU where there is one."""

    devices: int = Field(default=1, ge=1)
    """Processes per node of the frontend's trainings."""

    nodes: int = Field(default=1, ge=1)
    """Machines of the frontend's trainings."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Of the trainings."""

    compile: bool = False
    """Whether torch compiles the frontend and the VGGs."""

    runner: Literal["threads", "processes", "dask", "ray"] = "processes"
    """What shards run on."""

    workers: int = Field(default=2, ge=1)
    """Processes or threads that shards run on."""

    shard_size: int = Field(default=64, ge=1)
    """Clips per shard."""

    render_batch: int = Field(default=16, ge=1)
    """Frames rendered at once."""

    frames: Literal["auto", "memory", "video"] = "auto"
    """Where trainings take frames from: decoded in `memory`, from the `video` files, or `auto`, memory where
    they fit.
    """

    frames_memory_gb: float = Field(default=4.0, gt=0)
    """Most memory for decoded clips with `auto`."""

    loader_threads: int = Field(default=2, ge=1)
    """Threads that decode ahead of a training step."""


# -- survey ------------------------------------------------------------------------------------------------


class ScreeningParams(Section):
    """Which raters are left out of the scores (kpbe/survey/scores/screening.py); fixed before answers come
    in.
    """

    min_completed: float = Field(default=0.9, ge=0, le=1)
    """Share of the clips that must be scored."""

    min_watched: float = Field(default=0.9, ge=0, le=1)
    """Share of a clip that must be played for it to count as watched."""

    max_unwatched: float = Field(default=0.0, ge=0, le=1)
    """Share of clips that may be unwatched."""

    min_traps_passed: float = Field(default=0.5, ge=0, le=1)
    """Share of traps to answer as may be."""

    min_gold_passed: float = Field(default=0.5, ge=0, le=1)
    """Share of gold items to answer as may be."""

    max_repeat_difference: float = Field(default=1.75, ge=0, le=4)
    """Mean points between the answers to a clip that came twice, at most."""

    min_variance: float = Field(default=0.15, ge=0, le=4)
    """Of a rater's scores."""

    bt500: bool = True
    """Whether erratic raters are rejected (ITU-R BT.500-14 A1-2.3.1)."""

    min_correlation: float | None = Field(default=None, ge=-1, le=1)
    """With the mean of all (after ITU-T P.913); null does not ask."""


class SurveyParams(Section):
    """The MOS survey (paper IV.E, ITU-T P.910)."""

    study: str = Field(default="main", pattern=r"^[\w.-]+$", max_length=100)
    """Name of the study."""

    seed: int = Field(default=910, ge=0)
    """Of clips and orders."""

    clips: int = Field(default=13, ge=1, le=1000)
    """Test clips that every rater sees by every method."""

    max_seconds: float = Field(default=10.0, ge=2, le=60)
    """Length of a video at most (ITU-T P.910 advises 8 to 10 s)."""

    image_size: int = Field(default=256, ge=64, le=1080, multiple_of=2)
    """Longer side of the videos in pixels."""

    loudness_lufs: float = Field(default=-23.0, ge=-40, le=-14)
    """Of the sound (EBU R128)."""

    traps: int = Field(default=2, ge=0, le=10)
    """Items whose sound comes late."""

    trap_shift_ms: int = Field(default=400, ge=200, le=1000)
    """How late."""

    gold: int = Field(default=2, ge=0, le=10)
    """Items with a known answer, plainly good and plainly bad in turn."""

    repeats: int = Field(default=1, ge=0, le=5)
    """Items shown a second time."""

    training: int = Field(default=2, ge=0, le=10)
    """Items with feedback before the session."""

    planned_raters: int = Field(default=35, ge=1, le=1000)
    """Orders that are made (ITU-T P.913: 35 raters outside a laboratory; P.910: at least 15)."""

    break_after: int = Field(default=35, ge=1)
    """Items between two breaks."""

    leave_out: tuple[str, ...] = ("perfect", "wav2lip_video")
    """Backends that raters do not see."""

    ratings: Path = Path("survey/ratings.csv")
    """What Table II is made from."""

    accept_demo: bool = False
    """Whether invented answers (`kpbe survey simulate`) may come into Table II, which then says so."""

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
    """Backends that the DAG carries through."""

    backend: dict[str, dict[str, Any]]
    """A section for each by name; its own class knows the keys (`kpbe.backends.registry.backend_of`)."""

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
                f"conf/backend/{missing[0]}.yaml to the choice of `backend`"
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
