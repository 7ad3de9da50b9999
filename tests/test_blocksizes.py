"""Blocks get the size by which they take fewer bits."""

import math

import torch
import torch.nn.functional as F

from bcodec.encoder.blocksizes import CheapestSizes
from bcodec.networks.blockdct import COEFFICIENTS, block_transform
from bcodec.networks.prior import SpatialPrior


def test_a_spot_is_coded_with_small_blocks_and_a_wave_with_a_large_one() -> None:
    prior = SpatialPrior(8, 8, COEFFICIENTS).eval().requires_grad_(False)
    for parameters in prior.steps:
        # As trained networks do, expect little of high frequencies.
        bias = parameters.get_parameter("scale.bias")
        bias.copy_(torch.linspace(0, -6, COEFFICIENTS))
    picture = torch.zeros(1, 6, 8, 16)
    picture[:, :4, 5, 3] = 4.0  # two samples wide, in the block on the left
    wave = torch.cos(math.pi / 16 * (torch.arange(16) + 0.5) * 5)
    picture[:, :4, :, 8:] = F.pixel_unshuffle(2 * wave.expand(1, 1, 16, 16), 2)
    transform = block_transform(COEFFICIENTS)[:, :, None, None]
    y = torch.round(F.conv2d(F.pixel_unshuffle(picture, 8), transform) * 64) / 64
    step = torch.full((1, COEFFICIENTS, 1, 1), 0.3), torch.full((1, COEFFICIENTS, 1, 1), 10.0)
    choices = CheapestSizes(prior, y, torch.zeros(1, 8, 1, 2), step).choices
    assert torch.cat([choices[0][0], *choices[2]], 1).argmin(1).flatten().tolist() == [2, 0]
