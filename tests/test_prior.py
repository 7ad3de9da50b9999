"""The steps of the spatial prior, and the sizes of blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from latents import CODER
from torch import Tensor

from bcodec.coding import PRIOR_STEPS, Encoder
from bcodec.encoder.blocksizes import CheapestSizes, turned
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.fixedpoint import Conv2d
from bcodec.networks.blockdct import COEFFICIENTS
from bcodec.networks.latent import Parameters
from bcodec.networks.prior import (
    PLACES,
    BlockSizes,
    SpatialPrior,
    in_their_channels,
    one_hot,
    step_mask,
)

WIDTH = 12


def test_steps_code_each_coefficient_once_and_all_channels_everywhere() -> None:
    masks = [step_mask(number, torch.zeros(1, 8, 6, 4)).float() for number in range(PRIOR_STEPS)]
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(1, 8, 6, 4))
    for mask in masks:
        assert torch.equal(mask.sum(1), torch.full((1, 6, 4), 2.0))


def test_a_latent_turned_to_any_size_and_back_is_the_same_to_half_an_8_bit_level() -> None:
    sizes = BlockSizes(8, COEFFICIENTS).requires_grad_(False)
    y = torch.round(torch.randn(1, COEFFICIENTS, 4, 4, generator=torch.Generator().manual_seed(0)) * 32) / 64
    for number in (1, 2):
        back = sizes.back(turned(sizes, y, number), torch.full((1, 1, 4, 4), number))
        assert (back - y).square().mean().sqrt() < 0.5 / 64


def network() -> SpatialPrior:
    """A prior none of whose weights is zero, frozen."""
    torch.manual_seed(0)
    prior = SpatialPrior(WIDTH, WIDTH, COEFFICIENTS).requires_grad_(False)
    for name, layer in prior.named_modules():
        if isinstance(layer, Conv2d):
            if "transform" not in name:
                layer.weight.copy_(torch.randn_like(layer.weight) * 0.1)
                layer.bias.copy_(torch.randn_like(layer.bias) * 0.1)
            layer.freeze(*layer.integers())
    return prior


def on_grid(*shape: int, seed: int) -> Tensor:
    return torch.round(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 64) / 64


def qstep(prior: SpatialPrior) -> tuple[Tensor, Tensor]:
    channels = prior.embed.weight.shape[1]
    return torch.full((1, channels, 1, 1), 0.125), torch.full((1, channels, 1, 1), 20.0)


def test_what_is_written_is_read() -> None:
    prior = network()
    features, step = on_grid(1, WIDTH, 8, 12, seed=1), qstep(prior)
    encoder = cast(
        "Encoder",
        SimpleNamespace(choose_sizes=lambda y, known, steps: CheapestSizes(prior, y, known, steps)),
    )
    writer = RangeWriter(CODER)
    written, sizes = prior(writer, on_grid(1, COEFFICIENTS, 8, 12, seed=2), features, step, encoder)
    read, same = prior(RangeReader(CODER, writer.payload), None, features, step, None)
    assert torch.equal(read, written)
    assert torch.equal(same, sizes)
    assert len(sizes.unique()) > 1


@pytest.mark.parametrize("number", range(PRIOR_STEPS))
def test_a_step_computes_just_what_it_codes_and_that_as_if_it_were_all(number: int) -> None:
    prior = network()
    known = torch.round(on_grid(2, WIDTH, 8, 12, seed=number).clamp(0, 4) * 16) / 16
    kinds = one_hot(torch.arange(192.0).view(2, 1, 8, 12) % 3)
    head = cast("Parameters", prior.steps[number])
    mask = step_mask(number, torch.zeros(2, COEFFICIENTS, 8, 12))
    own = [place ^ number for place in PLACES]
    quarters = head.quarter(known, kinds, own)
    for quarter, everything in zip(quarters, head(known, kinds), strict=True):
        assert quarter.numel() == everything.numel() // PRIOR_STEPS
        assert torch.equal(in_their_channels(quarter, own), everything * mask)
        assert bool(quarter.any())


def test_a_quarter_has_the_gradients_of_the_whole() -> None:
    torch.manual_seed(0)
    head = Parameters(WIDTH, WIDTH, 8, 3)
    for layer in (head.mean, head.scale):
        torch.nn.init.normal_(layer.weight)
    known, kinds = torch.round(torch.randn(2, WIDTH, 4, 8) * 16) / 16, one_hot(torch.ones(2, 1, 4, 8))
    mask = step_mask(1, torch.zeros(2, 8, 4, 8))
    own, gradients = [place ^ 1 for place in PLACES], []
    for whole in (False, True):
        quarters = head.quarter(known, kinds, own)
        outputs = head(known, kinds) if whole else [in_their_channels(x, own) for x in quarters]
        loss = sum(((x * mask) ** 2).sum() for x in outputs)
        gradients.append(torch.autograd.grad(cast("Tensor", loss), [*head.parameters()]))
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)
        assert bool(one.any())
