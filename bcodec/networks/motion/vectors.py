"""Vectors and preferences as channels of a motion latent: a Haar transform on a grid, in fixed steps.

So vectors stay on one grid of quarter samples, and what moves alike is coded as exactly alike. How coarse the
steps are, the encoder decides for each frame: the precision of vectors, as in VVC's adaptive resolution.
Fields are [B, 2, H/8, W/8] = (x, y) in luma samples.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.coding import Part, SymbolCoder
from bcodec.fixedpoint import Grid
from bcodec.networks.latent import scale_offset

FIELD_SCALE = 1 / 8  # from luma samples to activations
QUARTER = Grid(frac=2, bits=12)  # luma samples: [-512, 512) in steps of 1/4
PREFERENCES = Grid(frac=4, bits=6)  # [-2, 2) in steps of 1/16

# Latent channels: the vectors of the four blocks of 8x8 in one of 16x16, first their mean; in branch f also
# the preference between the references, first its mean, and two flags: vectors are rounded to whole samples;
# what is predicted is only the mean of the block.
VECTORS = 8
MEANS = 2
PREFERENCE = slice(8, 12)
FULL_PEL = 12
FLAT = 13
FLAGS = slice(FULL_PEL, FLAT + 1)
EXACT = FLAGS.stop  # so many channels have no network
# What a quarter of a sample, or a preference of 1, is in the latent; means reach 128 luma samples.
QUARTERS = (1 / 32,) * MEANS + (1 / 16,) * (VECTORS - MEANS)
# Quantization steps by the precision of vectors (whole, half, quarter samples): of the vectors' mean and of
# the rest, in quarter samples, and of the preference.
PRECISIONS = ((4, 4, 1.0), (2, 2, 1.0), (1, 2, 0.5))
FINER_FROM = (4, 14)  # the qps from which on vectors usually are of half and of quarter samples
PRECISION_INDEX = 10.0  # of the table for the difference from that


def haar(squares: Tensor) -> Tensor:
    """Orthonormal Haar transform of squares of 2x2, [B, 4, C, H, W], means first. Its own inverse."""
    a, b, c, d = squares.unbind(1)
    left, right = (a + b) / 2, (c + d) / 2
    over, under = (a - b) / 2, (c - d) / 2
    return torch.stack([left + right, over + under, left - right, over - under], 1)


def to_latent(field: Tensor) -> Tensor:
    """Values of blocks of 8x8 to those of 16x16, [B, C, 2 H, 2 W] -> [B, 4 C, H, W]: half the sums first."""
    batch, channels, height, width = field.shape
    squares = F.pixel_unshuffle(field, 2).view(batch, channels, 4, height // 2, width // 2)
    return haar(squares.transpose(1, 2)).flatten(1, 2)


def from_latent(latent: Tensor) -> Tensor:
    """The inverse of `to_latent`, [B, 4 C, H, W] -> [B, C, 2 H, 2 W]."""
    batch, channels, height, width = latent.shape
    squares = haar(latent.reshape(batch, 4, channels // 4, height, width))
    return F.pixel_shuffle(squares.transpose(1, 2).flatten(1, 2), 2)


def vectors_to_latent(field: Tensor) -> Tensor:
    """Vectors in luma samples, [B, 2, 2 H, 2 W], to the latent's first channels, [B, VECTORS, H, W]."""
    latent = to_latent(field) * FIELD_SCALE
    return torch.cat([latent[:, :MEANS] / 2, latent[:, MEANS:]], 1)


def latent_to_vectors(latent: Tensor) -> Tensor:
    """The inverse of `vectors_to_latent`, of a latent [B, C, H, W] with all its channels."""
    return from_latent(torch.cat([latent[:, :MEANS] * 2, latent[:, MEANS:VECTORS]], 1)) / FIELD_SCALE


def latent_to_preference(latent: Tensor) -> Tensor:
    """What the channels PREFERENCE of a latent of branch f say, [B, 4, H, W] -> [B, 1, 2 H, 2 W]."""
    return from_latent(latent * 2)


@cache
def fixed_steps() -> tuple[Tensor, Tensor]:
    """Quantization steps of the first channels and scale offsets, for each precision: [3, EXACT]."""
    rows = []
    for mean, detail, preference in PRECISIONS:
        vectors = [unit * (mean if i < MEANS else detail) for i, unit in enumerate(QUARTERS)]
        rows.append([*vectors, *[preference] * (FULL_PEL - VECTORS), *[1.0] * (EXACT - FULL_PEL)])
    steps = torch.tensor(rows)
    return steps, torch.round(16 * scale_offset(torch.log(steps))) / 16


def usual_precision(qp: Tensor) -> Tensor:
    """The precision that vectors have at a qp unless they are coarser, [B]: index of PRECISIONS."""
    return (qp[:, None] >= torch.tensor(FINER_FROM, device=qp.device)).sum(1)


def code_precision(symbols: SymbolCoder, qp: Tensor, precision: Tensor | None) -> Tensor:
    """The decoded precision of vectors, [B], of that to encode, if any."""
    usual = usual_precision(qp).float().view(-1, 1, 1, 1)
    y = None if precision is None else precision.float().view(-1, 1, 1, 1)
    scale = torch.full_like(usual, PRECISION_INDEX)
    decoded = symbols.code(Part.PRECISION, y, usual, scale, torch.ones_like(usual), heavy=1)
    return decoded.flatten().clamp(0, len(PRECISIONS) - 1).long()


def with_fixed_steps(precision: Tensor, learned: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Quantization steps and scale offsets of all channels, those of the first ones by the precision [B]."""
    fixed = [rows.to(precision.device)[precision][:, :, None, None] for rows in fixed_steps()]
    step, offset = (torch.cat([own, other[:, EXACT:]], 1) for own, other in zip(fixed, learned, strict=True))
    return step, offset
