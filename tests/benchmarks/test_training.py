"""The training benchmark at a small size: both sides train the same networks, and the page is written."""

from __future__ import annotations

import pytest
import torch

from benchmarks import training
from benchmarks.reference_training import PlainStep
from benchmarks.report import processor
from benchmarks.training import Case, Memory, Rates
from kpbe.frontend.model import Frontend
from kpbe.params import FrontendTrainParams, ScheduleParams
from kpbe.training.perceptual import VGG19Features


@pytest.mark.slow
def test_both_sides_make_the_same_steps_and_the_page_shows_their_ratio():
    rates = training.race(Case(64, 2), rounds=1, steps=1, warm_up=1, narrow=True)
    assert len(rates.ours) == len(rates.reference) == 1 and rates.ratio > 0 and rates.memory_gb > 0.1
    page = training.report([rates], Memory(1.0, 0.5), "- a machine", rounds=1, steps=1)
    assert f"| 64x64 | {processor()} | 2 | fp32 | {rates.reference[0]:.3g} " in page
    assert f"**{rates.ours[0] / rates.reference[0]:.2f}**" in page
    assert "| 8 | 5.0 |" in page
    assert "No GPU was at hand" in page


@pytest.mark.slow
def test_both_sides_have_the_same_loss(tmp_path, monkeypatch):
    # no teacher and no VGG: the plain side's teacher has no weights here, and ours has labels
    losses = training.LOSSES.model_copy(update={"head_pose": 0.0, "vgg19": 0.0})
    monkeypatch.setattr(training, "LOSSES", losses)
    torch.manual_seed(0)
    frontend = Frontend(training.model_of(64, narrow=True))
    optimiser = FrontendTrainParams(schedule=ScheduleParams(steps=1, batch_size=1)).optimiser
    plain = PlainStep(frontend, VGG19Features(None), losses, optimiser, (1.0,), torch.device("cpu"))
    clips, head_poses = training.make_clips(tmp_path, 64)
    trainee = training.our_step(Case(64, 2), frontend, clips, head_poses)
    assert trainee.adversary is not None
    plain.discriminator.load_state_dict(trainee.adversary.network.state_dict())
    with trainee.loader:
        ((pair, warp, _),) = trainee._parts_of(0)
        assert warp is not None
        theirs = plain(pair.source, pair.pose, warp)
        ours = trainee.step(0)["loss"]
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_a_gpu_row_takes_the_sentence_away(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    rates = Rates(Case(256, 8, "cuda", "bf16-mixed", compile=True), [1.0], [4.0], 20.0)
    page = training.report([rates], Memory(1.0, 0.5), "- a machine", rounds=1, steps=1)
    assert "| 256x256 | a GPU | 8 | bf16 + compile" in page and "**4.00**" in page and "No GPU" not in page


@pytest.mark.slow
def test_memory_grows_with_the_batch_and_holds_all_networks():
    kept = training.memory(64, narrow=True)
    parameters = sum(p.nbytes for p in training.Frontend(training.model_of(64, narrow=True)).parameters())
    assert kept.fixed_gb > 5 * parameters / 1e9
    images = 3 * 64 * 64 * 4 / 1e9
    assert kept.sample_gb > 20 * images
    assert kept.at(8) == pytest.approx(kept.fixed_gb + 8 * kept.sample_gb)


def test_the_reference_lays_weights_out_as_torch_does():
    from benchmarks.reference_training import plain_layout

    network = torch.nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    plain_layout(network)
    assert network.weight.is_contiguous()
