"""Hyper-latents are coded by what is known before; that learns from encodes, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from clips import moving
from latents import CODER
from torch import Tensor

from bcodec.coding import Part
from bcodec.encoder.effort import PLAIN
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.entropy.meter import SymbolCosts
from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.networks.latent import HyperEntropyModel, checkerboard
from bcodec.networks.weights import to_arrays
from bcodec.train.encodes import Encode
from bcodec.train.hyperlatents import fit_hyperlatents, hyperlatent_bits, models, record_hyperlatents

KNOWN, CHANNELS = 3, 8
QSTEP = (torch.full((1, CHANNELS, 1, 1), 0.25), torch.full((1, CHANNELS, 1, 1), 30.0))


def network() -> HyperEntropyModel:
    """A model none of whose weights is zero, frozen."""
    torch.manual_seed(0)
    model = HyperEntropyModel(KNOWN, CHANNELS).requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, Conv2d):
            layer.weight.copy_(torch.randn_like(layer.weight) * 0.1)
            layer.freeze(*layer.integers())
    return model


def on_grid(*shape: int, seed: int) -> Tensor:
    return torch.round(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 64) / 64


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 4)])
def test_a_hyper_latent_is_read_as_it_was_written(size: tuple[int, int]) -> None:
    model = network()
    z, known = on_grid(1, CHANNELS, *size, seed=1), on_grid(1, KNOWN + 1, *size, seed=2)
    writer = RangeWriter(CODER)
    written = model(writer, Part.HYPER, z, known, QSTEP)
    assert (written - z).abs().max() <= 0.125 + 1 / 64
    assert torch.equal(model(RangeReader(CODER, writer.payload), Part.HYPER, None, known, QSTEP), written)


def test_the_second_colour_sees_the_first_and_the_first_sees_nothing() -> None:
    model, means = network(), list[Tensor]()
    for colour in model.colours:
        colour.register_forward_hook(lambda _, __, expected: means.append(expected[0].clone()))
    known, z = on_grid(1, KNOWN + 1, 3, 4, seed=2), on_grid(1, CHANNELS, 3, 4, seed=1)
    black = checkerboard(known)
    for coded in (z, torch.where(black, z, z + 1), torch.where(black, z + 1, z)):
        model(RangeWriter(CODER), Part.HYPER, coded, known, QSTEP)
    assert all(torch.equal(mean, means[0]) for mean in means[2::2])
    assert torch.equal(means[3], means[1])  # of another second colour
    assert not torch.equal(means[5], means[1])


def test_hyper_latents_cost_less_of_frames_that_were_learned_and_nothing_else_changes(
    networks: Networks, tmp_path: Path
) -> None:
    net, weights = networks, tmp_path / "trained.npz"
    seen = record_hyperlatents(net, Encode(moving(5, 64, 128), 4, 20, PLAIN))
    assert [len(each) for each in seen.values()] == [2, 3, 3]  # of I frames, of B frames and their motion
    costs = SymbolCosts(net.tables)

    def bits(net: Networks) -> dict[str, float]:
        return {
            name: float(hyperlatent_bits(model, costs, seen[name]).sum())
            for name, model in models(net).items()
        }

    before, arrays = bits(net), to_arrays(net)
    assert all(np.isfinite(list(fit_hyperlatents(net, seen, 0.02, 2e-2))))
    save_networks(weights, net, net.tables)
    trained = load_networks(weights)
    after = bits(trained)
    assert all(after[name] < before[name] for name in before)
    for name, array in to_arrays(trained).items():
        assert name.startswith(tuple(before)) or np.array_equal(array, arrays[name])
