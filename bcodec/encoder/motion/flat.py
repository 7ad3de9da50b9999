"""Blocks that are better predicted by their mean: where nothing matches, details only cost bits."""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.cells import cells_where
from bcodec.encoder.blocksizes import turned
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.context import flattened
from bcodec.networks.motion.blocks import MACROBLOCK

LEAST = 8.0  # bits that prediction by a mean must save
NEAR = 16.0  # bits that it may cost in blocks of 16x16, and yet save in smaller ones
# About the bits of a coefficient that is not zero, beside those of its size; in steps, which ones will be.
NONZERO, THRIFT = 3.0, 0.6


def flattening(codec: BFrameCodec, source: Tensor, predicted: Tensor, qp: Tensor) -> Tensor:
    """About the bits that blocks of 16x16 save if only their mean is predicted, [B, 1, H/16, W/16].

    source, predicted [B, 6, H/2, W/2]; qp [B].
    """
    everywhere = torch.ones_like(predicted[:, :1, :: MACROBLOCK // 2, :: MACROBLOCK // 2], dtype=torch.bool)
    ys = [codec.analysis.linear(source - each) for each in (predicted, flattened(predicted, everywhere))]
    step = codec.step(qp)[0].expand_as(ys[0])
    one, other = (texture_bits(y, step) for y in ys)
    saved = one - other
    # In smaller blocks either may take less, but hardly much less than the other does.
    cells = cells_where((one > LEAST) & (saved > -NEAR))
    one, other = (least_bits(codec, cells.of(y), cells.of(step)) for y in ys)
    cells.put(one - other, saved)
    # Where little is to be coded either way, what the network would have taken from P is worth more.
    return saved - LEAST


def least_bits(codec: BFrameCodec, y: Tensor, step: Tensor) -> Tensor:
    """About the bits of each block of a residual in the best of all sizes, [B, 1, h, w]; y [B, Y, h, w]."""
    each = [y, *(turned(codec.prior.sizes, y, number) for number in (1, 2))]
    return torch.cat([texture_bits(sized, step) for sized in each], 1).amin(1, keepdim=True)


def texture_bits(y: Tensor, step: Tensor) -> Tensor:
    """About the bits of each block, with the worth of what is lost, [B, 1, h, w]; y, steps [B, Y, h, w]."""
    ratio = (y / step).abs()
    symbol = torch.round(torch.where(ratio < THRIFT, 0.0, ratio))
    bits = (symbol > 0) * NONZERO + 2 * torch.log2(1 + symbol) + 4 * (ratio - symbol).square()
    return bits.sum(1, keepdim=True)
