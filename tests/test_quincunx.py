"""I frames are coded in four turns: each block sees what is decoded around it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clips import moving
from latents import CODER, FREQUENCIES
from torch import Tensor

from bcodec.coding import Encoder, Rounder, SymbolCoder
from bcodec.encoder.blocksizes import CheapestSizes
from bcodec.encoder.effort import PLAIN
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.fixedpoint import ACTIVATION, Conv2d
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.networks.blockdct import COEFFICIENTS, DCT_BLOCK
from bcodec.networks.quincunx import PARTS, QuincunxPrior
from bcodec.networks.surroundings import AROUND, CLOSER, TURNS, Decoded, Surroundings
from bcodec.networks.weights import to_arrays
from bcodec.train.encodes import Encode
from bcodec.train.latents import fit_latents, latent_bits, record_latents

WIDTH, SIZE = 12, (6, 8)
STEP, OFFSET = 0.125, 20.0


def network() -> QuincunxPrior:
    """A prior none of whose weights is zero, frozen."""
    torch.manual_seed(0)
    prior = QuincunxPrior(WIDTH, COEFFICIENTS).requires_grad_(False)
    for name, layer in prior.named_modules():
        if isinstance(layer, Conv2d):
            if "transform" not in name:
                layer.weight.copy_(torch.randn_like(layer.weight) * 0.05)
                layer.bias.copy_(torch.randn_like(layer.bias) * 0.1)
            layer.freeze(*layer.integers())
    return prior


def on_grid(*shape: int, seed: int) -> Tensor:
    return torch.round(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 64) / 64


def qstep(batch: int = 1) -> tuple[Tensor, Tensor]:
    return torch.full((batch, COEFFICIENTS, 1, 1), STEP), torch.full((batch, COEFFICIENTS, 1, 1), OFFSET)


def sizes(batch: int = 1) -> Tensor:
    return (torch.arange(batch * SIZE[0] * SIZE[1]) % 3).view(batch, 1, *SIZE).float()


def parity(turn: int) -> tuple[slice, slice]:
    return TURNS[turn].rows, TURNS[turn].columns


def test_what_is_written_is_read() -> None:
    prior, features = network(), on_grid(1, WIDTH, *SIZE, seed=1)
    encoder = cast(
        "Encoder",
        SimpleNamespace(choose_sizes=lambda y, known, steps: CheapestSizes(prior, y, known, steps)),
    )
    writer = RangeWriter(CODER)
    written, chosen = prior(writer, on_grid(1, COEFFICIENTS, *SIZE, seed=2), features, qstep(), encoder)
    read, same = prior(RangeReader(CODER, writer.payload), None, features, qstep(), None)
    assert torch.equal(read, written)
    assert torch.equal(same, chosen)
    assert len(chosen.unique()) > 1


@pytest.mark.parametrize("turn", range(len(TURNS)))
def test_a_block_is_expected_by_those_of_earlier_turns_beside_it_and_no_others(turn: int) -> None:
    prior, features = network(), on_grid(1, WIDTH, *SIZE, seed=1)
    y, row, column = on_grid(1, COEFFICIENTS, *SIZE, seed=2), 2 + TURNS[turn].row, 2 + TURNS[turn].column

    given = cast("SymbolCoder", SimpleNamespace(code=lambda part, y, *_, **__: y))

    def first_mean(y: Tensor) -> Tensor:
        """Of the block's first group, if everything is decoded as it is given."""
        means: list[Tensor] = []
        handle = prior.model.mean[0].register_forward_hook(lambda _, __, mean: means.append(mean.clone()))
        prior.coefficients(given, y, features, sizes(), qstep())
        handle.remove()
        return means[turn][0, :, row // 2, column // 2]

    expected = first_mean(y)
    for down in range(-2, 3):
        for across in range(-2, 3):
            changed = y.clone()
            changed[:, :, row + down, column + across] += 4
            earlier = [(t.row, t.column) for t in TURNS[:turn]].count(
                ((row + down) % 2, (column + across) % 2)
            ) > 0
            sees = earlier and (down, across) in AROUND
            assert torch.equal(first_mean(changed), expected) != sees


def test_pictures_of_a_batch_are_coded_as_each_alone() -> None:
    prior, features = network(), on_grid(2, WIDTH, *SIZE, seed=1)
    y, size = on_grid(2, COEFFICIENTS, *SIZE, seed=2), sizes(2)
    both = prior.coefficients(Rounder(), y, features, size, qstep(2))
    for number in range(2):
        own = slice(number, number + 1)
        alone = prior.coefficients(Rounder(), y[own], features[own], size[own], qstep())
        assert torch.equal(alone, both[own])


def samples_of(luma: Tensor, chroma: Tensor) -> Tensor:
    """As a block transform has them, [B, 384, H, W]."""
    phases = F.pixel_unshuffle(luma, 2)
    return F.pixel_unshuffle(torch.cat([phases, chroma], 1), DCT_BLOCK)


def test_a_block_sees_the_samples_that_touch_it_less_their_mean() -> None:
    rows, columns = SIZE
    luma = torch.arange(256.0 * rows * columns).view(1, 1, 16 * rows, 16 * columns).remainder(61) / 64
    chroma = torch.arange(128.0 * rows * columns).view(1, 2, 8 * rows, 8 * columns).remainder(53) / 64
    whole, decoded = samples_of(luma, chroma), Decoded.nothing(torch.zeros(1, COEFFICIENTS, *SIZE))
    seen = []
    for turn in TURNS:
        seen.append(Surroundings()(decoded, turn))
        decoded.put(turn, turn.of(whole), torch.zeros(1, COEFFICIENTS, rows // 2, columns // 2))
    assert torch.equal(decoded.luma[:, :, 16:-16, 16:-16], luma)
    assert torch.equal(decoded.chroma[:, :, 8:-8, 8:-8], chroma)
    assert not bool(seen[0].samples.any() or seen[0].means.any())
    # The block in row 2, column 3 is of turn 2; at its sides all is decoded, at its corners nothing.
    top, left = 32, 48
    above, below = luma[0, 0, top - 4 : top], luma[0, 0, top + 16 : top + 20]
    own = slice(left, left + 16)
    sides = [
        above[3, own],
        below[0, own],
        luma[0, 0, top : top + 16, left - 1],
        luma[0, 0, top : top + 16, left + 16],
    ]
    mean = torch.stack(sides).mean()
    assert seen[2].means[0, 0, 1, 1] == mean
    ring = seen[2].samples[0, : 4 * 24, 1, 1].view(4, 24)
    assert torch.equal(ring[:, 4:20], torch.round((above[:, own] - mean) * CLOSER * 64).div(64).clamp(max=8))
    assert not bool(ring[:, :4].any())


def test_logarithms_of_magnitudes_are_far_from_where_rounding_could_differ() -> None:
    """So that the table is the same with any library's logarithm."""
    sizes = torch.arange(len(network().model.table), dtype=torch.float64) / PARTS
    exact = torch.log1p(sizes) * 2**ACTIVATION.frac
    assert float((exact.frac() - 0.5).abs().min()) > 1e-6


def test_latents_cost_less_of_frames_that_were_learned_and_nothing_else_changes(
    networks: Networks, tmp_path: Path
) -> None:
    net, weights = networks, tmp_path / "trained.npz"
    seen = record_latents(net, Encode(moving(3, 64, 64), 1, 20, PLAIN))
    assert len(seen) == 3
    costs = SymbolCosts(net.tables)

    def bits(net: Networks) -> float:
        with torch.no_grad():
            return float(latent_bits(net, costs, seen).sum())

    before, arrays = bits(net), to_arrays(net)
    assert all(np.isfinite(list(fit_latents(net, seen, 0.06, 3e-2))))
    save_networks(weights, net, net.tables)
    trained = load_networks(weights)
    assert bits(trained) < before
    for name, array in to_arrays(trained).items():
        assert name.startswith("intra.prior.model.") or np.array_equal(array, arrays[name])


def test_the_rate_meter_measures_to_a_tenth_what_is_written() -> None:
    prior, features = network(), on_grid(1, WIDTH, *SIZE, seed=1)
    y = on_grid(1, COEFFICIENTS, *SIZE, seed=2) / 4
    writer, meter = RangeWriter(CODER), RateMeter(SymbolCosts(FREQUENCIES))
    for symbols in (writer, meter):
        prior.coefficients(symbols, y, features, sizes(), qstep())
    assert 0.9 < 8 * len(writer.payload) / float(meter.bits) < 1.1
