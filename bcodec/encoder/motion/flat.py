"""Blocks that are better predicted by their mean: where nothing matches, details only cost bits."""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.encoder.blocksizes import in_all_sizes
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.context import flattened
from bcodec.networks.motion.blocks import MACROBLOCK

LEAST = 8.0  # bits that prediction by a mean must save
# About the bits of a coefficient that is not zero, beside those of its size; in steps, which ones will be.
NONZERO, THRIFT = 3.0, 0.6


def flattening(codec: BFrameCodec, source: Tensor, predicted: Tensor, qp: Tensor) -> Tensor:
    """About the bits that blocks of 16x16 save if only their mean is predicted, [B, 1, H/16, W/16].

    source, predicted [B, 6, H/2, W/2]; qp [B].
    """
    everywhere = torch.ones_like(predicted[:, :1, :: MACROBLOCK // 2, :: MACROBLOCK // 2], dtype=torch.bool)
    one, other = (texture_bits(codec, source - p, qp) for p in (predicted, flattened(predicted, everywhere)))
    # Where little is to be coded either way, what the network would have taken from P is worth more.
    return one - other - LEAST


def texture_bits(codec: BFrameCodec, residual: Tensor, qp: Tensor) -> Tensor:
    """About the bits of each block of a residual, with the worth of what is lost, [B, 1, H/16, W/16].

    residual [B, 6, H/2, W/2]; qp [B].
    """
    step, _ = codec.step(qp)
    costs = []
    for y in in_all_sizes(codec.prior.sizes, codec.analysis.linear(residual)):
        ratio = (y / step).abs()
        symbol = torch.round(torch.where(ratio < THRIFT, 0.0, ratio))
        bits = (symbol > 0) * NONZERO + 2 * torch.log2(1 + symbol) + 4 * (ratio - symbol).square()
        costs.append(bits.sum(1, keepdim=True))
    return torch.cat(costs, 1).amin(1, keepdim=True)
