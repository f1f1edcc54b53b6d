"""Releases: half-precision copies load like the originals and say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from kpbe.backends.wav2lip import Wav2LipGenerator, load_generator
from kpbe.backends.wav2lip.checkpoints import save_generator
from kpbe.errors import KPBEError, MissingWeights
from kpbe.frontend.checkpoints import load_frontend, read_facts, save_frontend
from kpbe.frontend.model import Frontend
from kpbe.params import load_params
from kpbe.release import halve_precision, release
from kpbe.work import file_sha256

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    model = load_params(REPOSITORY / "params.yaml").model
    save_frontend(folder / "frontend.safetensors", Frontend(model), {"stage": "stage2"})
    save_generator(folder / "generator.safetensors", Wav2LipGenerator(0.125), {"clips": 3})
    (folder / "metrics.json").write_text(json.dumps({"wav2lip+kpbe": {"ssim": 0.5}}))
    (folder / "summary.json").write_text(json.dumps({"steps": 7}))
    return folder


def test_the_copies_load_and_give_nearly_the_same(trained, tmp_path):
    about = release(
        trained / "frontend.safetensors",
        {"wav2lip": trained / "generator.safetensors"},
        REPOSITORY / "params.yaml",
        {"wav2lip": trained / "metrics.json"},
        {"stage 2": trained / "summary.json"},
        tmp_path,
    )
    original, copy = (load_frontend(folder / "frontend.safetensors") for folder in (trained, tmp_path))
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, got = (f.canonical_keypoints(image) for f in (original, copy))
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=0)
    assert got.dtype == torch.float32 and not torch.equal(got, wanted)
    assert read_facts(tmp_path / "frontend.safetensors") == {"stage": "stage2"}
    assert load_generator(tmp_path / "wav2lip.safetensors").width_multiplier == 0.125

    for name in ("frontend.safetensors", "wav2lip.safetensors"):
        assert about["files"][name]["sha256"] == file_sha256(tmp_path / name)
    sizes = [(folder / "frontend.safetensors").stat().st_size for folder in (trained, tmp_path)]
    assert sizes[1] < 0.6 * sizes[0]
    written = json.loads((tmp_path / "release.json").read_text())
    assert written["trainings"]["stage 2"]["steps"] == 7
    assert written["metrics"]["wav2lip"]["wav2lip+kpbe"]["ssim"] == 0.5
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["model"]["name"] == "small"


def test_missing_weights_and_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(MissingWeights, match=r"nothing\.safetensors does not exist"):
        halve_precision(tmp_path / "nothing.safetensors", tmp_path / "out.safetensors")
    save_file({"huge": torch.full((2, 2), 1e6)}, tmp_path / "huge.safetensors")
    with pytest.raises(KPBEError, match="huge does not fit into half precision"):
        halve_precision(tmp_path / "huge.safetensors", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
