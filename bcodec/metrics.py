"""Distortion and rate: PSNR, MS-SSIM, bits per pixel, Bjontegaard rate change."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.uint8 | np.uint16]
Singles: TypeAlias = npt.NDArray[np.float32]
Floats: TypeAlias = npt.NDArray[np.float64]

PSNR_OF_EQUAL = 100.0  # dB
PEAKS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 1023}  # of samples of 8 and of 10 bits
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, fine to coarse
MS_SSIM_MIN_SIDE = 176  # 11 taps << 4: below it the coarsest scale has no whole window
BD_MIN_POINTS = 4
_BELL = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
WINDOW = (_BELL / _BELL.sum()).astype(np.float32)  # 11 taps, sigma 1.5


class Quality(NamedTuple):
    """Nearness of a picture to its source; what was not measured is nan.

    PSNR and XPSNR per plane in dB, MS-SSIM and SSIM of luma (1 if equal), VMAF (0 to 100).
    """

    psnr_y: float
    psnr_u: float
    psnr_v: float
    ms_ssim: float = math.nan
    ssim: float = math.nan
    xpsnr_y: float = math.nan
    xpsnr_u: float = math.nan
    xpsnr_v: float = math.nan
    vmaf: float = math.nan

    @property
    def planes(self) -> tuple[float, float, float]:
        """PSNR of Y, U and V, in dB."""
        return self.psnr_y, self.psnr_u, self.psnr_v

    @property
    def psnr_yuv(self) -> float:
        """Weigh the planes 6:1:1, in dB (the convention of JVET for 4:2:0)."""
        return (6 * self.psnr_y + self.psnr_u + self.psnr_v) / 8

    @property
    def xpsnr_yuv(self) -> float:
        """Weigh the planes 6:1:1, in dB, as PSNR."""
        return (6 * self.xpsnr_y + self.xpsnr_u + self.xpsnr_v) / 8

    @classmethod
    def of(cls, source: Iterable[Plane], decoded: Iterable[Plane], *, with_ms_ssim: bool = False) -> Self:
        """Compare the planes (Y, U, V) of one picture, each [H, W]; ValueError if shapes or depths differ."""
        pairs = list(zip(source, decoded, strict=True))
        y, u, v = (psnr(a, b) for a, b in pairs)
        return cls(y, u, v, ms_ssim(*pairs[0]) if with_ms_ssim else math.nan)

    @classmethod
    def mean(cls, qualities: Iterable[Self]) -> Self:
        """Average each value over frames (of PSNR the decibels, not the errors); ValueError for none."""
        rows = list(qualities)
        if not rows:
            raise ValueError("no frames to average")
        return cls(*np.mean(rows, axis=0).tolist())


def psnr(a: Plane, b: Plane) -> float:
    """Give the PSNR of two planes [H, W] of 8-bit (uint8) or 10-bit (uint16) samples in dB, 100 if equal.

    10 log10(peak^2 / MSE), where the peak is 255 or 1023. Raises ValueError if shapes or depths differ.
    """
    peak = _peak_of_both(a, b)
    error = a.astype(np.int32) - b.astype(np.int32)
    mse = float(np.mean(error * error, dtype=np.float64))
    return PSNR_OF_EQUAL if mse == 0 else 10 * math.log10(peak**2 / mse)


def mean_squared_error(psnr: float) -> float:
    """What `psnr` was made of, in squared 8-bit levels (255ths of the peak); nearly 0 for equal planes."""
    return float(255**2 / 10 ** (psnr / 10))


def ms_ssim(a: Plane, b: Plane) -> float:
    """Give the multi-scale structural similarity of two planes [H, W] as of `psnr`: 0 to 1, 1 if equal.

    nan if a side is below 176. Raises ValueError if shapes or depths differ.
    Source: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", 2003.
    """
    peak = _peak_of_both(a, b)
    if min(a.shape) < MS_SSIM_MIN_SIDE:
        return math.nan
    # Centred on 0, float32 loses nothing that matters in the differences below.
    middle = (peak + 1) // 2
    x, y = a.astype(np.float32) - middle, b.astype(np.float32) - middle
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    result = 1.0
    for scale, weight in enumerate(MS_SSIM_WEIGHTS, start=1):
        mx, my = _blur(x), _blur(y)
        vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
        similarity = (2 * vxy + c2) / (vx + vy + c2)
        if scale == len(MS_SSIM_WEIGHTS):  # luminance counts at the coarsest scale only
            mx, my = mx + middle, my + middle
            similarity *= (2 * mx * my + c1) / (mx * mx + my * my + c1)
        result *= max(float(np.mean(similarity, dtype=np.float64)), 0.0) ** weight
        x, y = _halve(x), _halve(y)
    return result


def bits_per_pixel(size: int, width: int, height: int, frames: int) -> float:
    """Spread the bits of a file of `size` bytes over the luma samples of `frames` pictures."""
    return size * 8 / (width * height * frames)


def bd_rate(
    anchor_rates: Sequence[float],
    anchor_qualities: Sequence[float],
    test_rates: Sequence[float],
    test_qualities: Sequence[float],
) -> float:
    """Give the mean change of rate at equal quality from anchor to test, in percent; below 0, test is better.

    Of each curve as many rates as qualities, point by point in any order: rates positive and of one unit,
    qualities of one scale (usually dB). Points that spend more for no more quality are left out. nan if a
    curve then has fewer than four points, or if the two share no range of quality.

    Sources: Bjontegaard, VCEG-M33, 2001 (the mean difference of log rate over the shared range of quality);
    ITU-T HSTP-VID-WPOM, 2020 (piecewise cubic instead of one polynomial).
    """
    curves = [_rising(anchor_rates, anchor_qualities), _rising(test_rates, test_qualities)]
    if min(len(quality) for quality, _ in curves) < BD_MIN_POINTS:
        return math.nan
    low = max(quality[0] for quality, _ in curves)
    high = min(quality[-1] for quality, _ in curves)
    if low >= high:
        return math.nan
    anchor, test = (_integral(quality, log_rate, low, high) for quality, log_rate in curves)
    return 100 * math.expm1((test - anchor) / (high - low))


def _peak_of_both(a: Plane, b: Plane) -> int:
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"planes {a.dtype} {a.shape} and {b.dtype} {b.shape} do not compare")
    return PEAKS[a.dtype]


def _blur(x: Singles) -> Singles:
    """Weigh each whole 11x11 window by a Gaussian; sides shrink by 10."""
    rows, columns = x.shape[0] - len(WINDOW) + 1, x.shape[1] - len(WINDOW) + 1
    tall = np.zeros((rows, x.shape[1]), np.float32)
    wide = np.zeros((rows, columns), np.float32)
    for i, tap in enumerate(WINDOW):
        tall += tap * x[i : i + rows]
    for i, tap in enumerate(WINDOW):
        wide += tap * tall[:, i : i + columns]
    return wide


def _halve(x: Singles) -> Singles:
    """Average each 2x2 block; an odd last row or column is dropped."""
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    halved: Singles = (x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]) * np.float32(0.25)
    return halved


def _rising(rates: Sequence[float], qualities: Sequence[float]) -> tuple[Floats, Floats]:
    """Give (quality, log rate) by rate, less the points that spend more for no more quality."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities, strict=True), key=lambda p: (p[0], -p[1])):
        if not kept or quality > kept[-1][0]:
            kept.append((quality, math.log(rate)))
    return np.array([q for q, _ in kept]), np.array([r for _, r in kept])


def _integral(x: Floats, y: Floats, low: float, high: float) -> float:
    """Integrate the curve through the points (x, y) from low to high, both within x."""
    edges = np.concatenate(([low], x[(x > low) & (x < high)], [high]))
    left, right = edges[:-1], edges[1:]
    # Simpson's rule is exact for a cubic, and there is one cubic between neighbouring edges.
    ends = _pchip(x, y, left) + _pchip(x, y, right)
    return float(np.sum((right - left) / 6 * (ends + 4 * _pchip(x, y, (left + right) / 2))))


def _pchip(x: Floats, y: Floats, at: Floats) -> Floats:
    """Evaluate the monotone piecewise cubic through (x, y), x rising, at points within x."""
    slope = _pchip_slopes(x, y)
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    h = x[i + 1] - x[i]
    t = (at - x[i]) / h
    value: Floats = (
        y[i] * (1 + 2 * t) * (1 - t) ** 2
        + y[i + 1] * t**2 * (3 - 2 * t)
        + h * t * (1 - t) * (slope[i] * (1 - t) - slope[i + 1] * t)
    )
    return value


def _pchip_slopes(x: Floats, y: Floats) -> Floats:
    """Give the slope at each of three or more points.

    Sources: Fritsch, Butland, "A method for constructing local monotone piecewise cubic interpolants", 1984
    (inner points); Moler, "Numerical Computing with MATLAB", 2004, section 3.6 (the two ends).
    """
    h = np.diff(x)
    d = np.diff(y) / h
    slopes = np.zeros_like(y)
    same_sign = d[:-1] * d[1:] > 0
    before, after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        harmonic = (before + after) / (before / d[:-1] + after / d[1:])
    slopes[1:-1] = np.where(same_sign, harmonic, 0.0)
    slopes[0] = _end_slope(h[0], h[1], d[0], d[1])
    slopes[-1] = _end_slope(h[-1], h[-2], d[-1], d[-2])
    return slopes


def _end_slope(h0: float, h1: float, d0: float, d1: float) -> float:
    """One-sided three-point slope at an end, bent where needed to keep the shape of the data."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if slope * d0 <= 0:
        return 0.0
    if d0 * d1 < 0 and abs(slope) > abs(3 * d0):
        return 3 * d0
    return slope
