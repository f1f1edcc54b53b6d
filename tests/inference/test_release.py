"""Releases: half-precision copies load like the originals and say what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from kpbe.backends.pcavs.checkpoints import load_networks, save_networks
from kpbe.backends.pcavs.model import PCAVSNetworks
from kpbe.backends.wav2lip import Wav2LipGenerator, load_generator
from kpbe.backends.wav2lip.checkpoints import load_sync_expert, save_generator, save_sync_expert
from kpbe.backends.wav2lip.networks import SyncNet
from kpbe.checkpoints.files import read_metadata
from kpbe.core.files import file_sha256, write_json
from kpbe.errors import KPBEError, MissingWeights
from kpbe.frontend.checkpoints import FORMAT, load_frontend, save_frontend
from kpbe.frontend.model import Frontend
from kpbe.inference.release import halve_precision, release
from kpbe.params import load_params

REPOSITORY = Path(__file__).resolve().parents[2]
FRONTEND = "checkpoints/stage2/wav2lip/frontend.safetensors"
GENERATOR = "checkpoints/backends/wav2lip/generator.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves that a release takes."""
    root = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    params = REPOSITORY / "params.yaml"
    save_frontend(root / FRONTEND, Frontend(load_params(params).model), {"stage": "stage2"})
    save_generator(root / GENERATOR, Wav2LipGenerator(0.125), {"clips": 3})
    save_sync_expert(root / "checkpoints/sync/wav2lip/sync_expert.safetensors", SyncNet(0.125), {})
    save_networks(root / "checkpoints/backends/pcavs/networks.safetensors", PCAVSNetworks(0.0625, 64))
    for training, steps in {"stage1": 9, "stage2/wav2lip": 7, "stage2/pcavs": 5}.items():
        write_json(root / "checkpoints" / training / "summary.json", {"steps": steps})
    results = root / "reports/results"
    write_json(results / "evaluation/wav2lip/metrics.json", {"wav2lip+kpbe": {"ssim": 0.5}})
    write_json(results / "table1.json", {"about": []})
    (results / "table1.md").write_text("Table I")
    shutil.copy(params, root)
    return root


def test_the_copies_load_and_give_nearly_the_same(trained, tmp_path):
    about = release("wav2lip", trained, tmp_path)
    out = tmp_path / "weights/released"
    original, copy = load_frontend(trained / FRONTEND), load_frontend(out / "frontend.safetensors")
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, got = (f.canonical_keypoints(image) for f in (original, copy))
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=0)
    assert got.dtype == torch.float32 and not torch.equal(got, wanted)
    assert json.loads(read_metadata(out / "frontend.safetensors")[FORMAT])["facts"] == {"stage": "stage2"}
    assert load_generator(out / "wav2lip.safetensors").width_multiplier == 0.125

    assert load_sync_expert(out / "wav2lip.sync.safetensors").width_multiplier == 0.125
    assert isinstance(load_networks(out / "pcavs.safetensors"), PCAVSNetworks)
    assert len(about["files"]) == 4
    for name in about["files"]:
        assert about["files"][name]["sha256"] == file_sha256(out / name)
    assert (out / "frontend.safetensors").stat().st_size < 0.6 * (trained / FRONTEND).stat().st_size
    written = json.loads((out / "release.json").read_text())
    assert {name: summary["steps"] for name, summary in written["trainings"].items()} == {
        "stage1": 9,
        "stage2/wav2lip": 7,
    }
    assert written["metrics"]["wav2lip+kpbe"]["ssim"] == 0.5
    assert (tmp_path / "reports/released/table1.md").read_text() == "Table I"
    assert yaml.safe_load((out / "params.yaml").read_text())["model"]["name"] == "small"


def test_the_released_weights_are_whole_and_can_be_used():
    folder = REPOSITORY / "weights/released"
    for name, facts in json.loads((folder / "release.json").read_text())["files"].items():
        assert (folder / name).stat().st_size == facts["bytes"] and file_sha256(folder / name) == facts[
            "sha256"
        ]
    frontend, params = load_frontend(folder / "frontend.safetensors"), load_params(folder / "params.yaml")
    assert frontend.params == params.model
    generator = load_generator(folder / "wav2lip.safetensors")
    assert generator.width_multiplier == 0.25 and all(p.isfinite().all() for p in generator.parameters())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decomposed = frontend.decompose(image)
        frame = frontend.reenact(decomposed, None, image).frame
    assert frame.isfinite().all() and (frame - image).abs().mean() < (frame.mean() - image).abs().mean()


def test_a_run_without_numbers_is_not_released(trained, tmp_path):
    with pytest.raises(KPBEError, match="run `dvc repro` first"):
        release("pcavs", trained, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_weights_and_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(MissingWeights, match=r"nothing\.safetensors does not exist"):
        halve_precision(tmp_path / "nothing.safetensors", tmp_path / "out.safetensors")
    save_file({"huge": torch.full((2, 2), 1e6)}, tmp_path / "huge.safetensors")
    with pytest.raises(KPBEError, match="huge does not fit into half precision"):
        halve_precision(tmp_path / "huge.safetensors", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
