"""Building blocks shared by the networks: residual block, changes of resolution, weighted fusion.

Tensors are [B, C, H, W] on the activation grid (multiples of 2^-6, |x| <= 8) unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec import int8
from bcodec.fixedpoint import (
    ACTIVATION,
    EIGHT,
    INT8,
    POSITIVE,
    Conv2d,
    Grid,
    hard_sigmoid,
    snap,
    to_steps,
)

PLANES = 6  # four luma phases, U, V: at half resolution


@dataclass(frozen=True)
class Channels:
    """Widths: features at 1/4, 1/8, 1/16 of the luma resolution, latent y at 1/16, hyper-latent z at 1/64."""

    level1: int = 64
    level2: int = 96
    level3: int = 96
    y: int = 384
    z: int = 64
    motion: int = 32


class Contexts(NamedTuple):
    """What two references and motion towards them say of a frame."""

    predicted: Tensor  # P, [B, 6, H/2, W/2], on the grid PICTURE
    aligned: Tensor  # the two warped pictures that P is made of, [B, 48, H/4, W/4], in whole 8-bit levels
    levels: list[Tensor]  # features [B, C_l, ..] at levels 1, 2, 3


class ResBlock(nn.Module):
    """x + conv(leaky(conv(x))), 3x3 convolutions; starts as the identity."""

    def __init__(self, channels: int, grid: Grid = ACTIVATION) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, activation=True, grid_in=grid, grid_out=grid)
        self.conv2 = Conv2d(channels, channels, zero=True, grid_in=grid, grid_out=grid)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return self.conv2(self.conv1(x, to=self.conv2), residual=x)  # type: ignore[no-any-return]


def entering(layer: Conv2d, parts: Sequence[Tensor]) -> Tensor:
    """Features [B, C, H, W] put together to enter a layer, and only that: maybe in bytes."""
    if layer.takes_bytes and all(int8.serves(part) for part in parts):
        parts = [to_steps(part, layer.grid_in) for part in parts]
    return torch.cat(tuple(parts), 1)


class Pointwise(Conv2d):
    """1x1 convolution in bytes: [B, C_in, H, W] on the grid EIGHT -> [B, C_out, H, W]."""

    def __init__(
        self, c_in: int, c_out: int, *, zero: bool = False, grid_in: Grid = EIGHT, grid_out: Grid = ACTIVATION
    ) -> None:
        super().__init__(c_in, c_out, kernel=1, zero=zero, grid_in=grid_in, grid_out=grid_out, sums=INT8)


def in_turn(layers: nn.Sequential, x: Tensor, *, to: Conv2d | None = None) -> Tensor:
    """What layers make of [B, C, H, W], each of what the one before hands on for it alone (see Conv2d)."""
    inside = [cast(Conv2d, layer) for layer in layers]
    for layer, following in zip(inside, [*inside[1:], to], strict=True):
        x = layer(x, to=following)
    return x


class Depthwise(Conv2d):
    """3x3 convolution of each channel alone, without a sign, [B, C, H, W] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, groups=channels, grid_in=POSITIVE, grid_out=POSITIVE, sums=INT8)
        with torch.no_grad():
            self.weight[:, :, 1, 1] += 0.5


class Down(Conv2d):
    """3x3 convolution of stride 2: [B, C_in, H, W] -> [B, C_out, H/2, W/2]."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, stride=2, activation=True)


class Up(Conv2d):
    """1x1 convolution to 4 times the channels, then pixel shuffle: [B, C_in, H, W] -> [B, C_out, 2H, 2W]."""

    def __init__(self, c_in: int, c_out: int, grid: Grid = ACTIVATION) -> None:
        super().__init__(c_in, 4 * c_out, kernel=1, activation=True, grid_in=grid, grid_out=grid)

    def forward(self, x: Tensor, residual: Tensor | None = None, *, to: Conv2d | None = None) -> Tensor:
        """The layer's output; no residual."""
        return F.pixel_shuffle(super().forward(x), 2)


def fuse(query: Tensor, past: Tensor, future: Tensor, grid: Grid = ACTIVATION) -> Tensor:
    """w past + (1 - w) future with w = hard_sigmoid(query), [B, C, H, W] on a grid.

    `query` broadcasts over the channels; w reaches 0 and 1, so that one reference can be ruled out.
    """
    return snap(torch.lerp(future, past, hard_sigmoid(query).to(past.dtype)), grid)
