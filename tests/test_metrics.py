"""Metrics against values known from elsewhere."""

import math

import numpy as np
import pytest

from bcodec.metrics import Plane, Quality, bd_rate, bits_per_pixel, ms_ssim, psnr

# Example curves of Bjontegaard's spreadsheet (VCEG-M33): kbit/s, dB.
ANCHOR = [686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]
TEST = [893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]

MS_SSIM_BY_SCIPY = 0.9807749065215359  # of plane(0), plane(1); windows by scipy.ndimage.correlate1d


def plane(seed: int, shape: tuple[int, int] = (192, 208)) -> Plane:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = 128 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    grain = np.random.default_rng(seed).integers(-8, 9, shape)
    samples: Plane = np.clip(waves + grain, 0, 255).astype(np.uint8)
    return samples


def test_psnr_of_a_known_error() -> None:
    a = np.full((8, 8), 100, np.uint8)
    assert psnr(a, a + np.uint8(5)) == pytest.approx(10 * math.log10(255**2 / 25), abs=1e-12)
    assert psnr(a + np.uint8(5), a) == psnr(a, a + np.uint8(5))
    assert psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)) == 0


def test_ten_bits_have_a_peak_of_1023() -> None:
    a = np.full((8, 8), 400, np.uint16)
    assert psnr(a, a + np.uint16(20)) == pytest.approx(10 * math.log10(1023**2 / 400), abs=1e-12)
    assert psnr(np.zeros((4, 4), np.uint16), np.full((4, 4), 1023, np.uint16)) == 0


def test_quality_is_nearly_the_same_number_at_either_depth() -> None:
    deep = [plane(seed).astype(np.uint16) * np.uint16(4) for seed in (0, 1)]
    assert psnr(*deep) == pytest.approx(psnr(plane(0), plane(1)) + 20 * math.log10(1023 / 1020), abs=1e-9)
    assert ms_ssim(*deep) == pytest.approx(ms_ssim(plane(0), plane(1)), abs=1e-4)


def test_psnr_of_equal_planes_is_100() -> None:
    assert psnr(plane(0), plane(0)) == 100


def test_planes_of_different_shape_do_not_compare() -> None:
    for measure in (psnr, ms_ssim):
        with pytest.raises(ValueError, match="do not compare"):
            measure(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
        with pytest.raises(ValueError, match="do not compare"):
            measure(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16))


def test_ms_ssim_of_equal_planes_is_1() -> None:
    assert ms_ssim(plane(0), plane(0)) == 1


def test_ms_ssim_agrees_with_the_scipy_implementation() -> None:
    assert ms_ssim(plane(0), plane(1)) == pytest.approx(MS_SSIM_BY_SCIPY, abs=1e-6)


def test_ms_ssim_is_unknown_for_small_planes() -> None:
    assert math.isnan(ms_ssim(plane(0, (175, 400)), plane(1, (175, 400))))
    assert not math.isnan(ms_ssim(plane(0, (176, 176)), plane(1, (176, 176))))


def test_quality_weighs_planes_6_1_1() -> None:
    assert Quality(40, 44, 48).psnr_yuv == (6 * 40 + 44 + 48) / 8


def test_quality_of_a_picture_is_that_of_its_planes() -> None:
    a, b = [plane(0), plane(1), plane(2)], [plane(3), plane(1), plane(4)]
    quality = Quality.of(a, b, with_ms_ssim=True)
    assert quality == Quality(psnr(a[0], b[0]), 100, psnr(a[2], b[2]), ms_ssim(a[0], b[0]))
    assert math.isnan(Quality.of(a, b).ms_ssim)


def test_mean_quality_averages_decibels() -> None:
    mean = Quality.mean([Quality(30, 40, 50, 0.9), Quality(40, 42, 54, 0.7)])
    assert mean[:4] == pytest.approx((35, 41, 52, 0.8))
    with pytest.raises(ValueError, match="no frames"):
        Quality.mean([])


def test_bits_per_pixel() -> None:
    assert bits_per_pixel(100, 10, 8, 5) == 2


def test_bd_rate_agrees_with_the_bjontegaard_package() -> None:
    # bjontegaard.bd_rate(..., method="pchip"); its cubic and Akima give 31.40 and 31.38.
    assert bd_rate(*ANCHOR, *TEST) == pytest.approx(31.379878202397627, abs=1e-9)


def test_bd_rate_of_a_curve_against_itself_is_0() -> None:
    assert bd_rate(*ANCHOR, *ANCHOR) == 0


def test_bd_rate_of_twice_the_rate_is_100_percent() -> None:
    assert bd_rate(*ANCHOR, [2 * rate for rate in ANCHOR[0]], ANCHOR[1]) == pytest.approx(100)


def test_bd_rate_leaves_out_points_that_spend_more_for_less() -> None:
    rates, qualities = [*ANCHOR[0], 900.0], [*ANCHOR[1], 39.0]
    assert bd_rate(rates, qualities, *TEST) == bd_rate(*ANCHOR, *TEST)


def test_bd_rate_is_unknown_without_overlap_or_points() -> None:
    assert math.isnan(bd_rate(*ANCHOR, TEST[0], [quality + 20 for quality in TEST[1]]))
    assert math.isnan(bd_rate(*ANCHOR, TEST[0][:3], TEST[1][:3]))
