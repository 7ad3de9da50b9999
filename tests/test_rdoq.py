"""Symbols are chosen by their worth where that is known, and padding gets none."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import TINY
from latents import CODER, latent, written
from torch import Tensor

from bcodec.coding import PLACED, Part
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.rdoq import HYPER_WORTH, ThriftyWriter, shown
from bcodec.networks.intra import IntraCodec
from bcodec.samples import finish


class Keeper(ThriftyWriter):
    """A writer that keeps the values it returned."""

    def __init__(self, worth: Tensor | None) -> None:
        super().__init__(CODER, worth=worth)
        self.values: dict[Part, Tensor] = {}

    def code(self, part: Part, *arguments: Any, **more: Any) -> Tensor:
        value = super().code(part, *arguments, **more)
        self.values.setdefault(part, value)
        return value


def test_a_hyper_latent_as_wide_as_y_has_a_worth_of_its_own() -> None:
    """What errors in y are worth says nothing of it, though it has as many channels."""
    torch.manual_seed(0)
    codec = IntraCodec(replace(TINY, y=24, z=24))
    plain, thrifty = Keeper(None), Keeper(torch.full((1, 24, 1, 1), 1e-6))
    picture = finish(torch.randn(1, 6, 64, 64))
    with torch.no_grad():
        for writer in (plain, thrifty):
            codec(writer, torch.tensor([40]), (8, 8), Analyst(codec, picture))
    assert plain.values[Part.HYPER].any()
    assert torch.equal(thrifty.values[Part.HYPER], plain.values[Part.HYPER])
    assert not torch.equal(thrifty.values[Part.CONTENT], plain.values[Part.CONTENT])


@pytest.mark.usefixtures("all_signs_written")
@pytest.mark.parametrize("part", Part)
def test_content_and_hyper_latents_are_chosen_by_their_worth(part: Part) -> None:
    """Where errors are worth little, symbols nearer to zero are; elsewhere always the nearest."""
    y, mean, scale, step, _ = latent(0, outliers=0)
    value = ThriftyWriter(CODER, worth=torch.full((1, y.shape[1], 1, 1), 1e-9)).code(
        part, y, mean, scale, step
    )
    nearest = written([(y, mean, scale, step, None)], part)[1][0]
    assert torch.equal(value, nearest) == (part is not Part.CONTENT and part not in HYPER_WORTH)
    assert ((value - mean).abs() <= (nearest - mean).abs()).all()


@pytest.mark.parametrize("part", Part)
def test_padding_gets_no_symbols(part: Part) -> None:
    """Of latents whose positions are those of blocks; the others have no padding."""
    y, mean, scale, step, _ = latent(0, side=4)
    inside = shown(33, 20)
    assert inside.sum() == 3 * 2
    value = ThriftyWriter(CODER, inside).code(part, y, mean, scale, step)
    everywhere = ThriftyWriter(CODER).code(part, y, mean, scale, step)
    nearest = written([(y, mean, scale, step, None)], part)[1][0]
    assert torch.equal(everywhere, nearest) == (part not in HYPER_WORTH)
    if part is Part.CONTENT:  # without what would lie in the padding, other symbols make signs right
        everywhere = value
    assert torch.equal(value, torch.where(inside, everywhere, mean) if part in PLACED else everywhere)


def test_a_forked_writer_writes_what_one_alone_would() -> None:
    """And the one that it was forked from goes on as if nothing had happened."""
    first, second, third = (latent(seed)[:4] for seed in range(3))
    alone, forked = ThriftyWriter(CODER), ThriftyWriter(CODER)
    for writer in (alone, forked):
        writer.code(Part.MOTION, *first)
    fork = forked.fork()
    fork.code(Part.CONTENT, *second)
    for writer in (alone, forked):
        writer.code(Part.CONTENT, *third)
    assert (forked.payload, forked.bits) == (alone.payload, alone.bits)
    both = ThriftyWriter(CODER)
    both.code(Part.MOTION, *first)
    both.code(Part.CONTENT, *second)
    assert (fork.payload, fork.bits) == (both.payload, both.bits)
