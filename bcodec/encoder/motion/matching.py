"""What is wrong with blocks that are predicted along vectors, in absolute differences.

What their sum is for normal errors of as much energy: it finds better vectors than the sum itself. All
samples are compared: with every other one fine texture is found in wrong places (measured: E132).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bcodec.cells import Cells
from bcodec.encoder.motion.sheet import Sheet, origins_of, spread
from bcodec.networks.motion.blocks import MACROBLOCK, MOTION_BLOCK

GAUSSIAN = 0.8  # mean absolute deviation of a normal distribution of deviation 1
KNEE = 60.0  # bits in a block of 8x8 from which on its errors count less and less

Cost = Callable[[Tensor], Tensor]  # of vectors [.., B, 2, h, w] in each block, [.., B, 1, h, w]


class Target(NamedTuple):
    """What is to be matched: the current luma, and the reference."""

    current: Sheet  # of whole samples
    quarter_pel: Sheet
    weight: Tensor  # [B, 1, 1, 1], absolute differences that a bit is worth

    def blocks(self, size: int, field: Tensor, cells: Cells | None = None) -> Matching:
        """The blocks of size x size, 16 or 8, all or those in cells; `field` [B, C, H/size, W/size] any."""
        origins = origins_of(field, size)
        if cells:
            origins = cells.of(origins) if size == MACROBLOCK else cells.squares_of(origins)
        samples = self.current.blocks(origins, torch.zeros_like(origins[:, :2]), size)
        return Matching(self.quarter_pel, origins, samples, self.weight.view(-1)[origins[:, 2:]])


class Matching(NamedTuple):
    """Blocks of h rows and w columns, which need not lie so in a picture, and the reference."""

    quarter_pel: Sheet
    origins: Tensor  # as `origins_of` gives them, [B, 3, h, w]
    samples: Tensor  # [B, h, w, size, size]
    weight: Tensor  # [B, 1, h, w], absolute differences that a bit is worth

    def distortion(self, vectors: Tensor) -> Tensor:
        """What is wrong in each block, damped: [.., B, 2, h, w] -> [.., B, 1, h, w]."""
        size = self.samples.shape[-1]
        difference = self.quarter_pel.blocks(self.origins, vectors, size).sub_(self.samples)
        root = torch.linalg.vector_norm(difference.flatten(-2), dim=-1) * (GAUSSIAN * size)
        return damped(root.unsqueeze(-3), self.weight, size)


def damped(differences: Tensor, weight: Tensor, size: int) -> Tensor:
    """Absolute differences [B, 1, h, w] of blocks of size x size, large ones counted by their logarithm.

    So do the bits of a residual grow: else, where nothing matches, much motion is coded for little.
    """
    knee = weight * (KNEE * (size / MOTION_BLOCK) ** 2)
    return torch.log1p(differences / knee) * knee


def windowed_errors(currents: Sequence[Tensor], references: Sequence[Tensor]) -> list[Cost]:
    """Sums of absolute differences of all blocks of 8x8 luma samples, in overlapping windows, by level.

    At each level, of halvings of the planes [B, 1, H, W], for vectors [B, 2, H/8, W/8] of its whole samples.
    """
    return [
        _windowed_error(current, reference, MOTION_BLOCK >> level)
        for level, (current, reference) in enumerate(zip(currents, references, strict=True))
    ]


def _windowed_error(current: Tensor, reference: Tensor, size: int) -> Cost:
    sheet, origins = spread(1, reference), origins_of(current[:, :, ::size, ::size], size)
    samples = spread(1, current).blocks(origins, torch.zeros_like(origins[:, :2]), size)

    def error(vectors: Tensor) -> Tensor:
        difference = sheet.blocks(origins, vectors, size).sub_(samples)
        return overlapped(difference.abs_().flatten(-2).sum(-1).unsqueeze(-3))

    return error


def overlapped(errors: Tensor) -> Tensor:
    """Errors of blocks [.., h, w] and, less, of those around each: weights 4, 2, 1 keep a field smooth."""
    for dim in (-2, -1):
        size = errors.shape[dim]
        total = errors * 2
        total.narrow(dim, 1, size - 1).add_(errors.narrow(dim, 0, size - 1))
        total.narrow(dim, 0, size - 1).add_(errors.narrow(dim, 1, size - 1))
        for edge in (0, size - 1):
            total.select(dim, edge).add_(errors.select(dim, edge))
        errors = total
    return errors
