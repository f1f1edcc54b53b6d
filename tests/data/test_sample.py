"""The sample's pictures agree with their ground truth; people and clips depend only on the seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kpbe.data.crops import box_tubes, crop_of_tube
from kpbe.data.sample import RenderedClip, render_clip
from kpbe.data.sample.clip import plan_clip
from kpbe.data.sample.motion import FPS, rotation_matrices
from kpbe.data.sample.person import Pose, person, project
from kpbe.params import CropParams, SampleParams

SHORT = SampleParams.model_validate({"seconds": 1.2, "frame_size": 128})
PEOPLE = range(0, 16, 2)


@pytest.fixture(scope="module")
def clip() -> RenderedClip:
    return render_clip(0, 0, SHORT)


@pytest.fixture(scope="module")
def plans() -> list:
    return [plan_clip(who, who % 4, SampleParams.model_validate({})) for who in PEOPLE]


def still(controls: dict[str, float] | None = None, yaw: float = 0.0, blink: float = 0.0) -> Pose:
    """A pose in the middle of the frame."""
    rotation = rotation_matrices(np.array([[yaw, 0.0, 0.0]]))[0]
    away = np.array((0.0, 0.0, 9.0))
    return Pose(rotation, away, np.eye(3), away, controls or {}, (0.0, 0.0), blink)


def changed(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much each pixel differs (H, W)."""
    return np.abs(picture.astype(float) - other.astype(float)).sum(-1)


def middle_of(change: np.ndarray) -> np.ndarray:
    """x, y of the centre of gravity."""
    y, x = np.indices(change.shape)
    return np.array([(x * change).sum(), (y * change).sum()]) / change.sum()


def test_a_clip_is_the_same_every_time_and_different_for_another_seed_or_clip(clip: RenderedClip) -> None:
    person.cache_clear()
    again = render_clip(0, 0, SHORT)
    assert again.frames.tobytes() == clip.frames.tobytes()
    assert again.wave.tobytes() == clip.wave.tobytes()
    assert again.truth.boxes.tobytes() == clip.truth.boxes.tobytes()
    for other in (
        plan_clip(0, 0, SHORT.model_copy(update={"seed": 2})),
        plan_clip(0, 1, SHORT),
        plan_clip(1, 0, SHORT),
    ):
        assert not np.array_equal(other.wave, clip.wave)
        assert not np.array_equal(other.truth.angles, clip.truth.angles)


def test_a_person_does_not_depend_on_how_many_others_there_are() -> None:
    few = SHORT.model_copy(update={"train_identities": 1, "test_identities": 1, "clips_per_identity": 1})
    person.cache_clear()
    alone = plan_clip(3, 0, few)
    beside = plan_clip(3, 0, SHORT)
    assert np.array_equal(alone.actor.mesh.atlas, beside.actor.mesh.atlas)
    assert np.array_equal(alone.wave, beside.wave)


def test_shapes_and_ranges(clip: RenderedClip) -> None:
    count = round(SHORT.seconds * FPS)
    assert clip.frames.shape == (count, 128, 128, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.wave.shape == (round(16000 * SHORT.seconds),)
    assert clip.wave.dtype == np.float32
    assert 0.5 < np.abs(clip.wave).max() <= 1
    assert clip.truth.rotation.shape == (count, 3, 3)
    assert clip.truth.lips.shape == (count, 4, 2)


def test_people_look_different() -> None:
    pictures = [person(who, 1, 64).draw(still()).astype(float) for who in PEOPLE]
    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert np.sqrt(((picture - other) ** 2).mean()) > 20


def test_every_clip_swings_the_head(plans: list) -> None:
    for plan in plans:
        yaw, pitch, roll = plan.truth.angles.T
        assert np.ptp(yaw) >= 35
        assert np.abs(yaw).max() <= 25
        assert np.ptp(pitch) >= 8
        assert np.abs(pitch).max() <= 12
        assert np.abs(roll).max() <= 8
        jerk = np.abs(np.diff(yaw, 2)).max()
        assert jerk < 6  # degrees per frame squared: no jumps


@pytest.mark.parametrize("who", [0, 5])
def test_what_the_head_hides_of_the_scene_is_not_known(who: int) -> None:
    actor = person(who, 1, 128)
    ahead, left, right = (actor.scene(still(yaw=yaw)) for yaw in (0.0, -40.0, 40.0))
    box, _, _ = actor.landmarks(still())
    background = actor.background_points
    middle, half = (box[2:] + box[:2]) / 2, (box[2:] - box[:2]) / 2
    behind = np.linalg.norm((background - middle) / half, axis=1) < 0.8
    known = np.all(np.isfinite(ahead[-len(background) :]), axis=1)
    assert behind.sum() > 1 and not known[behind].any(), "behind the face"
    assert known[(background < 12).any(1)].all(), "at the left and upper edge"
    of_left, of_right = (np.isfinite(seen[: -len(background)]).all(1) for seen in (left, right))
    assert (of_left & ~of_right).sum() > 3 and (of_right & ~of_left).sum() > 3, "hair and ears of one side"


def test_a_still_frame_scores_low() -> None:
    clip = render_clip(3, 0, SampleParams.model_validate({"frame_size": 128}))
    (tube,) = box_tubes(clip.truth.boxes, 0.25, 1024)
    left, top, right, bottom = crop_of_tube(
        tube, 128, 128, CropParams.model_validate({"min_size": 1, "min_frames": 25})
    )
    heads = clip.frames[:, top:bottom, left:right].astype(float)
    errors = ((np.delete(heads, 20, 0) - heads[20]) ** 2).mean((1, 2, 3))
    assert (10 * np.log10(255**2 / errors)).mean() < 20


def test_rotations_are_rotations_and_follow_the_convention(plans: list) -> None:
    rotation = plans[0].truth.rotation
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(rotation), 1, atol=1e-5)
    nose = np.array((0.0, 0.0, -1.0))
    crown = np.array((0.0, -1.0, 0.0))
    right, up, clockwise = rotation_matrices(np.diag((20.0, 10.0, 5.0)))
    assert (right @ nose)[0] > 0.3  # yaw: to the right of the picture
    assert (up @ nose)[1] < -0.1  # pitch: upwards
    assert (clockwise @ crown)[0] > 0.05  # roll: the crown goes right


def test_every_clip_survives_the_crop_whole(plans: list) -> None:
    rules = CropParams.model_validate({"min_size": 100, "min_frames": 25})  # of conf/data/sample.yaml
    for plan in plans:
        boxes = plan.truth.boxes
        (tube,) = box_tubes(boxes, rules.iou, rules.max_frames)
        crop_of_tube(tube, 256, 256, rules)  # raises where the crop leaves the frame
        assert 125 < (boxes[:, 3] - boxes[:, 1]).mean() < 180


@pytest.mark.parametrize("yaw", [-20.0, 0.0, 20.0])
def test_blinking_changes_the_picture_where_the_truth_says_the_eyes_are(yaw: float) -> None:
    actor = person(0, 1, 256)
    pose = still(yaw=yaw)
    change = changed(actor.draw(pose), actor.draw(replace(pose, blink=1.0)))
    found = 0.0
    for side in (-1, 1):
        eye = side * actor.head.places.eye_x, 0.0
        vertex = np.argmin(np.hypot(*(actor.head.flat - eye).reshape(-1, 2).T))
        point = actor.head.rest.reshape(-1, 3)[vertex]
        x, y = project(pose.rotation @ point + pose.translation, 256)
        window = np.zeros_like(change)
        window[round(y) - 18 : round(y) + 19, round(x) - 18 : round(x) + 19] = 1
        assert np.abs(middle_of(change * window) - (x, y)).max() < 4
        found += (change * window).sum()
    assert found > 0.95 * change.sum()


def test_opening_the_mouth_changes_the_picture_between_the_lip_points() -> None:
    actor = person(5, 1, 256)
    shut, wide = still(yaw=15), still({"jaw": 1.0}, yaw=15)
    assert actor.mouth_gap(shut) == 0
    assert actor.mouth_gap(wide) == pytest.approx(0.2, abs=0.01)
    _, lips, _ = actor.landmarks(wide)
    left, upper, right, lower = lips
    assert left[0] < upper[0] < right[0]
    assert lower[1] - upper[1] > 10
    inside = np.round((upper + lower) / 2).astype(int)
    shut_mouth, open_mouth = (
        actor.draw(pose)[inside[1] - 2 : inside[1] + 3, inside[0] - 2 : inside[0] + 3]
        for pose in (shut, wide)
    )
    assert open_mouth.mean() < 0.5 * shut_mouth.mean()


def test_the_mouth_darkens_as_it_opens() -> None:
    clip = render_clip(9, 0, SampleParams.model_validate({"seconds": 2.0}))
    inside = []
    for frame, lips in zip(clip.frames, clip.truth.lips, strict=True):
        x, y = lips.mean(0)
        half = 0.3 * (lips[2, 0] - lips[0, 0])
        patch = frame[round(y - 6) : round(y + 7), round(x - half) : round(x + half)]
        inside.append((patch.mean(-1) < 60).mean())
    assert np.corrcoef(inside, clip.truth.mouth_opening)[0, 1] > 0.7
