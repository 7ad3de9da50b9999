"""What references are made of: a decoded picture, its quarter samples, and features at three scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import CollocatedMotion, Reference
from bcodec.fixedpoint import SEEN_LATENT, Conv2d, Grid, one_plane, snap, squares_apart
from bcodec.frame import BRIGHTEST, LEVELS, MIDDLE
from bcodec.networks.latent import as_seen
from bcodec.networks.layers import PLANES, Channels, Down

STRIP = 256  # rows that are interpolated at once: large pictures take little memory beside the result
# Interpolation of samples at 0, 1/4, 1/2 and 3/4, in 1/64: H.265, table 8-11.
BEFORE, BEHIND = 3, 4
QUARTERS = Grid(frac=2, bits=10, below=0)  # of a level, up to BRIGHTEST
TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)


def luma(picture: Tensor) -> Tensor:
    """[B, 6, H/2, W/2] -> [B, 1, H, W]."""
    return one_plane(picture[:, :4])


def interpolate(plane: Tensor) -> Tensor:
    """Luma at quarter samples by HEVC's taps, [B, 1, H, W] on the pixel grid -> [B, 1, 4 H, 4 W].

    8-bit levels, multiples of 1/4 up to 255.75, in float16 (exact), or in float32 with a gradient if the
    plane has one. Sums of quarter levels stay below 1023 x 112 x 112 < 2^24: exact.
    """
    padded = F.pad(plane * LEVELS + MIDDLE, (BEFORE, BEHIND, BEFORE, BEHIND), mode="replicate")
    batch, channels, rows, columns = plane.shape
    learns = plane.requires_grad
    quarters = plane.new_empty(
        *(batch, channels, rows, len(TAPS), len(TAPS) * columns),
        dtype=torch.float32 if learns else torch.float16,
    )
    with torch.autocast(plane.device.type, enabled=False):  # on CPUs it knows no float16
        for top in range(0, rows, STRIP):
            levels = _between(padded[:, :, top : top + STRIP + BEFORE + BEHIND])
            for number, level in enumerate(levels):
                rounded = _rounded(level) if learns else snap(level, QUARTERS)
                quarters[:, :, top : top + STRIP, number] = rounded
    return quarters.flatten(2, 3)


def _between(strip: Tensor) -> list[Tensor]:
    """Rows at 0, 1/4, 1/2 and 3/4 of the way down, with what lies between samples; not rounded."""
    across = torch.stack([_filter(strip, 3, taps) for taps in TAPS], 4).flatten(3)
    return [_filter(across, 2, taps) for taps in TAPS]


def _rounded(level: Tensor) -> Tensor:
    """A quarter of a level at most off, with the gradient of the identity."""
    return level + ((torch.round(level.detach() * 4) / 4).clamp(0, BRIGHTEST) - level).detach()


def _filter(x: Tensor, dim: int, taps: Sequence[int]) -> Tensor:
    """Weighted sums along a dimension."""
    size = x.shape[dim] - BEFORE - BEHIND
    (first, tap), *others = ((x.narrow(dim, place, size), tap / 64) for place, tap in enumerate(taps) if tap)
    total = first * tap
    for other, tap in others:
        total = torch.add(total, other, alpha=tap) if x.requires_grad else total.add_(other, alpha=tap)
    return total


class ReferenceFeatures(nn.Module):
    """Multi-scale features of a decoded picture, extracted once."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c1, c2, c3 = channels.level1, channels.level2, channels.level3
        self.level1 = nn.Sequential(Conv2d(4 * PLANES, c1, activation=True), Conv2d(c1, c1, activation=True))
        self.level2 = nn.Sequential(Down(c1, c2), Conv2d(c2, c2, activation=True))
        self.level3 = nn.Sequential(Down(c2, c3), Conv2d(c3, c3, activation=True))
        self.latent = Conv2d(channels.y, c3, kernel=1, activation=True, grid_in=SEEN_LATENT)

    def forward(
        self, picture: Tensor, y_hat: Tensor, qp: Tensor, motion: CollocatedMotion | None = None
    ) -> Reference:
        """The reference made of a finished picture [B, 6, H/2, W/2], its latent and (of a B frame) motion."""
        # Features are made of whole levels: their sums have no room for two bits more.
        one = self.level1(snap(squares_apart(picture)))
        two = self.level2(one)
        features = (one, two, self.level3(two))
        return Reference(
            picture, interpolate(luma(picture).float()), features, self.latent(as_seen(y_hat)), qp, motion
        )
