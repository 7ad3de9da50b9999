"""How a block is best predicted from two references: their weights, or one alone.

The search finds motion towards either reference. Where one of them shows something else, the best that it
offers is still costly to describe and gains little beside the other: there its motion is left as expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.encoder.motion.matching import damped
from bcodec.encoder.motion.search import WHOLE, least_bits, neighbours
from bcodec.encoder.motion.sheet import Sheet, origins_of
from bcodec.encoder.worth import CHROMA, LUMA
from bcodec.fixedpoint import PICTURE, downsample, snap, upsample, warp
from bcodec.frame import LEVELS, MIDDLE
from bcodec.networks.context import SIXTEENTH
from bcodec.networks.layers import fuse
from bcodec.networks.motion.blocks import MACROBLOCK, MOTION_BLOCK

ONE_WAY = 5.0  # bits that it takes to say that one reference is to be ignored
ROUNDS = 4
RIDGE = 1e-3  # squared difference (4 in 8-bit units) below which either reference will do


class Weighed(NamedTuple):
    """Two references along motion, and how they are best weighed against each other."""

    pictures: tuple[Tensor, Tensor]  # [B, 6, H/2, W/2], past and future
    preference: Tensor  # [B, 1, H/8, W/8]
    energy: Tensor  # [B, 1, H/8, W/8], mean squared difference of the two

    @property
    def mean(self) -> Tensor:
        """The prediction that the preference alone makes of them, [B, 6, H/2, W/2]."""
        return fuse(2 * upsample(self.preference, MOTION_BLOCK // 2), *self.pictures)


class View(NamedTuple):
    """A reference, as vectors are chosen by it."""

    chroma: Tensor  # [B, 2, H/2, W/2]
    quarter_pel: Sheet

    def along(self, field: Tensor) -> Tensor:
        """Its samples along a field [B, 2, H/8, W/8], [B, 6, H/2, W/2].

        As the decoder will see them, but that blocks do not overlap: that is nearly as good, and takes less.
        """
        blocks = self.quarter_pel.blocks(origins_of(field, MOTION_BLOCK), field, MOTION_BLOCK)
        rows = blocks.transpose(2, 3).flatten(3).flatten(1, 2)[:, None]
        bright = F.pixel_unshuffle((rows - MIDDLE) / LEVELS, 2)
        chroma = warp(self.chroma, snap(upsample(field, MOTION_BLOCK // 2) * 0.5, SIXTEENTH), PICTURE)
        return torch.cat([bright, chroma], 1)


def weigh(views: Sequence[View], fields: Sequence[Tensor], source: Tensor) -> Weighed:
    """Past and future along their fields [B, 2, H/8, W/8], weighed to be near the source [B, 6, H/2, W/2]."""
    first, second = (view.along(field) for view, field in zip(views, fields, strict=True))
    return Weighed((first, second), *preference(first, second, source))


def preference(past: Tensor, future: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """2 w - 1 for the weight w of `past`, beside `future`, that is nearest to `source`, for blocks of 8x8.

    All [B, 6, H/2, W/2]; returns [B, 1, H/8, W/8] in [-1, 1], near 0 where the two hardly differ, and the
    mean squared difference of the two.
    """
    weight = torch.tensor([LUMA] * 4 + [CHROMA] * 2, device=source.device).view(1, -1, 1, 1) / 4

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d((x * weight).sum(1, keepdim=True), MOTION_BLOCK // 2)

    difference = past - future
    energy = mean(difference.square())
    return ((2 * mean((source - future) * difference) - energy) / (energy + RIDGE)).clamp(-1, 1), energy


def useful_directions(
    views: Sequence[View],
    found: Sequence[Tensor],
    known: Sequence[Tensor],
    source: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """The fields `found`, [B, 2, H/8, W/8], with those `known` to the decoder where they do not pay.

    `weight` [B, 1, 1, 1] are the absolute differences that a bit is worth. By iterated conditional modes:
    what a vector costs depends on its neighbours.
    """
    seen = weigh(views, found, source)
    both, first, second = (error_bits(p, source, weight) for p in (seen.mean, *seen.pictures))
    whole, expected = ([downsample(field) for field in pair] for pair in (found, known))
    current = whole
    for _ in range(ROUNDS):
        bits = [WHOLE * least_bits(v, (middle(now),)) for v, now in zip(whole, current, strict=True)]
        costs = [both + bits[0] + bits[1], first + bits[0] + ONE_WAY, second + bits[1] + ONE_WAY]
        choice = torch.cat(costs, 1).argmin(1, keepdim=True)
        unused = (choice == 2, choice == 1)
        current = [torch.where(*triple) for triple in zip(unused, expected, whole, strict=True)]
    one, other = (torch.where(upsample(u), k, v) for u, k, v in zip(unused, known, found, strict=True))
    return one, other


def error_bits(picture: Tensor, source: Tensor, weight: Tensor) -> Tensor:
    """The errors of luma in each block of 16x16, in bits as the search counts them, [B, 1, H/16, W/16].

    picture, source [B, 6, H/2, W/2]; weight [B, 1, 1, 1].
    """
    difference = (picture[:, :4] - source[:, :4]).abs().sum(1, keepdim=True)
    total = F.avg_pool2d(difference, MACROBLOCK // 2) * (LEVELS * (MACROBLOCK // 2) ** 2)
    return damped(total, weight, MACROBLOCK) / weight


def middle(field: Tensor) -> Tensor:
    """Median of the four neighbours of each block [B, 2, h, w], as the decoder expects a vector."""
    ordered = torch.stack(list(neighbours(field))).sort(0).values
    return ordered[1:3].mean(0)
