"""The stages enhance and evaluate use the folders of their own backend, never another's videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import enhance as enhance_flow
from flows import evaluate as evaluate_flow
from flows.stage import StageContext
from kpbe import paths
from kpbe.checkpoints import catalogue
from kpbe.core.processes import serial_map
from kpbe.evaluation import evaluate
from kpbe.inference import enhance
from kpbe.params import load_params

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("backend", ["wav2lip", "pcavs"])
def test_a_backend_is_enhanced_and_scored_by_its_own_folders(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: dict[str, tuple[Any, ...]] = {}
    monkeypatch.setattr(enhance, "enhance_clips", lambda *given, map: handed.update(enhance=given))
    monkeypatch.setattr(evaluate, "evaluate", lambda *given, map: handed.update(evaluate=given))
    monkeypatch.setattr(catalogue, "trained_weights", lambda folder: folder / "frontend.safetensors")
    params = load_params(REPOSITORY / "params.yaml")
    context = StageContext(params, backend, serial_map)
    videos, enhanced = paths.BACKEND_VIDEOS / backend, paths.ENHANCED_VIDEOS / backend
    assert enhance_flow.enhance(context) == enhanced
    checkpoint = paths.STAGE2 / backend / "frontend.safetensors"
    assert handed["enhance"] == (backend, params, paths.CLIPS, videos, checkpoint, enhanced)
    out = paths.EVALUATION / backend
    assert evaluate_flow.evaluate(context) == out
    assert handed["evaluate"] == (backend, params, paths.CLIPS, videos, enhanced, out)
