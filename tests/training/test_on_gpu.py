"""A GPU computes what a CPU does: rendering, training (fp32, bf16, compiled, resumed) and enhancement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.wav2lip.networks import Wav2LipGenerator
from kpbe.frontend.checkpoints import load_frontend
from kpbe.inference.enhance import enhance
from kpbe.params import Params
from kpbe.paths import FRONTEND_FILE, RELEASED
from kpbe.training.stage1 import train_stage1
from kpbe.training.stage2 import train_stage2
from tests.training import short_training
from tests.training.short_training import numbers, unlabelled

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def no_tf32() -> Iterator[None]:
    """Convolutions in whole fp32; by default torch lets GPUs use TF32."""
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = True


def params(device: str, steps: int, precision: str = "32-true", compile: bool = False) -> Params:
    """A learning rate at which Adam's first steps (the gradients' signs) do not amplify rounding."""
    values = short_training.params({"optimiser": {"lr": 1e-5}}, steps=steps)
    compute = values.compute.model_copy(update={"device": device, "precision": precision, "compile": compile})
    return values.model_copy(update={"compute": compute})


def trained(values: Params, clips: Path, out: Path) -> dict[str, list[float]]:
    """The curves of stage 1."""
    train_stage1(values, unlabelled(clips), out)
    return numbers(out)


def test_stage_1_has_the_losses_of_a_cpu(disc_clips, tmp_path, no_tf32):
    on_cpu = trained(params("cpu", 3), disc_clips, tmp_path / "cpu")
    on_gpu = trained(params("cuda", 3), disc_clips, tmp_path / "cuda")
    for name, values in on_cpu.items():
        # batch norm over nearly flat pictures amplifies rounding, gradients most
        tolerance = 5e-2 if name == "gradient_norm" else 1e-2
        assert on_gpu[name] == pytest.approx(values, rel=tolerance, abs=1e-4), name


@pytest.mark.parametrize("compile", [False, True])
def test_bf16_and_compilation_keep_the_losses(disc_clips, tmp_path, compile):
    fp32 = trained(params("cuda", 2), disc_clips, tmp_path / "fp32")
    fast = trained(params("cuda", 2, "bf16-mixed", compile), disc_clips, tmp_path / "fast")
    for name in ("loss", "pixel", "equivariance", "keypoint_prior", "feature_matching"):
        assert fast[name] == pytest.approx(fp32[name], rel=0.1, abs=1e-2), name
    state = torch.load(tmp_path / "fast" / "state.pt", weights_only=True)["parts"]
    assert all(value.dtype != torch.bfloat16 for value in state["frontend"].values())


def test_a_training_goes_on_where_it_was(disc_clips, tmp_path):
    once = trained(params("cuda", 4), disc_clips, tmp_path / "once")
    trained(params("cuda", 2), disc_clips, tmp_path / "twice")
    twice = trained(params("cuda", 4), disc_clips, tmp_path / "twice")
    assert twice["loss"] == pytest.approx(once["loss"], rel=1e-2)
    weights = [load_frontend(tmp_path / name / FRONTEND_FILE).state_dict() for name in ("once", "twice")]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], rtol=1e-2, atol=1e-3), name


def test_stage_2_trains_and_a_cpu_loads_its_frontend(disc_clips, tmp_path):
    trained(params("cuda", 2), disc_clips, tmp_path / "stage1")
    backends, out = disc_clips / "backends", tmp_path / "stage2"
    train_stage2("wav2lip", params("cuda", 2), unlabelled(disc_clips), backends, tmp_path / "stage1", out)
    assert np.isfinite(numbers(out)["loss"]).all()
    assert next(load_frontend(out / FRONTEND_FILE).parameters()).device.type == "cpu"


def test_the_released_frontend_renders_the_frames_of_a_cpu(no_tf32):
    frames: list[list[np.ndarray]] = []
    for device in ("cpu", "cuda"):
        frontend = load_frontend(REPOSITORY / RELEASED / FRONTEND_FILE, device).for_rendering()
        size = frontend.params.image_size
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (9, size, size, 3), dtype=np.uint8)
        frames.append(list(enhance(frontend, pictures[0], pictures[1:], pictures[1:][::-1], batch_size=5)))
    difference = np.abs(np.stack(frames[0]).astype(int) - np.stack(frames[1]))
    assert difference.max() <= 2 and difference.mean() < 0.1


@torch.inference_mode()
def test_the_backends_generators_speak_as_on_a_cpu(no_tf32):
    torch.manual_seed(0)
    wav2lip, pcavs = Wav2LipGenerator(0.125).eval(), PCAVSNetworks(0.0625, 64).eval()
    mels, faces = torch.rand(2, 1, 80, 16), torch.rand(2, 6, 96, 96)
    pictures, windows = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 80, 20)
    spoken: list[list[torch.Tensor]] = []
    for device in ("cpu", "cuda"):
        wav2lip, pcavs = wav2lip.to(device), pcavs.to(device)
        mouths = pcavs.encode_mouth_from_audio(windows.to(device))
        poses, identities = pcavs.encode_pose(pictures.to(device)), pcavs.encode_identity(pictures.to(device))
        drawn = pcavs.render(identities, mouths, poses)
        spoken.append([wav2lip(mels.to(device), faces.to(device)).cpu(), drawn.cpu()])
    for on_cpu, on_gpu in zip(*spoken, strict=True):
        assert torch.allclose(on_cpu, on_gpu, atol=1e-3)
