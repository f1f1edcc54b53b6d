"""The registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpbe.backends.base import SynthesisRequest
from kpbe.backends.registry import BACKENDS, backend_of, get_backend, is_trainable
from kpbe.errors import KPBEError, ParamsError
from kpbe.params import Params, parse_params


def params(**backends: dict) -> Params:
    stage = {"schedule": {"steps": 1, "batch_size": 1}}
    sections = {
        "data": {},
        "model": {},
        "evaluate": {},
        "compute": {},
        "train": {"stage1": stage, "stage2": stage},
    }
    return parse_params({**sections, "backends": list(backends), "backend": backends})


def test_backends_are_found_by_kind():
    assert "wav2lip" in BACKENDS
    assert get_backend("wav2lip").kind == "wav2lip"
    assert is_trainable(get_backend("wav2lip"))


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(KPBEError, match=r"'wave2lip'.*wav2lip"):
        backend_of(params(mine={"kind": "wave2lip"}), "mine")


def test_two_backends_may_be_of_one_kind():
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    section = {"kind": "wav2lip", "sync_expert": schedule, "train": schedule}
    both = params(first=section, second={**section, "feed": "video"})
    assert [backend_of(both, name)[1].feed for name in both.backends] == ["source_image", "video"]


def wav2lip(**own: Any) -> dict[str, Any]:
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    return {"kind": "wav2lip", "sync_expert": schedule, "train": schedule, **own}


def test_a_backend_with_anothers_weights_has_its_settings_but_for_its_own():
    borrows = {"kind": "wav2lip", "feed": "video", "weights_of": "first"}
    both = params(first=wav2lip(pads=(0, 7, 0, 0), checkpoint="public.pth"), second=borrows)
    settings = backend_of(both, "second")[1]
    assert (settings.feed, settings.weights_of, settings.pads) == ("video", "first", (0, 7, 0, 0))
    assert settings.checkpoint is None
    assert backend_of(both, "first")[1].feed == "source_image"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (
            {"weights_of": "third"},
            r"weights_of is third, which is no other backend: name one of first, other, chain, or",
        ),
        ({"weights_of": "mine"}, "weights_of is mine, which is no other backend"),
        ({"weights_of": ["first"]}, "which is no other backend"),
        (
            {"weights_of": "other"},
            "weights_of is other, whose kind is folder: a backend of kind wav2lip needs",
        ),
        ({"weights_of": "chain"}, "weights_of is chain, which uses those of first itself: name that one"),
        ({"weights_of": "first", "checkpoint": "a.pth"}, "cannot have a checkpoint of its own"),
    ],
)
def test_weights_of_no_trained_backend_of_the_same_kind_are_refused(own, words):
    others = {
        "first": wav2lip(),
        "other": {"kind": "folder", "folder": "videos"},
        "chain": {"kind": "wav2lip", "weights_of": "first"},
    }
    with pytest.raises(ParamsError, match=rf"params\.yaml: backend\.mine\..*{words}"):
        backend_of(params(**others, mine={"kind": "wav2lip", **own}), "mine")


def test_a_backend_without_training_has_no_weights_to_lend():
    section = {"kind": "folder", "folder": "videos"}
    with pytest.raises(ParamsError, match="needs a trained one of its own kind"):
        backend_of(params(first=section, mine={**section, "weights_of": "first"}), "mine")


def test_wrong_settings_are_named_with_their_place_in_the_file():
    with pytest.raises(ParamsError, match=r"backend\.mine\.kind is missing"):
        backend_of(params(mine={}), "mine")
    with pytest.raises(
        ParamsError, match=r"backend\.mine\.train is missing.*backend\.mine\.pad is not a known key"
    ):
        backend_of(params(mine={"kind": "wav2lip", "pad": 3}), "mine")
    with pytest.raises(ParamsError, match=r"no section backend\.other: it has mine"):
        backend_of(params(mine={}), "other")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["mine", "mine"], "names a backend twice"),
        (["../mine"], "they name folders"),
        (["mine", "other"], "no section other, but backends names it: add conf/backend/other.yaml"),
    ],
)
def test_the_list_of_backends_is_checked(names, words):
    values = params(mine={"kind": "wav2lip"}).model_dump(mode="json")
    with pytest.raises(ParamsError, match=words):
        parse_params({**values, "backends": names})


@pytest.mark.parametrize(
    ("samples", "fps", "frames"), [(16000, 25, 25), (3199, 25, 5), (41000, 25, 64), (16000, 29.97, 30)]
)
def test_output_covers_the_audio(samples, fps, frames):
    assert SynthesisRequest("clip", [], np.zeros(samples, np.float32), fps).frames == frames
