"""The steps of the spatial prior, and the sizes of blocks."""

import torch

from bcodec.encoder.blocksizes import in_all_sizes
from bcodec.networks.blockdct import COEFFICIENTS
from bcodec.networks.prior import PRIOR_STEPS, BlockSizes, step_mask


def test_steps_code_each_coefficient_once_and_all_channels_everywhere() -> None:
    masks = [step_mask(number, torch.zeros(1, 8, 6, 4)).float() for number in range(PRIOR_STEPS)]
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(1, 8, 6, 4))
    for mask in masks:
        assert torch.equal(mask.sum(1), torch.full((1, 6, 4), 2.0))


def test_a_latent_turned_to_any_size_and_back_is_the_same_to_half_an_8_bit_level() -> None:
    sizes = BlockSizes(8, COEFFICIENTS).requires_grad_(False)
    y = torch.round(torch.randn(1, COEFFICIENTS, 4, 4, generator=torch.Generator().manual_seed(0)) * 32) / 64
    for number, turned in enumerate(in_all_sizes(sizes, y)):
        back = sizes.back(turned, torch.full((1, 1, 4, 4), number))
        assert (back - y).square().mean().sqrt() < 0.5 / 64
