"""The size of each block's transform, chosen by about the bits that it takes."""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.cells import Cells, all_cells, cells_where
from bcodec.coding import deviation
from bcodec.entropy.coder import AT_HIGH_RATES
from bcodec.entropy.distributions import information
from bcodec.fixedpoint import LATENT, snap
from bcodec.networks.prior import BlockSizes, SpatialPrior
from bcodec.networks.quincunx import QuincunxPrior

BUSY = 1  # symbols in a block from which on it may be divided
NEVER = 1e6  # bits
SURE = 4.0  # bits that smaller transforms must save by this estimate (measured: E284, E285, E892 to E899)


def turned(sizes: BlockSizes, y: Tensor, number: int) -> Tensor:
    """A latent [B, Y, H, W] with the coefficients of blocks of the smaller size `number`, 1 or 2.

    Weights are rounded: what turning back would miss is turned once more.
    """
    forth, back = (sizes.layers(way)[number - 1] for way in ("forth", "back"))
    with torch.autocast(y.device.type, enabled=False):
        there = forth(y.float())
        return snap(there + forth(snap(y - back(there), LATENT)), LATENT)


class CheapestSizes:
    """The sizes by which the blocks of a latent take least bits; see bcodec.coding.ChosenSizes.

    Smaller ones are tried where there is something to code.
    """

    @torch.no_grad()
    def __init__(
        self, network: SpatialPrior | QuincunxPrior, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]
    ) -> None:
        self.y, self.qstep, self.guess = y, qstep, network.guesser(y, prior, qstep)
        everything = all_cells(y)
        large, symbols = (x.view_as(y[:, :1]) for x in self._costs(0, everything.of(y), everything))
        busy = symbols >= BUSY
        # A GPU tries them everywhere: it would have to be waited for to know where.
        self.cells = cells_where(busy) if y.device.type == "cpu" else everything
        self.sized = [turned(network.sizes, self.cells.of(y), number) for number in (1, 2)]
        medium, small = (torch.full_like(large, NEVER) for _ in self.sized)
        for number, (each, cost) in enumerate(zip(self.sized, (medium, small), strict=True), 1):
            self.cells.put(self._costs(number, each, self.cells)[0], cost)
            cost.masked_fill_(~busy, NEVER)
        divided = torch.minimum(medium, small) + SURE
        self.choices = (large, divided), (large, divided), (medium, small)  # bits without and with each flag

    def _costs(self, number: int, y: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """About the bits that y [1, Y, 1, N] of a size takes, and its symbols, [1, 1, 1, N] each.

        By what the network guesses; with the worth of what is lost.
        """
        mean, index = self.guess(number, y, cells)
        index, step = torch.round(index), cells.of(self.qstep[0].expand_as(self.y))
        ratio = (y.float() - mean) / step
        symbol = torch.where(index > 0, torch.round(ratio), 0.0)
        bits = information(symbol, deviation(index)) + AT_HIGH_RATES * (ratio - symbol).square()
        return bits.sum(1, keepdim=True), symbol.count_nonzero(1)[:, None]

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
        y, here, own = self.y.clone(), self.cells.of(self.y), self.cells.of(size)
        for number, each in enumerate(self.sized, 1):
            here = torch.where(own == number, each, here)
        self.cells.put(here, y)
        return y
