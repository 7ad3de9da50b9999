"""Exact arithmetic equals arithmetic in integers, with no tolerance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bcodec.errors import InexactWeights
from bcodec.fixedpoint import (
    ACTIVATION,
    FINE,
    FLOAT32,
    FLOAT64,
    LATENT,
    PICTURE,
    PIXEL,
    PIXEL_RESIDUAL,
    SEEN_LATENT,
    Conv2d,
    Grid,
    downsample,
    exact_precision,
    gate,
    hard_sigmoid,
    snap,
    upsample,
    warp,
    warp_squares,
)

GRIDS = (ACTIVATION, FINE, LATENT, SEEN_LATENT, PICTURE, PIXEL_RESIDUAL, Grid(6, 8), Grid(0, 16))
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def on(grid: Grid, *shape: int, seed: int = 0) -> Tensor:
    """Random values over the whole range of a grid, both ends among them."""
    generator = torch.Generator().manual_seed(seed)
    units = torch.randint(-grid.units, grid.units, shape, generator=generator)
    units.view(-1)[:2] = torch.tensor([-grid.units, grid.units - 1])
    return units * 2.0**-grid.frac


def integers(x: Tensor, frac: int) -> np.ndarray:
    """x in units of 2^-frac; the test fails unless they are whole."""
    scaled = x.detach().double().numpy() * 2.0**frac
    assert np.array_equal(scaled, np.rint(scaled))
    return scaled.astype(np.int64)


def snapped(units: np.ndarray, shift: int, grid: Grid) -> Tensor:
    """Units of 2^-(grid.frac + shift), rounded half to even and saturated, by integer arithmetic."""
    one = 1 << shift
    quotient, remainder = units // one, units % one
    up = (2 * remainder > one) | ((2 * remainder == one) & (quotient % 2 == 1))
    rounded = np.clip(quotient + up, -grid.units, grid.units - 1)
    return torch.from_numpy(rounded).float() * 2.0**-grid.frac


# ---------------------------------------------------------------- snap


@pytest.mark.parametrize("grid", GRIDS)
@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=40))
def test_snap_gives_the_nearest_value_of_the_grid(grid: Grid, values: list[float]) -> None:
    x = torch.tensor(values)
    expected = torch.round(x.double().clamp(grid.low, grid.high) * 2.0**grid.frac) * 2.0**-grid.frac
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            assert torch.equal(snap(x.clone(), grid).double(), expected)


@pytest.mark.parametrize("grid", GRIDS)
def test_snap_rounds_halves_to_even_and_saturates(grid: Grid) -> None:
    unit = 2.0**-grid.frac
    halves = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]) * unit
    ends = torch.tensor([1e6, -1e6, math.inf, -math.inf, grid.high + unit / 2, grid.low - unit / 2])
    with torch.no_grad():
        assert (snap(halves, grid) / unit).tolist() == [0, 2, 2, 0, -2, -2]
        assert snap(ends, grid).tolist() == [grid.high, grid.low] * 3


@pytest.mark.parametrize("grid", GRIDS)
def test_snap_leaves_the_grid_as_it_is(grid: Grid) -> None:
    x = on(grid, 1000)
    with torch.no_grad():
        assert torch.equal(snap(x.clone(), grid), x)


def test_gradient_of_snap_is_that_of_the_identity_inside_the_range() -> None:
    x = torch.tensor([-9.0, -7.99, 0.004, 0.5, 7.9, 8.1], requires_grad=True)
    snap(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


# ---------------------------------------------------------------- convolution


def convolved(layer: Conv2d, x: Tensor, residual: Tensor | None) -> Tensor:
    """The layer's output, computed from its integers in int64."""
    weight, bias, exponent = (t.numpy().astype(np.int64) for t in layer.integers())
    kernel, stride, frac = weight.shape[2], layer.stride, layer.grid_in.frac
    reach = layer.weight.shape[-1] // 2
    padding = ((0, 0), (0, 0), (reach, reach), (reach, reach))
    padded = np.pad(integers(x, frac), padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))[
        :, :, ::stride, ::stride
    ]
    sums = np.concatenate(
        [
            np.einsum("bchwij,ocij->bohw", inputs, weights)
            for inputs, weights in zip(
                np.split(windows, layer.groups, 1), np.split(weight, layer.groups), strict=True
            )
        ],
        axis=1,
    )
    sums = sums + bias[:, None, None]
    channels = []
    for channel, fine in enumerate(exponent + frac):
        # In units of 2^-(fine + 3): an eighth of the accumulator's, for the slope of the leaky ReLU.
        values = sums[:, channel] * 8
        if residual is not None:
            values = values + integers(residual[:, channel], int(fine)) * 8
        if layer.activation:
            values = np.where(values < 0, values // 8, values)
        channels.append(snapped(values, int(fine) + 3 - layer.grid_out.frac, layer.grid_out))
    return torch.stack(channels, 1)


def random_conv(c_in: int, c_out: int, kernel: int, stride: int, groups: int, **kwargs: object) -> Conv2d:
    """A frozen layer with random weights and biases."""
    torch.manual_seed(c_in * 100 + c_out)
    layer = Conv2d(c_in, c_out, kernel, stride, groups=groups, **kwargs)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.mul_(torch.rand(c_out, 1, 1, 1) * 2)
        layer.bias.copy_(torch.randn(c_out))
    layer.freeze(*layer.integers())
    return layer.requires_grad_(False)


SHAPES = [
    (8, 16, 3, 1, 1),
    (16, 8, 3, 2, 1),
    (24, 40, 1, 1, 1),
    (32, 32, 3, 1, 32),
    (16, 32, 3, 1, 4),
    (96, 24, 3, 1, 1),
    (384, 20, 1, 1, 1),
    (7, 5, 5, 1, 1),
]


@pytest.mark.parametrize("activation", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_equals_int64(shape: tuple[int, int, int, int, int], activation: bool) -> None:
    layer = random_conv(*shape, activation=activation)
    x = on(ACTIVATION, 3, shape[0], 12, 10)
    with torch.no_grad():
        plain = convolved(layer, x, None)
        residual = on(ACTIVATION, *plain.shape, seed=1)
        added = convolved(layer, x, residual)
        for layout in LAYOUTS:
            batch = x.contiguous(memory_format=layout)
            other = residual.contiguous(memory_format=layout)
            assert torch.equal(layer(batch), plain)
            assert torch.equal(layer(batch, residual=other), added)
            for index in range(len(x)):
                one = slice(index, index + 1)
                assert torch.equal(layer(batch[one]), plain[one])
                assert torch.equal(layer(batch[one], residual=other[one]), added[one])


@pytest.mark.parametrize(
    ("grid_in", "grid_out"),
    [
        (SEEN_LATENT, ACTIVATION),
        (SEEN_LATENT, FINE),
        (ACTIVATION, LATENT),
        (FINE, PIXEL_RESIDUAL),
        (PICTURE, ACTIVATION),
    ],
)
def test_convolution_between_grids_equals_int64(grid_in: Grid, grid_out: Grid) -> None:
    layer = random_conv(24, 16, 3, 1, 1, grid_in=grid_in, grid_out=grid_out)
    x = on(grid_in, 2, 24, 9, 11)
    with torch.no_grad():
        assert torch.equal(layer(x), convolved(layer, x, None))


@pytest.mark.parametrize("grid_in", [ACTIVATION, FINE])
def test_features_are_added_on_a_finer_grid_without_an_error(grid_in: Grid) -> None:
    layer = random_conv(24, 16, 3, 1, 1, grid_in=grid_in, grid_out=FINE)
    x, residual = on(grid_in, 2, 24, 9, 11), on(FINE, 2, 16, 9, 11, seed=1)
    with torch.no_grad():
        assert torch.equal(layer(x, residual=residual), convolved(layer, x, residual))


@pytest.mark.parametrize(
    ("grid_in", "grid_out"), [(PICTURE, LATENT), (LATENT, LATENT), (LATENT, PIXEL_RESIDUAL)]
)
def test_sums_in_float64_equal_int64(grid_in: Grid, grid_out: Grid) -> None:
    layer = random_conv(384, 24, 1, 1, 1, grid_in=grid_in, grid_out=grid_out, sums=FLOAT64)
    weight, _, _ = layer.integers()
    assert FLOAT32.limit < float(weight.abs().max()) <= FLOAT64.limit
    x = on(grid_in, 2, 384, 5, 6) / 16
    x = torch.round(x * 2.0**grid_in.frac) / 2.0**grid_in.frac
    with torch.no_grad():
        assert torch.equal(layer(x), convolved(layer, x, None))


@pytest.mark.parametrize("deviation", [1e-4, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_weights_of_any_size_are_as_exact_in_training_as_frozen(
    shape: tuple[int, int, int, int, int], deviation: float
) -> None:
    c_in, c_out, kernel, stride, groups = shape
    layer = Conv2d(c_in, c_out, kernel, stride, groups=groups, activation=True)
    torch.manual_seed(1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight) * deviation)
        layer.bias.copy_(torch.randn_like(layer.bias) * deviation)
    frozen = Conv2d(c_in, c_out, kernel, stride, groups=groups, activation=True)
    frozen.freeze(*layer.integers())
    weight, bias, _ = layer.exact()
    assert torch.equal(frozen.weight, weight)
    assert torch.equal(frozen.bias, bias)
    x = on(ACTIVATION, 1, c_in, 8, 8)
    assert torch.equal(layer(x), frozen(x))
    assert all(torch.equal(a, b) for a, b in zip(frozen.integers(), layer.integers(), strict=True))


def test_frozen_layers_are_exported_again_as_they_are() -> None:
    """Even where the rounded weights would now allow a finer step."""
    torch.manual_seed(27)
    layer, again = Conv2d(64, 64), Conv2d(64, 64)
    with torch.no_grad():
        layer.weight.copy_(torch.rand_like(layer.weight) * torch.exp(torch.randn(64, 1, 1, 1)))
    first = layer.integers()
    again.freeze(*first)
    assert all(torch.equal(a, b) for a, b in zip(first, again.integers(), strict=True))


def test_weights_whose_sums_float32_cannot_hold_are_refused() -> None:
    layer = Conv2d(16, 2, kernel=3)
    weight, bias, exponent = torch.zeros(2, 16, 3, 3), torch.zeros(2), torch.full((2,), 6.0)
    room = (1 << 24) - ACTIVATION.units * 2**6  # less what a residual may add
    bias[1] = room - 1
    layer.freeze(weight, bias, exponent)
    bias[1] = room
    with pytest.raises(InexactWeights, match="not exact"):
        layer.freeze(weight, bias, exponent)
    with pytest.raises(InexactWeights):
        layer.freeze(torch.full_like(weight, 127), torch.zeros(2) + 2**23, exponent)
    with pytest.raises(InexactWeights):
        layer.freeze(torch.full_like(weight, 255), torch.zeros(2), exponent)


def test_rounded_weights_are_trained_through() -> None:
    layer = Conv2d(4, 4)
    layer(on(ACTIVATION, 1, 4, 8, 8) / 8).sum().backward()
    assert layer.weight.grad is not None
    assert bool(layer.weight.grad.abs().sum() > 0)


def test_float32_is_exact_on_the_cpu() -> None:
    assert exact_precision("cpu") is torch.float32


# ---------------------------------------------------------------- warp


def warped(features: Tensor, motion: Tensor, pitch: int) -> Tensor:
    """`warp` in int64: coordinates in sixteenths, clamped to the picture, weights in units of 1/256."""
    values, vectors = integers(features, ACTIVATION.frac), integers(motion, 4)
    _, _, height, width = features.shape
    rows, columns = np.indices(motion.shape[2:]) * (16 * pitch)
    x = np.clip(vectors[:, 0] + columns, 0, 16 * (width - 1))
    y = np.clip(vectors[:, 1] + rows, 0, 16 * (height - 1))
    left, top, fx, fy = x // 16, y // 16, x % 16, y % 16
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    pictures = [
        w00 * picture[:, t, le] + w01 * picture[:, t, r] + w10 * picture[:, b, le] + w11 * picture[:, b, r]
        for picture, t, b, le, r, w00, w01, w10, w11 in zip(
            values,
            *(top, bottom, left, right),
            *((16 - fx) * (16 - fy), fx * (16 - fy), (16 - fx) * fy, fx * fy),
            strict=True,
        )
    ]
    return snapped(np.stack(pictures), 8, ACTIVATION)


@pytest.mark.parametrize("pitch", [1, 2])
@pytest.mark.parametrize("reach", [1, 40, 511])
def test_warp_equals_int64_inside_on_and_beyond_the_borders(pitch: int, reach: int) -> None:
    features = on(ACTIVATION, 2, 5, 24, 36)
    generator = torch.Generator().manual_seed(reach)
    shape = (2, 2, 24 // pitch, 36 // pitch)
    motion = torch.randint(-16 * reach, 16 * reach + 1, shape, generator=generator) / 16
    with torch.no_grad():
        for layout in LAYOUTS:
            batch = features.contiguous(memory_format=layout)
            expected = warped(features, motion, pitch)
            assert torch.equal(warp(batch, motion), expected)
            assert torch.equal(warp(batch[1:], motion[1:]), expected[1:])


def test_warp_is_differentiable_in_features_and_motion() -> None:
    """On a ramp along x the derivative by the motion along x is the slope, by the motion along y zero."""
    slope = 1 / 16
    features = (torch.arange(16.0) * slope).repeat(16, 1)[None, None].requires_grad_()
    motion = torch.full((1, 2, 16, 16), 0.5, requires_grad=True)
    warp(features, motion).sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert motion.grad is not None
    assert float(features.grad.sum()) == 256
    assert bool((motion.grad[:, 0, :, :15] == slope).all())
    assert not bool(motion.grad[:, 1].any())


@pytest.mark.parametrize("size", [1, 4, 6])
@pytest.mark.parametrize("reach", [1, 40, 511])
def test_squares_are_warped_as_their_samples_would_be_with_the_same_gradients(size: int, reach: int) -> None:
    planes = on(PIXEL, 2, 3, 24, 36)
    generator = torch.Generator().manual_seed(reach)
    motion = (
        torch.randint(-16 * reach, 16 * reach + 1, (2, 2, 24 // size, 36 // size), generator=generator) / 16
    )
    for layout in LAYOUTS:
        given = planes.contiguous(memory_format=layout).requires_grad_(), motion.clone().requires_grad_()
        one, other = warp_squares(*given, PICTURE), warp(given[0], upsample(given[1], size), PICTURE)
        assert torch.equal(one, other)
        weights = torch.randn(one.shape, generator=generator)
        slopes, expected = (torch.autograd.grad((each * weights).sum(), given) for each in (one, other))
        assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(slopes, expected, strict=True))


# ---------------------------------------------------------------- gate and resampling


def test_hard_sigmoid_reaches_0_and_1() -> None:
    assert hard_sigmoid(torch.tensor([-8.0, -2.0, -1.0, 0.0, 1.0, 2.0, 7.9])).tolist() == [
        *(0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0)
    ]


def test_gate_equals_int64() -> None:
    query, value = on(ACTIVATION, 40, 40), on(ACTIVATION, 40, 40, seed=1)
    weight = np.clip(integers(query, 6) + 128, 0, 256)  # x / 4 + 1 / 2 in units of 1/256
    with torch.no_grad():
        assert torch.equal(gate(query, value), snapped(weight * integers(value, 6), 8, ACTIVATION))


def test_downsample_equals_int64() -> None:
    x = on(ACTIVATION, 2, 3, 12, 16)
    sums = integers(x, 6).reshape(2, 3, 6, 2, 8, 2).sum((3, 5))
    assert np.array_equal(integers(downsample(x), 8), sums)


def test_upsample_repeats_each_position() -> None:
    x = on(ACTIVATION, 2, 3, 5, 7)
    assert torch.equal(upsample(x), torch.kron(x, torch.ones(2, 2)))
    assert torch.equal(upsample(x, 4, 8), torch.kron(x, torch.ones(4, 8)))
    assert torch.equal(upsample(x, 1), x)
