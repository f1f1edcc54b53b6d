"""The detector `sfd` gives the numbers of the S3FD that Wav2Lip ships (fixture s3fd).

Wav2Lip gives its network RGB frames; face-alignment gives it BGR, the order of its training. The fixture's
frames, which it calls BGR, are therefore used as RGB here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kpbe.checkpoints.catalogue import CATALOGUE
from kpbe.data.faces import get_detector

HEADS = 2e-4
PIXELS = 0.05


@pytest.fixture(scope="module")
def detector(golden, tmp_path_factory):
    weights = golden.load_filled("s3fd", golden.shapes("s3fd"))
    folder = tmp_path_factory.mktemp("weights")
    torch.save(
        {name: torch.from_numpy(np.array(w)) for name, w in weights.items()}, folder / CATALOGUE["sfd"].file
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPBE_WEIGHTS", str(folder))
        return get_detector("sfd")


@pytest.fixture(scope="module")
def frames(golden) -> list[np.ndarray]:
    label = golden("s3fd")["input_label"]
    return [golden.fill.image(f"s3fd/{n}/{label}", 192, 256, max_cycles=10.0) for n in range(2)]


def _network(detector):
    return detector._detector._network.face_detector


def test_the_network_has_the_public_files_names(golden, detector) -> None:
    state = _network(detector).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == golden.shapes("s3fd")


def test_heads(golden, detector, frames) -> None:
    batch = torch.from_numpy(np.stack(frames)[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        outputs = _network(detector)(batch - torch.tensor([104.0, 117.0, 123.0])[:, None, None])
    fixture = golden("s3fd")
    for scale in range(6):
        golden.compare(fixture, f"conf_{scale}", outputs[2 * scale], HEADS)
        golden.compare(fixture, f"loc_{scale}", outputs[2 * scale + 1], HEADS)


def test_boxes(golden, detector, frames) -> None:
    fixture = golden("s3fd")
    found = [detector.detect(frame) for frame in frames]
    for key, boxes in (
        ("detections_0", found[0]),
        ("detections_1", found[1]),
        ("detections_single_0", found[0]),
    ):
        expected = fixture[key][np.argsort(-fixture[key][:, 4], kind="stable")]
        assert boxes.shape == expected.shape
        np.testing.assert_allclose(boxes[:, 4], expected[:, 4], atol=1e-4)
        for row in expected:  # boxes of nearly the same score may change places
            assert np.abs(boxes - row).max(1).min() < PIXELS
    first = np.stack([np.maximum(boxes[0, :4], 0).astype(int) for boxes in found])
    np.testing.assert_allclose(first, fixture["first_boxes_int"], atol=1)
