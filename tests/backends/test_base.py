"""The registry."""

from __future__ import annotations

import numpy as np
import pytest

from kpbe.backends.base import SynthesisRequest, backend_kinds, backend_of, get_backend
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
    assert "wav2lip" in backend_kinds()
    assert get_backend("wav2lip").kind == "wav2lip"
    assert get_backend("wav2lip").trainable


def test_an_unknown_kind_is_answered_with_the_known_ones():
    with pytest.raises(KPBEError, match=r"'wave2lip'.*wav2lip"):
        backend_of(params(mine={"kind": "wave2lip"}), "mine")


def test_two_backends_may_be_of_one_kind():
    schedule = {"schedule": {"steps": 1, "batch_size": 1}}
    section = {"kind": "wav2lip", "sync_expert": schedule, "train": schedule}
    both = params(first=section, second={**section, "feed": "video"})
    assert [backend_of(both, name)[1].feed for name in both.backends] == ["source_image", "video"]


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
