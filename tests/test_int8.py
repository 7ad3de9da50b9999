"""Layers in bytes give the same bits by int8 kernels and in float32."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from bcodec import int8
from bcodec.fixedpoint import ACTIVATION, FINE, Conv2d, Grid, from_steps, snap, to_steps
from bcodec.int8 import Shape
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.networks.context import SelectiveFusion
from bcodec.networks.layers import ResBlock, entering
from bcodec.train.eightbits import best_grid, round_inputs, watched

GRIDS = (Grid(6, 8, 32), Grid(5, 8, 0), Grid(4, 8, 128), Grid(7, 8, 160))
WIDE = (FINE, Grid(7, 11, 700))  # in two bytes


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def frozen(layer: Conv2d, grid: Grid) -> Conv2d:
    """The layer in bytes, with weights and bias as a file has them."""
    generator = torch.Generator().manual_seed(3)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / layer.weight[0].numel() ** 0.5)
    layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) / 4)
    layer.in_bytes(grid)
    layer.freeze(*layer.integers())
    return layer


def features(channels: int, height: int = 17, width: int = 23) -> Tensor:
    x = 3 * torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(5))
    return snap(x, FINE).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("grid", [*GRIDS, *WIDE])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_kernels_give_the_bits_of_float32(
    monkeypatch: pytest.MonkeyPatch, grid: Grid, kernel: int, stride: int
) -> None:
    layer = frozen(Conv2d(24, 40, kernel, stride, activation=True, grid_out=FINE), grid)
    x = features(24)
    given = layer(x)
    if layer._kernel is None:
        pytest.skip("no exact int8 kernels here")
    monkeypatch.setattr(int8, "_available", lambda: False)
    assert torch.equal(given, layer(x))
    assert given.abs().max() > 1


@pytest.mark.parametrize(("first", "second"), [(GRIDS[0], GRIDS[1]), (WIDE[0], WIDE[0]), (WIDE[0], GRIDS[0])])
def test_a_residual_block_gives_the_bits_of_float32(
    monkeypatch: pytest.MonkeyPatch, first: Grid, second: Grid
) -> None:
    block = ResBlock(32, FINE)
    frozen(block.conv1, first)
    frozen(block.conv2, second)
    x = features(32)
    given = block(x)
    monkeypatch.setattr(int8, "_available", lambda: False)
    assert torch.equal(given, block(x))
    assert not torch.equal(given, x)


@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("second", [*GRIDS, FINE])
def test_what_a_layer_hands_to_the_next_is_what_float32_gives(
    monkeypatch: pytest.MonkeyPatch, second: Grid, activation: bool
) -> None:
    one = frozen(Conv2d(24, 40, activation=activation, grid_out=FINE), GRIDS[0])
    other = frozen(Conv2d(40, 8), second)
    x = features(24)
    given = one(x, to=other)
    if one._kernel is not None:
        assert given.dtype is (torch.int16 if second is FINE else torch.uint8)
    result = other(given)
    monkeypatch.setattr(int8, "_available", lambda: False)
    assert torch.equal(result, other(given))
    assert torch.equal(result, other(one(x, to=other)))


def test_parts_enter_a_layer_as_they_do_together(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = frozen(Conv2d(24, 8, kernel=1), GRIDS[0])
    x = features(24)
    given = layer(entering(layer, [x[:, :7], x[:, 7:]]))
    monkeypatch.setattr(int8, "_available", lambda: False)
    assert torch.equal(given, layer(entering(layer, [x[:, :7], x[:, 7:]])))
    assert torch.equal(given, layer(x))


def test_kernels_that_saturate_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "exact", lambda shape: False)
    layer = frozen(Conv2d(24, 8), GRIDS[0])
    assert layer._kernel is None
    assert torch.equal(layer(features(24)), layer(snap(features(24), GRIDS[0])))


def test_the_self_test_finds_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(24, 40, 3, 1)
    original = int8.Packed.__call__
    monkeypatch.setattr(int8.Packed, "__call__", lambda *given: original(*given).clamp(max=100.0))
    assert not int8.exact.__wrapped__(shape)


@pytest.mark.parametrize("grid", GRIDS)
def test_bytes_are_what_snap_gives(grid: Grid) -> None:
    x = torch.linspace(-9, 9, 4001)
    given = to_steps(x, grid)
    assert given.dtype is torch.uint8
    assert torch.equal(from_steps(given, grid), snap(x.clone(), grid))
    assert (int(given.min()), int(given.max())) == (0, 255)


def test_a_layer_in_bytes_can_be_pickled_and_copied() -> None:
    layer = frozen(Conv2d(24, 8), GRIDS[0])
    x = features(24)
    expected = layer(x)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)


# ---------------------------------------------------------------- grids


def test_the_best_grid_reaches_what_enters_and_no_farther() -> None:
    x = snap(4 * torch.rand(1, 24, 16, 16, generator=torch.Generator().manual_seed(5)) - 0.5, FINE)
    grid = best_grid(Conv2d(24, 40), [x])
    assert grid.frac == 6  # 256 steps of 1/64 are 4
    assert (grid.low, grid.high) == (-0.5, 3.484375)


def refined(net: Networks) -> ResBlock:
    return cast(SelectiveFusion, net.bframe.contexts.fusions[0]).refine


def test_layers_round_what_enters_them_once_they_were_watched(
    tiny_networks: Networks, tmp_path: Path
) -> None:
    path = tmp_path / "weights.npz"
    save_networks(path, tiny_networks, tiny_networks.tables)
    net = load_networks(path)
    block = refined(net)
    x = features(net.channels.level1)
    with watched(net, np.random.default_rng(0)) as samples:
        block(x)
    assert not block.conv1.takes_bytes
    round_inputs(net, samples)
    save_networks(path, net, tiny_networks.tables)
    again = refined(load_networks(path))
    assert again.conv1.grid_in == block.conv1.grid_in != ACTIVATION
    assert torch.equal(again(x), block(x))
