"""Block transforms: the DCT that the networks start from, and what turns its blocks into smaller ones.

A latent y has, at each position, the coefficients of a block of 16x16 luma samples with its 8x8 chroma
samples, from low to high frequency, luma and chroma interleaved. Where a block has edges or text, transforms
of smaller blocks need fewer coefficients: `turn` takes y to those of four or sixteen blocks, again ordered by
frequency, so that a channel is of one plane and of about one frequency at any size.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from bcodec.networks.layers import PLANES

DCT_BLOCK = 8  # side of a transform block in half-resolution samples: 16 luma samples
COEFFICIENTS = PLANES * DCT_BLOCK * DCT_BLOCK
TRANSFORM_SIZES = ((16, 8), (8, 4), (4, 4))  # sides of luma and chroma transforms; the first is that of y


def dct_basis(size: int) -> Tensor:
    """Orthonormal DCT-II, [size, size], rows are frequencies, in float64."""
    k = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (k[None, :] + 0.5) * k[:, None]) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def plane_transform(side: int, size: int) -> tuple[Tensor, Tensor]:
    """DCTs of size x size over a square of `side`: orthonormal [side^2, side^2], and frequencies [side^2].

    The means of the blocks are transformed once more. Rows go from low to high frequency (squared, in half
    cycles a square).
    """
    count = side // size
    small, means = (torch.kron(basis, basis) for basis in (dct_basis(size), dct_basis(count)))
    rows = torch.zeros(count, count, size * size, count, size, count, size, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            rows[i, j, :, i, :, j] = small.view(-1, size, size)
    rows = rows.view(count * count, size * size, side * side)
    rows[:, 0] = means @ rows[:, 0]
    across = torch.arange(size).square() * count**2
    frequencies = (across[:, None] + across[None, :]).view(1, -1).repeat(count * count, 1)
    across = torch.arange(count).square()
    frequencies[:, 0] = (across[:, None] + across[None, :]).view(-1)
    order = torch.argsort(frequencies.view(-1), stable=True)
    return rows.view(side * side, -1)[order], frequencies.view(-1)[order]


@cache
def channel_planes() -> tuple[tuple[int, int], ...]:
    """(plane, place) of all channels of y: planes 0, 1, 2 = Y, U, V, and the place within the plane's order.

    Twice the distance from zero frequency for chroma: it is smooth, half of it suffices.
    """
    luma, chroma = plane_transform(2 * DCT_BLOCK, 2 * DCT_BLOCK)[1], plane_transform(DCT_BLOCK, DCT_BLOCK)[1]
    keys = [(int(f), 0, place) for place, f in enumerate(luma)]
    keys += [(4 * int(f), plane, place) for place, f in enumerate(chroma) for plane in (1, 2)]
    return tuple((plane, place) for _, plane, place in sorted(keys))


@cache
def sized_transform(size: tuple[int, int]) -> Tensor:
    """Orthonormal transform [384, 384] of planes Y (256 samples), U, V (64 each) with blocks of `size`."""
    rows = torch.zeros(COEFFICIENTS, COEFFICIENTS, dtype=torch.float64)
    luma, chroma = plane_transform(2 * DCT_BLOCK, size[0])[0], plane_transform(DCT_BLOCK, size[1])[0]
    for row, (plane, place) in zip(rows, channel_planes(), strict=True):
        if plane:
            row[256 + 64 * (plane - 1) : 256 + 64 * plane] = chroma[place]
        else:
            row[:256] = luma[place]
    return rows


def block_transform(c_y: int) -> Tensor:
    """Orthonormal transform [c_y, 384] of an unshuffled block of 16x16: the lowest frequencies."""
    rows = sized_transform(TRANSFORM_SIZES[0])[:c_y]
    luma = rows[:, :256].view(-1, DCT_BLOCK, 2, DCT_BLOCK, 2).permute(0, 2, 4, 1, 3).reshape(c_y, 256)
    return torch.cat([luma, rows[:, 256:]], 1).float()


def turn(c_y: int, size: tuple[int, int]) -> Tensor:
    """Orthonormal [c_y, c_y]: the coefficients of smaller blocks from those of y (exactly, if all are kept).

    The mean of the whole block is the first of either.
    """
    return (sized_transform(size) @ sized_transform(TRANSFORM_SIZES[0]).t())[:c_y, :c_y].float()
