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
from bcodec.encoder.rdoq import ThriftyWriter, shown
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


def test_a_hyper_latent_as_wide_as_y_is_coded_to_the_nearest_symbols() -> None:
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


@pytest.mark.parametrize("part", Part)
def test_only_content_is_chosen_by_its_worth(part: Part) -> None:
    """Where errors are worth next to nothing, symbols nearer to zero are; elsewhere always the nearest."""
    y, mean, scale, step, _ = latent(0, outliers=0)
    value = ThriftyWriter(CODER, worth=torch.full((1, y.shape[1], 1, 1), 1e-9)).code(
        part, y, mean, scale, step
    )
    nearest = written([(y, mean, scale, step, None)])[1][0]
    assert torch.equal(value, nearest) == (part is not Part.CONTENT)


@pytest.mark.parametrize("part", Part)
def test_padding_gets_no_symbols(part: Part) -> None:
    """Of latents whose positions are those of blocks; the others have no padding."""
    y, mean, scale, step, _ = latent(0, side=4)
    inside = shown(33, 20)
    assert inside.sum() == 3 * 2
    value = ThriftyWriter(CODER, inside).code(part, y, mean, scale, step)
    nearest = written([(y, mean, scale, step, None)])[1][0]
    assert torch.equal(value, torch.where(inside, nearest, mean) if part in PLACED else nearest)
