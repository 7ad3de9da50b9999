"""Which references a block is predicted from: both, or one alone. Encoder only.

The search finds motion towards either reference. Where one of them shows something else, the best that it
offers is still costly to describe and gains little beside the other: there its motion is left as expected.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import downsample, upsample
from bcodec.networks.matching import BLOCK, CELL
from bcodec.networks.search import KNEE, WHOLE, least_bits, neighbours

LEVELS = 64  # 8-bit levels in a unit of the pixel grid
ONE_WAY = 5.0  # bits that it takes to say that one reference is to be ignored
ROUNDS = 4


def useful_directions(  # noqa: PLR0917
    found: Sequence[Tensor],
    known: Sequence[Tensor],
    pictures: Sequence[Tensor],
    mean: Tensor,
    source: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """The fields `found`, [B, 2, H/8, W/8], with those `known` to the decoder where they do not pay.

    `pictures` are the references along `found` and `mean` their weighted mean, all [B, 6, H/2, W/2];
    `weight` [B, 1, 1, 1] are the absolute differences that a bit is worth. By iterated conditional modes:
    what a vector costs depends on its neighbours.
    """
    both, first, second = (error_bits(p, source, weight) for p in (mean, *pictures))
    whole, expected = ([downsample(field) for field in pair] for pair in (found, known))
    current = whole
    for _ in range(ROUNDS):
        bits = [WHOLE * least_bits(v, (middle(now),)) for v, now in zip(whole, current, strict=True)]
        costs = [both + bits[0] + bits[1], first + bits[0] + ONE_WAY, second + bits[1] + ONE_WAY]
        choice = torch.cat(costs, 1).argmin(1, keepdim=True)
        unused = (choice == 2, choice == 1)
        current = [torch.where(*triple) for triple in zip(unused, expected, whole, strict=True)]
    past, future = (torch.where(upsample(u), k, v) for u, k, v in zip(unused, known, found, strict=True))
    return past, future


def error_bits(picture: Tensor, source: Tensor, weight: Tensor) -> Tensor:
    """What the luma of each block of 16x16 has of errors, in bits as the search counts them."""
    difference = (picture[:, :4] - source[:, :4]).abs().sum(1, keepdim=True)
    total = F.avg_pool2d(difference, CELL // 2) * (LEVELS * (CELL // 2) ** 2)
    knee = KNEE * (CELL // BLOCK) ** 2
    return torch.log1p(total / (weight * knee)) * knee


def middle(field: Tensor) -> Tensor:
    """Median of the four neighbours of each block, as the decoder expects a vector."""
    ordered = torch.stack(list(neighbours(field))).sort(0).values
    return ordered[1:3].mean(0)
