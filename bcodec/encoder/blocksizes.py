"""The size of each block's transform, chosen by about the bits that it takes."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from bcodec.coding import deviation
from bcodec.entropy.distributions import information
from bcodec.fixedpoint import LATENT, snap
from bcodec.networks.latent import Parameters, table_index
from bcodec.networks.prior import BlockSizes, SpatialPrior, one_hot

SURE = 2.0  # bits that smaller transforms must save by this estimate (measured: E284, E285)
SLOPE = 6 / math.log(2)  # bits that a squared error of one quantization step is worth, at high rates


def in_all_sizes(sizes: BlockSizes, y: Tensor) -> list[Tensor]:
    """A latent [B, Y, H/16, W/16] with the coefficients of blocks of each size.

    Weights are rounded: what turning back would miss is turned once more.
    """
    sized = [y]
    with torch.autocast(y.device.type, enabled=False):
        for forth, back in zip(sizes.layers("forth"), sizes.layers("back"), strict=True):
            there = forth(y.float())
            sized.append(snap(there + forth(snap(y - back(there), LATENT)), LATENT))
    return sized


@torch.no_grad()
def costs(
    network: SpatialPrior, sized: list[Tensor], prior: Tensor, qstep: tuple[Tensor, Tensor]
) -> list[Tensor]:
    """About the bits that each size takes, with the worth of what is lost: [B, 1, H/16, W/16] each.

    As if all were coded in the first step.
    """
    step, offset = qstep
    found = []
    for number, y in enumerate(sized):
        kinds = one_hot(torch.full_like(prior[:, :1], number)).to(prior.dtype)
        mean, scale = cast(Parameters, network.steps[0])(network.spread(kinds, residual=prior), kinds)
        index = table_index(scale, offset)
        ratio = (y.float() - mean) / step
        symbol = torch.where(torch.round(index) > 0, torch.round(ratio), 0.0)
        bits = information(symbol, deviation(index)) + SLOPE * (ratio - symbol).square()
        found.append(bits.sum(1, keepdim=True))
    return found


class CheapestSizes:
    """The sizes by which the blocks of a latent take least bits; see bcodec.coding.ChosenSizes."""

    def __init__(self, network: SpatialPrior, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> None:
        self.sized = in_all_sizes(network.sizes, y)
        large, medium, small = costs(network, self.sized, prior, qstep)
        divided = torch.minimum(medium, small) + SURE
        self.choices = (large, divided), (large, divided), (medium, small)  # bits without and with each flag

    @torch.no_grad()
    def flag(self, number: int, mean: Tensor, index: Tensor) -> Tensor:
        """A flag [B, 1, H/16, W/16] by what the block costs without and with it, its own bits included."""
        without, with_it = (
            cost + information(torch.round(value - mean), deviation(index))
            for value, cost in enumerate(self.choices[number])
        )
        return (with_it < without).float()

    def turned(self, size: Tensor) -> Tensor:
        """The latent [B, Y, H/16, W/16] with each block's coefficients of its size [B, 1, H/16, W/16]."""
        y = self.sized[0]
        for number, other in enumerate(self.sized[1:], 1):
            y = torch.where(size == number, other, y)
        return y
