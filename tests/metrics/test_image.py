"""SSIM, PSNR and L1 against scikit-image and the golden evaluation fixture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kpbe.metrics.image import l1, mean_psnr, psnr, ssim, ssim_rgb

WANG: dict[str, Any] = {
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
    "data_range": 255,
}


def luminance(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) @ [0.299, 0.587, 0.114]


@st.composite
def image_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Pictures from flat to noisy, with any offset between them, also saturated ones."""
    height, width = draw(st.integers(11, 40)), draw(st.integers(11, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    level, offset = draw(st.integers(0, 255)), draw(st.integers(-255, 255))
    texture, noise = draw(st.sampled_from([0, 1, 20, 100])), draw(st.sampled_from([0, 1, 10, 80]))
    truth = level + texture * rng.standard_normal((height, width, 3))
    other = truth + offset + noise * rng.standard_normal((height, width, 3))
    first, second = (np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in (truth, other))
    return first, second


@given(image_pairs())
@settings(max_examples=80, deadline=None)
def test_ssim_is_that_of_skimage(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, other = pair
    grey = structural_similarity(luminance(truth), luminance(other), **WANG)
    colour = structural_similarity(truth, other, channel_axis=-1, **WANG)
    assert ssim(truth[None], other[None]).item() == pytest.approx(grey, abs=1e-7)
    assert ssim_rgb(truth[None], other[None]).item() == pytest.approx(colour, abs=1e-7)


@given(image_pairs())
@settings(max_examples=40, deadline=None)
def test_psnr_and_l1_are_those_of_skimage_and_numpy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, other = pair
    expected = np.inf if (truth == other).all() else peak_signal_noise_ratio(truth, other, data_range=255)
    assert psnr(truth[None], other[None]).item() == pytest.approx(expected, abs=1e-9)
    difference = np.abs(truth.astype(int) - other.astype(int)).mean() / 255
    assert l1(truth[None], other[None]).item() == pytest.approx(difference, abs=1e-12)


def test_the_golden_pairs_give_the_golden_numbers(golden: Any) -> None:
    fixture, fill = golden("evaluation"), golden.fill
    for i, (s, t, h, w) in enumerate(fixture["params_s_t_h_w"]):
        height, width, label = int(h), int(w), str(fixture["input_label"])
        texture = fill.image(f"eval/a{i}/{label}", height, width, max_cycles=12).astype(np.float64)
        first = np.rint(texture + 6 * fill.normal(f"eval/t{i}/{label}", (height, width, 3)))
        truth = np.clip(first, 0, 255).astype(np.uint8)
        change = fill.image(f"eval/n{i}/{label}", height, width).astype(np.float64) - 127.5
        second = np.rint(truth + s * change + t * fill.normal(f"eval/z{i}/{label}", (height, width, 3)))
        other = np.clip(second, 0, 255).astype(np.uint8)
        assert truth.mean() == pytest.approx(fixture["mean_a"][i], abs=1e-6), "the input picture differs"
        assert other.mean() == pytest.approx(fixture["mean_b"][i], abs=1e-6), "the input picture differs"
        pair = truth[None], other[None]
        assert ssim(*pair).item() == pytest.approx(fixture["ssim_y601_gaussian"][i], abs=1e-6)
        assert ssim_rgb(*pair).item() == pytest.approx(fixture["ssim_rgb_gaussian"][i], abs=1e-6)
        assert psnr(*pair).item() == pytest.approx(fixture["psnr_rgb"][i], abs=1e-6)
        assert l1(*pair).item() == pytest.approx(fixture["l1_rgb_0_1"][i], abs=1e-6)


def test_uint8_frames_do_not_wrap_around() -> None:
    """0 - 255 is 1 in uint8 arithmetic, which would print 48 dB for the opposite of the truth."""
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert psnr(black, white).item() == pytest.approx(0)
    assert l1(black, white).item() == pytest.approx(1)
    assert ssim(black, white).item() < 0.01


def test_frames_of_a_batch_do_not_mix() -> None:
    rng = np.random.default_rng(0)
    truth, other = rng.integers(0, 256, (2, 5, 20, 24, 3), dtype=np.uint8)
    for metric in (ssim, ssim_rgb, psnr, l1):
        one_by_one = torch.cat([metric(truth[i : i + 1], other[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(metric(truth, other), one_by_one)


def test_number_types_and_argument_order_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    truth, other = rng.integers(0, 256, (2, 2, 20, 24, 3), dtype=np.uint8)
    for metric in (ssim, ssim_rgb, psnr, l1):
        expected = metric(truth, other)
        torch.testing.assert_close(metric(torch.from_numpy(truth), other.astype(np.float32)), expected)
        torch.testing.assert_close(metric(other, truth), expected)


def test_identical_frames_are_perfect_and_left_out_of_the_mean_psnr() -> None:
    truth = np.random.default_rng(2).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    other = truth.copy()
    other[1] ^= 1
    values = psnr(truth, other).numpy()
    assert values[0] == np.inf and ssim(truth, other)[0].item() == pytest.approx(1)
    assert mean_psnr(values) == pytest.approx(values[1])
    assert mean_psnr(values[:1]) == np.inf


@pytest.mark.parametrize(
    ("truth", "other", "reason"),
    [
        (np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 16, 20, 3), np.uint8), "cannot be compared"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((1, 16, 16, 3), np.uint8), "cannot be compared"),
        (np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16, 3), np.uint8), r"\(N,H,W,3\)"),
        (np.zeros((1, 3, 16, 16), np.uint8), np.zeros((1, 3, 16, 16), np.uint8), r"\(N,H,W,3\)"),
        (np.zeros((0, 16, 16, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8), "at least 1"),
        (np.zeros((1, 16, 16, 3), np.int32), np.zeros((1, 16, 16, 3), np.int32), "uint8 or floating"),
        (np.full((1, 16, 16, 3), 0.5), np.full((1, 16, 16, 3), 0.6), "multiply them by 255"),
        (np.full((1, 16, 16, 3), -1.0), np.full((1, 16, 16, 3), 1.0), r"0\.\.255"),
        (np.full((1, 16, 16, 3), np.nan), np.full((1, 16, 16, 3), 9.0), r"0\.\.255"),
    ],
)
def test_frames_that_would_give_a_wrong_number_are_refused(
    truth: np.ndarray, other: np.ndarray, reason: str
) -> None:
    for metric in (ssim, ssim_rgb, psnr, l1):
        with pytest.raises(ValueError, match=reason):
            metric(truth, other)


def test_ssim_refuses_frames_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="11x11"):
        ssim(np.zeros((1, 10, 30, 3), np.uint8), np.zeros((1, 10, 30, 3), np.uint8))
