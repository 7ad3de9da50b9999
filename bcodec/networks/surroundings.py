"""What the blocks of an I frame see of those decoded before them, in four turns.

    0 2 0 2
    3 1 3 1    samples in a ring around each block, and how large the coefficients of its neighbours are
    0 2 0 2

Blocks have 16x16 luma samples; H and W are numbers of blocks, and even.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.fixedpoint import snap
from bcodec.networks.blockdct import DCT_BLOCK

AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # the blocks around one
CORNERS, ACROSS, DOWN = (0, 2, 5, 7), (3, 4), (1, 6)  # which of them
SIDES = (16, 8, 8)  # of a block's samples of Y, U and V
DEPTHS = (4, 2)  # of the ring of luma, and of chroma, around it that it sees
COARSE = 4  # samples, along and across, of which it sees the mean in blocks at its corners
CLOSER = 4.0  # what differences between samples are times to enter a layer: an 8-bit level is 1/16 then


class Turn(NamedTuple):
    """Every other block of every other row."""

    number: int
    row: int  # the first
    column: int

    @property
    def rows(self) -> slice:
        """Its rows of blocks."""
        return slice(self.row, None, 2)

    @property
    def columns(self) -> slice:
        """Its columns of blocks."""
        return slice(self.column, None, 2)

    def of(self, field: Tensor) -> Tensor:
        """Of values [.., H, W] of all blocks those of its own, [.., H/2, W/2]; H and W are even."""
        return field[..., self.rows, self.columns]

    def beside(self, field: Tensor, place: int) -> Tensor:
        """The values of blocks AROUND[place] of its own, [.., H/2, W/2], of those of all and one beyond."""
        down, across = AROUND[place]
        rows, columns = (
            slice(1 + first + step, size - 1 + first + step, 2)
            for first, step, size in zip(
                (self.row, self.column), (down, across), field.shape[-2:], strict=True
            )
        )
        return field[..., rows, columns]

    def decoded(self, place: int) -> bool:
        """Whether the blocks AROUND[place] of its own are decoded before."""
        down, across = AROUND[place]
        parity = (self.row + down) % 2, (self.column + across) % 2
        return any(parity == (turn.row, turn.column) for turn in TURNS[: self.number])


TURNS = tuple(Turn(number, *first) for number, first in enumerate(((0, 0), (1, 1), (0, 1), (1, 0))))


class Seen(NamedTuple):
    """What blocks see of what is decoded around them, [B, .., H, W]."""

    samples: Tensor  # less the mean, times CLOSER
    means: Tensor  # [B, 3, H, W], of each plane's samples that touch a block
    magnitudes: Tensor  # [B, 2 C, H, W], of the coefficients across and down, or at the corners
    there: Tensor  # [B, len(AROUND) + len(TURNS), H, W], 0 or 1: which blocks are, and the turn


class Ring(nn.Module):
    """The samples around blocks of one plane."""

    inside: Tensor  # [R], which of a window's samples belong to the ring
    part: Tensor  # [R], number in AROUND of the block that each is of
    share: Tensor  # [R, len(AROUND)], of each in the mean of those that touch, or of a corner

    def __init__(self, side: int, depth: int) -> None:
        super().__init__()
        self.side, self.depth = side, depth
        along = torch.arange(side + 2 * depth)
        zone = (along >= depth).long() + (along >= depth + side)
        block = (3 * zone[:, None] + zone).flatten()
        inside = (block != len(AROUND) // 2).nonzero()[:, 0]
        block = block[inside]
        part = torch.where(block > len(AROUND) // 2, block - 1, block)
        nearest = (along == depth - 1) | (along == depth + side)
        touching = (nearest[:, None] ^ nearest).flatten()[inside]
        share = F.one_hot(part, len(AROUND)).float()
        share[:, ACROSS + DOWN] *= touching[:, None] / side
        share[:, CORNERS] /= depth**2
        for name, constant in (("inside", inside), ("part", part), ("share", share)):
            self.register_buffer(name, constant, persistent=False)

    def forward(self, plane: Tensor, turn: Turn) -> Tensor:
        """[B, P, side (H + 2), side (W + 2)] -> [B, H/2, W/2, P, R]: one block is beyond on every side."""
        window, pitch = self.side + 2 * self.depth, 2 * self.side
        top, left = (self.side * (1 + first) - self.depth for first in (turn.row, turn.column))
        height, width = (size - self.side + self.depth for size in plane.shape[2:])
        windows = plane[:, :, top:height, left:width].unfold(2, window, pitch).unfold(3, window, pitch)
        return windows.permute(0, 2, 3, 1, 4, 5).flatten(4).index_select(4, self.inside)


class Decoded(NamedTuple):
    """What is decoded so far, 0 where nothing is: of all blocks, and one more beyond on every side."""

    luma: Tensor  # [B, 1, 16 (H + 2), 16 (W + 2)], before any filter
    chroma: Tensor  # [B, 2, 8 (H + 2), 8 (W + 2)]
    magnitudes: Tensor  # [B, C, H + 2, W + 2], logarithms of 1 more than coefficients have steps

    @classmethod
    def nothing(cls, like: Tensor) -> Decoded:
        """Of latents [B, C, H, W]."""
        batch, channels, *sizes = like.shape
        rows, columns = (size + 2 for size in sizes)
        luma, chroma = (
            torch.zeros(batch, planes, side * rows, side * columns, device=like.device)
            for planes, side in ((1, SIDES[0]), (2, SIDES[1]))
        )
        return cls(luma, chroma, luma.new_zeros(batch, rows, columns, channels).permute(0, 3, 1, 2))

    def put(self, turn: Turn, samples: Tensor, magnitudes: Tensor) -> None:
        """Note a turn's blocks: samples [B, 384, H/2, W/2], as a block transform has them, and magnitudes."""
        luma = F.pixel_shuffle(F.pixel_shuffle(samples[:, : SIDES[0] ** 2], DCT_BLOCK), 2)
        chroma = F.pixel_shuffle(samples[:, SIDES[0] ** 2 :], DCT_BLOCK)
        rows, columns = samples.shape[2:]
        for plane, own in ((self.luma, luma), (self.chroma, chroma)):
            side = own.shape[2] // rows
            every = plane.view(*plane.shape[:2], -1, side, plane.shape[3] // side, side)
            blocks = own.view(*own.shape[:2], rows, side, columns, side)
            every[:, :, 1 + turn.row : -1 : 2, :, 1 + turn.column : -1 : 2] = blocks
        self.magnitudes[:, :, 1 + turn.row : -1 : 2, 1 + turn.column : -1 : 2] = magnitudes


class Surroundings(nn.Module):
    """What blocks see of what is decoded."""

    plane: Tensor  # [S], of each sample seen
    part: Tensor  # [S], number in AROUND of the block that it is of

    def __init__(self) -> None:
        super().__init__()
        rings = [Ring(side, depth) for side, depth in zip(SIDES, DEPTHS, strict=False)]
        self.rings = nn.ModuleList(rings)
        coarse = [torch.tensor(CORNERS).repeat_interleave((side // COARSE) ** 2) for side in SIDES]
        parts = [rings[0].part, rings[1].part, rings[1].part, *coarse]
        planes = [torch.full_like(part, number % len(SIDES)) for number, part in enumerate(parts)]
        for name, each in (("part", parts), ("plane", planes)):
            self.register_buffer(name, torch.cat(each), persistent=False)

    def pair(self) -> tuple[Ring, Ring]:
        """The rings of luma and of chroma: their samples, of Y, U and V, are the first of those seen."""
        luma, chroma = cast("list[Ring]", list(self.rings))
        return luma, chroma

    def forward(self, decoded: Decoded, turn: Turn) -> Seen:
        """What the blocks of a turn see."""
        inside = torch.zeros_like(decoded.magnitudes[:1, :1])
        inside[:, :, 1:-1, 1:-1] = 1
        there = torch.cat(
            [turn.beside(inside, place) * turn.decoded(place) for place in range(len(AROUND))], 1
        )
        planes = decoded.luma, decoded.chroma
        rings = [ring(plane, turn) for ring, plane in zip(self.rings, planes, strict=True)]
        shares = [each @ ring.share for each, ring in zip(rings, self.rings, strict=True)]
        parts = torch.cat(shares, 3).permute(0, 3, 4, 1, 2) * there[:, None]  # [B, 3, AROUND, H/2, W/2]
        means = _mean_of_sides(parts, there)
        coarse = [_coarse(plane, SIDES[number], turn) for number, plane in enumerate(planes)]
        samples = torch.cat([each.flatten(3) for each in rings] + coarse, 3).permute(0, 3, 1, 2)
        off = (samples - means.index_select(1, self.plane)) * there.index_select(1, self.part)
        numbers = torch.zeros(1, len(TURNS), *there.shape[2:], device=there.device)
        numbers[:, turn.number] = 1
        where = torch.cat([there, numbers], 1).expand(len(samples), -1, -1, -1)
        return Seen(snap(off * CLOSER), means, self._magnitudes(decoded.magnitudes, turn, there), where)

    def _magnitudes(self, magnitudes: Tensor, turn: Turn, there: Tensor) -> Tensor:
        """[B, 2 C, H/2, W/2]: their means over the blocks across and down, or over those at the corners."""
        if turn.number == 0:
            return torch.zeros_like(turn.beside(magnitudes, 0)).repeat(1, 2, 1, 1)
        pairs = (ACROSS, DOWN) if turn.decoded(ACROSS[0]) else (CORNERS, CORNERS)
        seen = []
        for places in pairs:
            own = [turn.beside(magnitudes, place) for place in places]
            seen.append(sum(own[1:], own[0]) / _count(there, places))
        return snap(torch.cat(seen, 1))


def _coarse(plane: Tensor, side: int, turn: Turn) -> Tensor:
    """Means of squares of COARSE in the blocks at the corners: as of Ring, [B, H/2, W/2, ..]."""
    count = side // COARSE
    squares = F.pixel_unshuffle(F.avg_pool2d(plane, COARSE).flatten(0, 1)[:, None], count)
    seen = torch.stack([turn.beside(squares, place) for place in CORNERS], 1)
    return seen.view(len(plane), -1, *seen.shape[3:]).permute(0, 2, 3, 1)


def _total(field: Tensor, places: Sequence[int]) -> Tensor:
    """The sum over the blocks at some places, [.., len(AROUND), H, W] -> [.., H, W]."""
    return torch.stack([field.select(-3, place) for place in places]).sum(0)


def _count(there: Tensor, places: Sequence[int]) -> Tensor:
    """How many of the blocks at some places are there, at least 1, [1, H, W]."""
    return _total(there, places).clamp(min=1)


def _mean_of_sides(parts: Tensor, there: Tensor) -> Tensor:
    """Of means [B, 3, len(AROUND), H, W] that of those across and of those down, or else at the corners."""
    corners, across, down = (
        _total(parts, places) / _count(there, places) for places in (CORNERS, ACROSS, DOWN)
    )
    sides = torch.stack([_total(there, places).clamp(max=1) for places in (ACROSS, DOWN)]).sum(0)
    return torch.where(sides > 0, (across + down) / sides.clamp(min=1), corners)


def interleaved(turns: Sequence[Seen]) -> Seen:
    """What all blocks see, [B, .., H, W], of what those of each turn do."""
    whole = []
    for parts in zip(*turns, strict=True):
        batch, channels, rows, columns = parts[0].shape
        everything = parts[0].new_zeros(batch, channels, 2 * rows, 2 * columns)
        for turn, part in zip(TURNS, parts, strict=True):
            everything[..., turn.rows, turn.columns] = part
        whole.append(everything)
    return Seen(*whole)
