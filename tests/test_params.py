"""params.yaml: what is refused and how, and that conf/ composes it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import compose_and_dump

from kpbe.backends.registry import backend_of
from kpbe.errors import ParamsError
from kpbe.frontend.model import Frontend
from kpbe.inference.release import LARGEST_MB
from kpbe.params import load_params, parse_params

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def compose(folder: Path, *overrides: str) -> Path:
    """params.yaml as `dvc exp run -S ...` composes it."""
    path = folder / "params.yaml"
    compose_and_dump(str(path), str(CONF), None, "config", str(REPOSITORY), list(overrides))
    return path


@pytest.fixture
def values() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))


def change(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    *path, last = key.split(".")
    section = values
    for name in path:
        section = section[name]
    section[last] = value
    return values


def test_params_yaml_is_the_composed_default(tmp_path: Path) -> None:
    assert compose(tmp_path).read_text() == (REPOSITORY / "params.yaml").read_text()


def test_params_yaml_is_the_small_sample_and_begins_with_what_is_in_the_repository() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    assert params.data.source == "sample"
    assert params.data.detector == "known"
    for name in params.backends:
        checkpoint = backend_of(params, name)[1].checkpoint
        assert checkpoint is None or checkpoint.parent == Path("weights/released")
    assert params.compute.device == "cpu"


@pytest.mark.parametrize(
    "choice", list(itertools.product(options("data"), options("model"))), ids=lambda choice: "-".join(choice)
)
def test_every_data_and_model_group_composes(choice: tuple[str, str], tmp_path: Path) -> None:
    params = load_params(compose(tmp_path, f"data={choice[0]}", f"model={choice[1]}"))
    assert (params.data.source, params.model.name) == choice


@pytest.mark.parametrize(
    "choice",
    list(itertools.product(options("train"), options("compute"), options("backend"))),
    ids=lambda choice: "-".join(choice),
)
def test_every_train_compute_and_backend_group_composes(choice: tuple[str, str, str], tmp_path: Path) -> None:
    train, compute, backend = choice
    chosen = f"[wav2lip,{backend}]" if backend == "wav2lip_video" else backend
    overrides = [f"train={train}", f"compute={compute}", f"backend={chosen}"]
    params = load_params(compose(tmp_path, *overrides))
    for name in params.backends:
        backend_of(params, name)
    assert len(params.backends) == 1 or backend in ("wav2lip_video", *options("data"))


@pytest.mark.parametrize("data", options("data"))
def test_the_data_choose_the_backends(data: str, tmp_path: Path) -> None:
    params = load_params(compose(tmp_path, f"data={data}"))
    known = ("perfect",) if data == "sample" else ()
    assert set(params.backends) == {"wav2lip", "wav2lip_video", "pcavs", *known}
    for name in params.backends:
        backend_of(params, name)


def test_wav2lip_on_video_follows_the_generator_that_is_chosen(tmp_path: Path) -> None:
    params = load_params(compose(tmp_path, "backend=[wav2lip_full,wav2lip_video]"))
    settings = backend_of(params, "wav2lip_video")[1]
    assert (settings.pads, settings.feed) == ((0, 10, 0, 0), "video")
    alone = load_params(compose(tmp_path, "backend=wav2lip_video"))
    with pytest.raises(ParamsError, match=r"choose wav2lip as well \(backend=\[wav2lip,wav2lip_video\]\)"):
        backend_of(alone, "wav2lip_video")


def test_backends_are_those_of_the_chosen_group(tmp_path: Path) -> None:
    params = load_params(compose(tmp_path, "backend=[pcavs,wav2lip_full]"))
    assert params.backends == ("pcavs", "wav2lip")


def test_single_values_of_a_group_can_be_overridden(tmp_path: Path) -> None:
    overrides = ["data=folder", "data.root=../shared/clips", "data.list=../shared/clips/real_small.csv"]
    params = load_params(compose(tmp_path, *overrides, "train.stage1.schedule.steps=3"))
    assert params.data.root == Path("../shared/clips")
    assert params.data.list == Path("../shared/clips/real_small.csv")
    assert params.train.stage1.schedule.steps == 3


def test_voxceleb1_has_vgg_face_as_osfv_has_it_and_eq_3_in_stage_2(tmp_path: Path) -> None:
    train = load_params(compose(tmp_path, "train=voxceleb1")).train
    full_scale = ((1.0,), (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0))
    assert train.stage1.perceptual.of_vgg("vgg_face") == full_scale
    assert train.stage1.perceptual.of_vgg("vgg19") == ((1.0, 0.5, 0.25, 0.125), (1.0,) * 5)
    assert train.stage2.perceptual.of_vgg("vgg_face") == ((1.0, 0.5, 0.25, 0.125, 0.0625), (1.0,) * 5)


def test_the_paper_s_stage_2_is_eq_3_and_eq_4_alone(tmp_path: Path) -> None:
    paper = load_params(compose(tmp_path, "data=voxceleb1", "train=voxceleb1_paper", "data.metadata=m.csv"))
    own, like = paper.train, load_params(compose(tmp_path, "train=voxceleb1")).train
    weights = own.stage2.losses.model_dump()
    assert weights.pop("mouth") == 1, "all pixels count alike"
    assert {name for name, weight in weights.items() if weight} == {"vgg_face", "expression"}
    assert own.stage2.perceptual.of_vgg("vgg_face") == ((1.0, 0.5, 0.25, 0.125, 0.0625), (1.0,) * 5)
    osfv = {
        "vgg19",
        "vgg_face",
        "gan",
        "feature_matching",
        "equivariance",
        "keypoint_prior",
        "head_pose",
        "expression",
    }
    stage1 = own.stage1.losses.model_dump()
    assert stage1.pop("mouth") == 1 and {name for name, weight in stage1.items() if weight} == osfv
    assert own.stage1.perceptual.vgg19_unit == "own" and not own.stage1.sampling.simulate_backends
    assert own.stage2.schedule == like.stage2.schedule


def test_the_full_wav2lip_pads_sound_as_public_checkpoints_want_it(tmp_path: Path) -> None:
    for group, padding in (("wav2lip_full", "reflect"), ("wav2lip", "zeros")):
        params = load_params(compose(tmp_path, f"backend={group}"))
        assert backend_of(params, "wav2lip")[1].mel_padding == padding


def test_model_groups_are_the_published_sizes(tmp_path: Path) -> None:
    vox = load_params(compose(tmp_path, "model=vox256")).model
    assert vox == type(vox)()  # the defaults of kpbe/params.py are OSFV's
    spade = load_params(compose(tmp_path, "model=vox256_spade")).model
    assert spade.generator.decoder == "spade"
    assert spade.conventions.pitch_sign == -1, "as the public checkpoint of these sizes"
    ours = {"name": "vox256", "generator": vox.generator, "conventions": vox.conventions}
    assert spade.model_copy(update=ours) == vox


def test_vox128_in_half_precision_fits_a_release(tmp_path: Path) -> None:
    frontend = Frontend(load_params(compose(tmp_path, "model=vox128")).model)
    assert 2 * sum(weights.numel() for weights in frontend.parameters()) / 1e6 < 0.8 * LARGEST_MB


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.fps", -25.0, ["data.fps", "-25.0", "greater than 0"]),
        ("data.detector", "dlib", ["data.detector", "'dlib'", "yunet"]),
        ("model.image_size", 100, ["model.image_size", "100", "multiple of 16"]),
        (
            "train.stage1.schedule.steps",
            -1,
            ["train.stage1.schedule.steps", "-1", "greater than or equal to 0"],
        ),
        ("compute.workers", "many", ["compute.workers", "'many'", "integer"]),
        ("backends", [], ["backends", "at least 1"]),
        ("survey.gold", 1, ["survey.gold = 1 is odd", "even number"]),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_is_allowed(
    values: dict[str, Any], key: str, value: Any, words: list[str]
) -> None:
    with pytest.raises(ParamsError) as error:
        parse_params(change(values, key, value), name="params.yaml")
    assert all(word in str(error.value) for word in ["params.yaml", *words])
    assert "\n" not in str(error.value)


def test_a_misspelt_key_and_a_missing_one_are_named(values: dict[str, Any]) -> None:
    del values["train"]["stage2"]["schedule"]["steps"]
    change(values, "data.frames_per_second", 25)
    with pytest.raises(ParamsError, match=r"data\.frames_per_second is not a known key") as error:
        parse_params(values)
    assert "train.stage2.schedule.steps is missing" in str(error.value)


def test_voxceleb_without_metadata_is_refused(values: dict[str, Any]) -> None:
    change(values, "data.source", "voxceleb1")
    with pytest.raises(ParamsError, match=r"data\.metadata must name vox-metadata\.csv"):
        parse_params(values)


def test_a_missing_or_broken_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="does not exist: run from the repository root"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("data: [1, 2")
    with pytest.raises(ParamsError, match="not valid YAML") as error:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(error.value)


def test_params_do_not_change_after_reading(values: dict[str, Any]) -> None:
    params = parse_params(values)
    with pytest.raises(ValueError, match="frozen"):
        params.data.fps = 30.0  # type: ignore[misc]
