"""Blocks compared along motion: what the encoder's search and the decoder's motion prediction share.

Vectors are (x, y) in luma samples, one for each block of 8x8, [B, 2, H/8, W/8]; a vector points from a
position in the current frame to the matching position in a reference. Luma planes are [B, 1, H, W] in units
of one 8-bit level. Everything here is integer arithmetic on dyadic numbers, the same on every machine.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import Grid, downsample, snap, upsample

MOTION_BLOCK = 8  # luma samples a side, of what has a vector of its own
MACROBLOCK = 2 * MOTION_BLOCK  # what a position of a latent is for
MISMATCH = Grid(frac=2, bits=9)


class Lattice(NamedTuple):
    """Every so many macroblocks, both down and across, from a first one on."""

    first: int = 0
    every: int = 1

    def of(self, cells: Tensor) -> Tensor:
        """These of all macroblocks, [B, C, H/16, W/16]."""
        return cells[..., self.first :: self.every, self.first :: self.every]

    @cache  # noqa: B019 (there are five lattices, and as many sizes as pictures have)
    def origins(self, blocks: int, size: int, device: torch.device) -> Tensor:
        """First line (or column) of each of so many blocks in a row that lie in these, int32 [N]."""
        inside = MACROBLOCK // size
        cells = self.first + self.every * torch.arange(blocks // inside, dtype=torch.int32, device=device)
        parts = torch.arange(inside, dtype=torch.int32, device=device)
        return (cells[:, None] * MACROBLOCK + parts * size).view(-1)


ALL = Lattice()


def sample(plane: Tensor, vectors: Tensor, pitch: tuple[int, int] = (1, 1)) -> Tensor:
    """plane[position * pitch + vector], borders replicated: [B, 1, H, W], [B, 2, h, w] -> [B, 1, h, w].

    The vectors are integers in samples of `plane`; pitch = (down, across).
    """
    batch, _, height, width = plane.shape
    rows, columns = vectors.shape[2:]
    down = torch.arange(0, rows * pitch[0], pitch[0], device=plane.device, dtype=torch.float32)
    across = torch.arange(0, columns * pitch[1], pitch[1], device=plane.device, dtype=torch.float32)
    x = (vectors[:, 0] + across).clamp_(0, width - 1)
    y = (vectors[:, 1] + down[:, None]).clamp_(0, height - 1)
    index = y.mul_(width).add_(x).long().view(batch, -1)
    return plane.reshape(batch, -1).gather(1, index).view(batch, 1, rows, columns)


def sample_blocks(plane: Tensor, vectors: Tensor, size: int, lattice: Lattice = ALL) -> Tensor:
    """Samples along one vector for each block of size x size in the cells of a lattice, borders replicated.

    plane [B, 1, 4 H, 4 W] at quarter samples; vectors [B, 2, h, w] in luma samples, multiples of 1/4 ->
    float32 [B, h, w, size, size].
    """
    down, across = (4 * lattice.origins(side, size, plane.device) for side in vectors.shape[2:])
    vectors = torch.round(vectors * 4).to(torch.int32)
    first = torch.arange(len(plane), dtype=torch.int32, device=plane.device).view(-1, 1, 1)
    return _squares(plane, first, vectors[:, 1] + down[:, None], vectors[:, 0] + across, size)


def sample_blocks_at(plane: Tensor, vectors: Tensor, size: int, places: tuple[Tensor, ...]) -> Tensor:
    """Of what `sample_blocks` gives the blocks at `places` (three of [N]), [N, size, size]."""
    batch, down, across = (place.to(torch.int32) for place in places)
    one = torch.round(vectors.permute(0, 2, 3, 1)[places] * 4).to(torch.int32)
    return _squares(plane, batch, one[:, 1] + 4 * size * down, one[:, 0] + 4 * size * across, size)


def _squares(plane: Tensor, batch: Tensor, y: Tensor, x: Tensor, size: int) -> Tensor:
    """Every fourth sample of a plane [B, 1, 4 H, 4 W] from (y, x) [..], both ways; borders replicated."""
    height, width = plane.shape[2:]
    side = 4 * torch.arange(size, dtype=torch.int32, device=plane.device)
    y = (y[..., None] + side).clamp_(0, height - 1).add_(batch[..., None] * height)
    x = (x[..., None] + side).clamp_(0, width - 1)
    index = y.mul_(width)[..., None] + x[..., None, :]
    return plane.reshape(-1).index_select(0, index.view(-1)).view(index.shape).float()


def windowed_sad(difference: Tensor, rows: int, columns: int) -> Tensor:
    """Sum of absolute differences over blocks of rows x columns and, less, those around each, [B, 1, h, w].

    Overlapping windows (weights 4, 2, 1 on the block, its sides, its corners) keep the field smooth.
    """
    sums = F.avg_pool2d(difference.abs_(), (rows, columns)) * (rows * columns)
    padded = F.pad(sums, (1, 1, 1, 1), mode="replicate")
    high = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return high[..., :-2] + 2 * high[..., 1:-1] + high[..., 2:]


def mismatch(past: Tensor, future: Tensor, to_past: Tensor, to_future: Tensor) -> Tensor:
    """How far two references differ along motion through the frame between them, [B, 1, H/8, W/8].

    A mean absolute difference in 8-bit units over overlapping windows, at half resolution, a multiple of 1/4
    below 64.
    """
    one, other = (
        sample(downsample(plane), upsample(torch.round(field * 0.5), MOTION_BLOCK // 2))
        for plane, field in ((past, to_past), (future, to_future))
    )
    return snap(
        windowed_sad(one - other, MOTION_BLOCK // 2, MOTION_BLOCK // 2)
        * (1 / (16 * (MOTION_BLOCK // 2) ** 2)),
        MISMATCH,
    )
