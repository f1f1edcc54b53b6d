"""Both stages of the frontend's training on tiny clips: they learn, resume exactly, feed the next stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm

from kpbe.core.files import read_csv
from kpbe.data.clips import read_manifest
from kpbe.data.head_pose.labels import label_path
from kpbe.data.sample.grids import draw_grids
from kpbe.errors import KPBEError, ParamsError
from kpbe.frontend.checkpoints import load_frontend, public_state_dicts
from kpbe.frontend.images import to_uint8
from kpbe.frontend.model import Frontend
from kpbe.inference.enhance import enhance, enhance_clips
from kpbe.inference.free_view import decompose_image, own_view
from kpbe.media.recording import Recording
from kpbe.params import FrontendLossParams, GridParams, OptimiserParams, Params, parse_params
from kpbe.paths import FRONTEND_FILE
from kpbe.training.fabric import launch
from kpbe.training.frames import TrainingFolders
from kpbe.training.frontend_stage import prepare
from kpbe.training.stage1 import train_stage1
from kpbe.training.stage2 import train_stage2
from tests.training.short_training import numbers, params, unlabelled

REPOSITORY = Path(__file__).resolve().parents[2]
DISC_FRAMES = 5


@pytest.fixture(scope="module")
def stage1(disc_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stage1")
    train_stage1(params(), unlabelled(disc_clips), out)
    return out


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_frontend(folder / FRONTEND_FILE).state_dict()


@pytest.mark.slow
def test_stage_1_in_two_parts_gives_the_same_weights_bit_for_bit(disc_clips, stage1, tmp_path):
    train_stage1(params(steps=2), unlabelled(disc_clips), tmp_path)
    train_stage1(params(steps=4), unlabelled(disc_clips), tmp_path)
    once, resumed = weights_of(stage1), weights_of(tmp_path)
    assert all(torch.equal(once[name], resumed[name]) for name in once)
    curves = read_csv(tmp_path / "curves.csv")
    assert [row["step"] for row in curves] == ["1", "2", "3", "4"]
    assert {
        "pixel",
        "gradient_norm",
        "gan",
        "feature_matching",
        "equivariance",
        "keypoint_prior",
        "expression",
    } <= set(curves[0])
    assert "head_pose" not in curves[0], "there are no labels"
    assert json.loads((tmp_path / "summary.json").read_text())["head_pose_labels"] == 0
    assert len(list((tmp_path / "sheets").glob("*.png"))) == 2


@pytest.mark.slow
def test_stage_2_starts_from_stage_1_and_its_frontend_enhances_the_backends_videos(
    disc_clips, stage1, tmp_path
):
    untrained = tmp_path / "stage2_0"
    train_stage2(
        "wav2lip",
        params(steps=0),
        unlabelled(disc_clips),
        disc_clips / "backends",
        stage1,
        untrained,
    )
    before, after = weights_of(stage1), weights_of(untrained)
    assert all(torch.equal(before[name], after[name]) for name in before)

    trained = tmp_path / "stage2"
    train_stage2("wav2lip", params(), unlabelled(disc_clips), disc_clips / "backends", stage1, trained)
    assert any(not torch.equal(before[name], value) for name, value in weights_of(trained).items())

    out = tmp_path / "enhanced"
    checkpoint = trained / FRONTEND_FILE
    assert (
        enhance_clips("wav2lip", params(), disc_clips, disc_clips / "backends" / "wav2lip", checkpoint, out)
        == []
    )
    video = out / "test" / f"c#1#000000#{DISC_FRAMES:06}.mkv"
    enhanced = Recording(video).frames()
    assert enhanced.shape == (DISC_FRAMES, 64, 64, 3)
    made = video.stat().st_mtime_ns
    (out / "viewing" / f"c#1#000000#{DISC_FRAMES:06}.mp4").unlink()
    enhance_clips("wav2lip", params(), disc_clips, disc_clips / "backends" / "wav2lip", checkpoint, out)
    assert video.stat().st_mtime_ns > made, "a clip with a missing output is made again"
    assert np.array_equal(Recording(video).frames(), enhanced)
    made = video.stat().st_mtime_ns
    enhance_clips("wav2lip", params(), disc_clips, disc_clips / "backends" / "wav2lip", checkpoint, out)
    assert video.stat().st_mtime_ns == made, "a whole clip is kept"


def test_stage_2_without_backend_videos_says_what_to_run(disc_clips, stage1, tmp_path):
    with pytest.raises(KPBEError, match="run the synthesize stage first"):
        train_stage2("wav2lip", params(), unlabelled(disc_clips), tmp_path, stage1, tmp_path / "out")


def test_a_clip_without_backend_video_is_rejected_by_name(disc_clips, stage1, tmp_path):
    with pytest.raises(KPBEError, match=r"c#1#000000#000005\.mkv.*made no video"):
        enhance_clips("wav2lip", params(), disc_clips, tmp_path, stage1 / FRONTEND_FILE, tmp_path / "out")


def start_stage_1(folder: Path, disc_clips: Path, values: Params) -> subprocess.Popen[str]:
    """The stage as a process of its own, in a folder with these clips and params."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, target in (
        ("data/clips", disc_clips),
        ("kpbe", REPOSITORY / "kpbe"),
        ("flows", REPOSITORY / "flows"),
    ):
        if not (folder / name).exists():
            (folder / name).symlink_to(target)
    (folder / "params.yaml").write_text(yaml.safe_dump(values.model_dump(mode="json")))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")} | {
        "OMP_NUM_THREADS": "1"
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flows.train_stage1"],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_batch(disc_clips, tmp_path):
    found, states = [], []
    for devices in (1, 2):
        # Adam's first steps are the gradients' signs, and rounding decides those of weights that have next to
        # no gradient (biases before
        # batch norm): at the usual learning rate that alone moves the losses by some percent
        values = params({"optimiser": {"lr": 1e-6}}, steps=2, batch_size=4, sheet_every=1)
        values = values.model_copy(update={"compute": values.compute.model_copy(update={"devices": devices})})
        process = start_stage_1(tmp_path / str(devices), disc_clips, values)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        trained = tmp_path / str(devices) / "checkpoints" / "stage1"
        found.append(numbers(trained))
        states.append(torch.load(trained / "state.pt", weights_only=True)["parts"])
    one, two = found
    assert set(one) == set(two) and {
        "loss",
        "gan",
        "equivariance",
        "discriminator",
        "validation_psnr",
    } <= set(one)
    for name in one:
        # batch norm over nearly flat pictures amplifies rounding, gradients most
        tolerance = {"gradient_norm": 0.2}.get(name, 5e-2 if name.startswith("share_") else 2e-2)
        assert two[name] == pytest.approx(one[name], rel=tolerance, abs=1e-4), name
    for optimiser in ("optimiser", "discriminator_optimiser"):
        # the mean gradients of all processes, not those of the first one's share
        alone, together = (mean_gradients(state[optimiser]) for state in states)
        assert (together - alone).norm() < 0.1 * alone.norm(), optimiser


def mean_gradients(optimiser: dict) -> torch.Tensor:
    """Adam's first moments, concatenated."""
    return torch.cat([moments["exp_avg"].flatten() for moments in optimiser["state"].values()])


@pytest.mark.slow
def test_two_processes_stop_together_at_a_loss_that_is_not_finite_and_show_the_whole_batch(
    disc_clips, tmp_path
):
    values = params(steps=4, batch_size=4).model_dump(mode="json")
    values["train"]["stage1"]["losses"]["pixel"] = 3e38
    values = parse_params(values)
    values = values.model_copy(update={"compute": values.compute.model_copy(update={"devices": 2})})
    process = start_stage_1(tmp_path, disc_clips, values)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 1, output
    assert output.count("not finite at step 0") == 1 and "not_finite.npz" in output
    assert np.load(tmp_path / "checkpoints/stage1/not_finite.npz")["source"].shape == (4, 64, 64, 3)


def same(one: object, other: object) -> bool:
    """Whether two states are equal, bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.slow
def test_killed_outright_stage_1_resumes_bit_for_bit_with_discriminator_and_average(disc_clips, tmp_path):
    values = params({"ema_decay": 0.9}, steps=6, checkpoint_every=2, sheet_every=6)
    whole = tmp_path / "whole"
    process = start_stage_1(whole, disc_clips, values)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output

    killed = tmp_path / "killed"
    process = start_stage_1(killed, disc_clips, values)
    state = killed / "checkpoints" / "stage1" / "state.pt"
    while not state.exists():
        assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (state.parent / "summary.json").exists(), "it was killed on its way"
    process = start_stage_1(killed, disc_clips, values)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output

    states = [
        torch.load(f / "checkpoints" / "stage1" / "state.pt", weights_only=True)["parts"]
        for f in (whole, killed)
    ]
    assert {"frontend", "shapes", "optimiser", "average", "discriminator", "discriminator_optimiser"} == set(
        states[0]
    )
    assert same(*states)
    final = [f / "checkpoints" / "stage1" / FRONTEND_FILE for f in (whole, killed)]
    assert final[0].read_bytes() == final[1].read_bytes()


def test_a_loss_that_is_not_finite_leaves_the_weights_and_shows_the_batch(disc_clips, tmp_path, monkeypatch):
    from kpbe.training import frontend_terms as module

    calls = 0

    def breaks_later(keypoints, guided):
        nonlocal calls
        calls += 1
        return keypoints.sum() * (float("nan") if calls == 3 else 0.0)

    monkeypatch.setattr(module, "keypoint_prior", breaks_later)
    with pytest.raises(
        KPBEError,
        match=r"loss, keypoint_prior.* not finite at step 2 .*not_finite\.npz.*last good.* of step 2",
    ):
        train_stage1(params(), unlabelled(disc_clips), tmp_path)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["progress"]["step"] == 2
    culprit = np.load(tmp_path / "not_finite.npz")
    assert (
        culprit["step"] == 2
        and culprit["source"].shape == (2, 64, 64, 3)
        and culprit["source"].dtype == np.uint8
    )
    assert set(culprit["clip_ids"]) <= {f"{who}#1#000000#{DISC_FRAMES:06}" for who in "ab"}


@pytest.mark.parametrize("name", ["hinge_discriminator", "hinge_generator"])
def test_an_adversary_that_is_not_finite_stops_before_any_of_its_weights_change(
    disc_clips, tmp_path, monkeypatch, name
):
    from kpbe.training import adversarial

    calls, plain = 0, getattr(adversarial, name)

    def breaks_later(*scores):
        nonlocal calls
        calls += 1
        return plain(*scores) * (float("nan") if calls == 3 else 1.0)

    monkeypatch.setattr(adversarial, name, breaks_later)
    with pytest.raises(KPBEError, match="not finite at step 2"):
        train_stage1(params(), unlabelled(disc_clips), tmp_path)
    parts = torch.load(tmp_path / "state.pt", weights_only=True)["parts"]
    assert all(value.isfinite().all() for value in parts["discriminator"].values())


def test_a_step_in_bf16_keeps_losses_and_weights_in_fp32(disc_clips, tmp_path):
    values = params(steps=1).model_dump(mode="json")
    values["compute"]["precision"] = "bf16-mixed"
    train_stage1(parse_params(values), unlabelled(disc_clips), tmp_path)
    assert all(
        np.isfinite(float(value))
        for row in read_csv(tmp_path / "curves.csv")
        for value in row.values()
        if value
    )
    state = torch.load(tmp_path / "state.pt", weights_only=True)["parts"]
    assert all(value.dtype != torch.bfloat16 for value in state["frontend"].values())
    gan = float(read_csv(tmp_path / "curves.csv")[0]["gan"])
    assert gan != float(torch.tensor(gan).bfloat16()), "summed in fp32"


def test_a_head_pose_term_without_labels_is_refused_unless_that_is_meant(disc_clips, tmp_path):
    values = params().model_dump(mode="json")
    values["label_pose"]["teacher"] = "auto"
    with pytest.raises(
        ParamsError, match=r"no training clip has a head pose label .*label_pose\.teacher=off"
    ):
        train_stage1(parse_params(values), unlabelled(disc_clips), tmp_path)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole_but_for_batch_norm(disc_clips, monkeypatch, parts):
    # what sees the batch, or counts the passes: batch norm in training mode, and spectral norm's power
    # iteration
    for module in (_BatchNorm, _SpectralNorm):
        monkeypatch.setattr(module, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    whole, in_parts = (first_gradients(disc_clips, accumulate) for accumulate in (1, parts))
    for network in ("frontend", "discriminator"):
        expected, got = whole[network], in_parts[network]
        assert expected.abs().max() > 0
        # rounding decides the sign of an absolute difference next to 0
        assert (got - expected).norm() < 0.08 * expected.norm(), network
    for name, value in whole["losses"].items():
        tolerance = 0.05 if name == "gradient_norm" or name.startswith("share_") else 1e-3
        assert in_parts["losses"][name] == pytest.approx(value, rel=tolerance), name


def test_batch_norm_sees_one_part_at_a_time(disc_clips):
    whole, in_parts = (first_gradients(disc_clips, accumulate) for accumulate in (1, 2))
    assert whole["losses"]["loss"] != in_parts["losses"]["loss"]


def first_gradients(disc_clips: Path, accumulate: int) -> dict[str, Any]:
    """Losses of the first step of stage 1, and its gradients, concatenated."""
    values = params({"accumulate": accumulate}, batch_size=4)
    clips, fabric = read_manifest(disc_clips, "train"), launch(values.compute, seed=0)
    trainee, _ = prepare(
        "train_stage1", values, values.train.stage1, fabric, clips, unlabelled(disc_clips), None, {}
    )
    with trainee.loader:
        losses = trainee.step(0)
    assert trainee.adversary is not None
    networks = {"frontend": trainee.frontend, "discriminator": trainee.adversary.parts()["discriminator"]}
    gradients = {}
    for name, network in networks.items():
        assert isinstance(network, torch.nn.Module)
        of_network = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        gradients[name] = torch.cat(of_network)
    return {"losses": losses, **gradients}


def test_motion_by_rotation_is_trained_and_its_frontend_enhances(disc_clips, tmp_path):
    values = with_conventions(params(steps=1), first_order="rotation")
    train_stage1(values, unlabelled(disc_clips), tmp_path)
    assert np.isfinite(numbers(tmp_path)["loss"]).all()
    frontend = load_frontend(tmp_path / FRONTEND_FILE)
    assert frontend.params.conventions.first_order == "rotation"
    frames = Recording(read_manifest(disc_clips, "test")[0].video).frames()
    assert len(list(enhance(frontend, frames[0], frames, frames, batch_size=2))) == len(frames)


def test_a_bounded_reach_around_lips_that_nothing_guides_is_refused(disc_clips, tmp_path):
    values = with_detail(params({"losses": {"guides": 0.0}}), simulate_backends=True).model_dump(mode="json")
    values["model"]["generator"]["backend_reach"] = 1.0
    for stage in ("stage1", "stage2"):
        values["train"][stage]["losses"]["guides"] = 0.0
    with pytest.raises(
        ParamsError, match=r"backend_reach = 1 needs .* losses\.guides is 0: give it a weight"
    ):
        train_stage1(parse_params(values), unlabelled(disc_clips), tmp_path)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(disc_clips, tmp_path):
    with pytest.raises(ParamsError, match=r"a batch of 2 cannot be shared evenly .* that 3 divides"):
        train_stage1(params({"accumulate": 3}), unlabelled(disc_clips), tmp_path)


def test_stage_1_starts_from_a_given_frontend_and_refuses_one_of_other_sizes(disc_clips, stage1, tmp_path):
    start = stage1 / FRONTEND_FILE
    train_stage1(params({"start": str(start)}, steps=0), unlabelled(disc_clips), tmp_path)
    before, after = weights_of(stage1), weights_of(tmp_path)
    assert all(torch.equal(before[name], after[name]) for name in before)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["started_from"] == FRONTEND_FILE and len(summary["started_from_sha256"]) == 64

    values = params({"start": str(start)})
    wider = values.model.model_copy(update={"name": "wider", "num_keypoints": 16})
    with pytest.raises(
        ParamsError, match=r"frontend of other sizes .small. than params.yaml asks for .wider."
    ):
        train_stage1(values.model_copy(update={"model": wider}), unlabelled(disc_clips), tmp_path / "x")


def with_conventions(values: Params, **conventions) -> Params:
    model = values.model.model_copy(
        update={"conventions": values.model.conventions.model_copy(update=conventions)}
    )
    return values.model_copy(update={"model": model})


def test_stage_2_refuses_a_start_of_other_conventions_and_names_them(disc_clips, stage1, tmp_path):
    values = with_conventions(params(steps=0), pitch_sign=-1, first_order="rotation")
    backends = disc_clips / "backends"
    with pytest.raises(
        ParamsError,
        match=(
            r"frontend\.safetensors was trained with other conventions .*pitch_sign = -1, first_order = "
            r"rotation.* set model\.conventions\.pitch_sign=1 and model\.conventions\.first_order=translation"
        ),
    ):
        train_stage2("wav2lip", values, unlabelled(disc_clips), backends, stage1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_released_frontend_is_refused_with_other_conventions(disc_clips, tmp_path):
    start = REPOSITORY / "weights/released/frontend.safetensors"
    released = parse_params(
        with_detail(params({"start": str(start)}, steps=0), simulate_backends=True).model_dump(mode="json")
        | {"model": load_frontend(start).params.model_dump(mode="json")}
    )
    train_stage1(released, unlabelled(disc_clips), tmp_path / "same")
    with pytest.raises(ParamsError, match=r"set model\.conventions\.pitch_sign=1, or choose another start"):
        train_stage1(with_conventions(released, pitch_sign=-1), unlabelled(disc_clips), tmp_path / "other")


def test_a_public_start_is_refused_with_our_pitch_sign(disc_clips, tmp_path):
    values = params(steps=0)
    start = tmp_path / "00000189-checkpoint.pth.tar"
    torch.save(public_state_dicts(Frontend(values.model)), start)
    with pytest.raises(ParamsError, match=r"set model\.conventions\.pitch_sign=-1"):
        train_stage1(params({"start": str(start)}, steps=0), unlabelled(disc_clips), tmp_path / "ours")
    public = with_conventions(params({"start": str(start)}, steps=0), pitch_sign=-1)
    train_stage1(public, unlabelled(disc_clips), tmp_path / "public")
    trained = load_frontend(tmp_path / "public" / FRONTEND_FILE)
    assert trained.params.conventions.pitch_sign == -1


@pytest.mark.parametrize("pitch_sign", [1, -1])
def test_heads_labelled_as_looking_down_become_heads_that_free_view_calls_so(
    disc_clips, tmp_path, pitch_sign
):
    labels = tmp_path / "head_pose"
    labels.mkdir()
    for clip in read_manifest(disc_clips, "train"):
        np.save(label_path(labels, clip), np.tile(np.array([0, 20, 0], np.float32), (clip.frames, 1)))
    values = with_conventions(params(steps=20), pitch_sign=pitch_sign)
    losses = FrontendLossParams(
        vgg19=0, gan=0, feature_matching=0, equivariance=0, keypoint_prior=0, head_pose=1, expression=0
    )
    stage = values.train.stage1.model_copy(
        update={
            "losses": losses,
            "ema_decay": 0.0,
            "optimiser": OptimiserParams(lr=1e-3),
        }
    )
    fabric = launch(values.compute, seed=0)
    trainee, _ = prepare(
        "train_stage1",
        values,
        stage,
        fabric,
        read_manifest(disc_clips, "train"),
        TrainingFolders(disc_clips, labels, labels, labels),
        None,
        {},
    )
    with trainee.loader:
        curve = [trainee.step(step)["head_pose"] for step in range(20)]
    frontend = trainee.judged
    picture = to_uint8(trainee.fixed.pose)[0]
    own = own_view(frontend, decompose_image(frontend, picture))
    assert curve[-1] < 0.5 * curve[0]
    assert own.pitch is not None and own.pitch > 5


def test_on_a_cpu_2d_weights_are_trained_in_torchs_layout_and_rendered_with_channels_last(disc_clips, stage1):
    values = params()
    stage, clips = values.train.stage1, read_manifest(disc_clips, "train")
    fabric = launch(values.compute, seed=0)
    trainee, _ = prepare("train_stage1", values, stage, fabric, clips, unlabelled(disc_clips), None, {})
    assert layouts_of(trainee.frontend) == {2: "default", 3: "channels last"}
    rendering = load_frontend(stage1 / FRONTEND_FILE).for_rendering()
    assert layouts_of(rendering) == {2: "channels last", 3: "channels last"}


def layouts_of(network: torch.nn.Module) -> dict[int, str]:
    """Layouts of weights that have one, by dimensions of their convolution."""
    last = {2: torch.channels_last, 3: torch.channels_last_3d}
    found = {
        (weight.dim() - 2, "default" if weight.is_contiguous() else "channels last")
        for weight in network.parameters()
        if weight.dim() >= 4 and min(weight.shape[1], weight[0, 0].numel()) > 1
        if weight.is_contiguous() or weight.is_contiguous(memory_format=last[weight.dim() - 2])
    }
    assert len(found) == len(dict(found)), "one layout for all of a kind"
    return dict(found)


@pytest.mark.slow
def test_one_frontend_for_all_backends_is_trained_once(disc_clips, stage1, tmp_path, capsys):
    other = disc_clips / "backends" / "pcavs"
    if not other.exists():
        other.symlink_to("wav2lip")
    values = params({"videos": "own"})
    stage2 = values.train.stage2.model_copy(update={"videos": "all"})
    train = values.train.model_copy(update={"stage2": stage2})
    values = values.model_copy(update={"train": train, "backends": ("wav2lip", "pcavs")})
    for name in ("wav2lip", "pcavs"):
        train_stage2(name, values, unlabelled(disc_clips), disc_clips / "backends", stage1, tmp_path / name)
    assert "wav2lip holds the same training: going on from there" in capsys.readouterr().out
    files = [tmp_path / name / FRONTEND_FILE for name in ("wav2lip", "pcavs")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert json.loads((tmp_path / "pcavs" / "summary.json").read_text())["backends"] == ["wav2lip", "pcavs"]


def with_detail(values: Params, **sampling) -> Params:
    changed = values.model_dump(mode="json")
    changed["model"]["generator"]["detail"] = "warp_both"
    for stage in ("stage1", "stage2"):
        changed["train"][stage]["sampling"] |= sampling
        changed["train"][stage]["losses"] |= {
            "parts": 1.0,
            "mouth": 4.0,
            "guides": 1.0,
            "motion": 1.0,
            "shapes": 1.0,
            "mouth_share": 1.0,
        }
    return parse_params(changed)


@pytest.mark.slow
def test_a_training_with_two_sources_learns_from_simulated_backends_and_drawn_people(disc_clips, tmp_path):
    grids = tmp_path / "grids"
    draw_grids(GridParams(identities=1, poses=2, mouths=2, frame_size=64), 64, grids)
    folders = TrainingFolders(disc_clips, disc_clips / "none", disc_clips / "none", grids)
    values = with_detail(
        params({"warm_up": {"labels_until": 1, "motion_until": 2}}), simulate_backends=True, drawn_share=0.5
    )
    train_stage1(values, folders, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert facts["drawn_people"] == 1 and facts["simulated_backends"] and facts["expression_labels"] == 1
    rows = read_csv(tmp_path / "out" / "curves.csv")
    assert not rows[0]["motion"] and float(rows[1]["motion"]) > 0, "labels come first, then motion"
    assert not rows[1]["pixel"] and float(rows[3]["pixel"]) > 0, "and then pictures"
    assert float(rows[0]["guides"]) > 0 and float(rows[3]["motion"]) > 0 and float(rows[3]["parts"]) > 0
    assert any(float(row["mouth_share"] or 0) > 0 for row in rows[2:])
    of_terms = [
        float(v) for k, v in rows[3].items() if k.startswith("share_") and k != "share_pictures" and v
    ]
    assert sum(of_terms) == pytest.approx(1, abs=1e-3)
    trained = load_frontend(tmp_path / "out" / FRONTEND_FILE)
    assert trained.detail == "warp_both" and trained.compositor is not None
    assert trained.compositor.choice.weight.abs().max() > 0, "the choice is learned"


def test_a_second_source_that_is_the_answer_itself_is_refused(disc_clips, tmp_path):
    with pytest.raises(
        ParamsError, match=r"must not be its own second source: set sampling\.simulate_backends"
    ):
        train_stage1(with_detail(params()), unlabelled(disc_clips), tmp_path)


def with_keypoints(count: int, **losses: float) -> Params:
    off = {"guides": 0.0, "lips": 0.0}
    values = params({"losses": params().train.stage1.losses.model_dump() | off | losses}, steps=1)
    return values.model_copy(update={"model": values.model.model_copy(update={"num_keypoints": count})})


@pytest.mark.parametrize(("term", "needed"), [("guides", 6), ("lips", 4)])
def test_fewer_keypoints_than_a_term_needs_are_refused(term, needed, disc_clips, tmp_path):
    message = rf"num_keypoints = {needed - 1}, but losses\.{term} needs {needed}"
    with pytest.raises(ParamsError, match=message):
        train_stage1(with_keypoints(needed - 1, **{term: 1.0}), unlabelled(disc_clips), tmp_path)
    train_stage1(with_keypoints(needed, **{term: 1.0}), unlabelled(disc_clips), tmp_path)
