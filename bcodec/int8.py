"""Convolutions of bytes by oneDNN's int8 kernels: the sums of float32, in an eighth of its time.

The kernels multiply bytes without a sign by weights of eight bits with one, and add up in 32 bits; every
scale here is a power of two. So what comes out does not depend on the kernel, and it is only a matter of time
whether bytes or float32 are added up. Where a processor has no instruction for that (VNNI, AMX), the kernels
add pairs of products in 16 bits that saturate: the self-test finds out, and float32 serves.
"""

from __future__ import annotations

import math
import platform
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 127  # largest magnitude of a weight
LARGEST = 255  # byte
EXACT = 1 << 24  # below it integers are exact in float32
FINEST = 16  # bits below a step that float32 has room for beside a byte
SIZES = ((5, 13), (24, 40))  # of the pictures that the self-test convolves


class Shape(NamedTuple):
    """Of a convolution with padding of kernel // 2 by what stands for zero."""

    c_in: int
    c_out: int
    kernel: int
    stride: int


class Packed:
    """A convolution as oneDNN takes it.

    Of integer weights [C_out, C_in, K, K] up to LIMIT, with a bias [C_out] in units of the sums, and what a
    unit is worth, [C_out], powers of two. The byte `zero` stands for 0.
    """

    def __init__(self, weight: Tensor, bias: Tensor, unit: Tensor, stride: int, zero: int) -> None:
        c_out, _, kernel, _ = weight.shape
        self._weight, self._unit, self._zero = weight.to(torch.int8), unit, zero
        self._geometry = [stride] * 2, [kernel // 2] * 2, [1, 1], 1
        self._rest = torch.zeros(c_out, dtype=torch.int32), bias * unit, *self._geometry  # zeros of weights
        self._packed: tuple[torch.Size, Tensor] | None = None  # for the size of the last input

    def __call__(self, x: Tensor, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """Bytes [B, C_in, H, W] -> float32 [B, C_out, H / stride, W / stride] within [low, high].

        In channels-last layout, as all that is given.
        """
        clamp = ("none", []) if low == -math.inf else ("hardtanh", [low, high])
        output: tuple[Any, ...] = 1.0, 0, torch.float32, *clamp, ""
        convolve = torch.ops.onednn.qconv2d_pointwise.default
        return convolve(x, 1.0, self._zero, *self._operands(x), *output)  # type: ignore[no-any-return]

    def onto(self, y: Tensor, x: Tensor) -> Tensor:
        """The same sums, not clamped, added to `y` [B, C_out, H / stride, W / stride]: it is overwritten."""
        weight, unit, zeros, *rest = self._operands(x)
        output: tuple[Any, ...] = 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, None, [], ""
        convolve = torch.ops.onednn.qconv2d_pointwise.binary
        return convolve(x, 1.0, self._zero, weight, unit, zeros, y, *rest, *output)  # type: ignore[no-any-return]

    def to_bytes(self, x: Tensor, unit: float, zero: int) -> Tensor:
        """The same sums in steps of `unit` (a power of two), half to even, `zero` for 0: bytes, saturated.

        Exact if between 0 and LARGEST steps the sums, too, and `zero`, are multiples of 2^-FINEST steps.
        """
        output: tuple[Any, ...] = unit, zero, torch.uint8, "none", [], ""
        convolve = torch.ops.onednn.qconv2d_pointwise.default
        return convolve(x, 1.0, self._zero, *self._operands(x), *output)  # type: ignore[no-any-return]

    def _operands(self, x: Tensor) -> tuple[Any, ...]:
        # For another size other kernels may be chosen, and they would order the weights anew in each call.
        size, packed = self._packed or (None, self._weight)
        if size != x.shape:
            packed = torch.ops.onednn.qconv_prepack(
                self._weight, self._unit, 1.0, self._zero, *self._geometry, list(x.shape)
            )
            self._packed = x.shape, packed
        return packed, self._unit, *self._rest


def pack(weight: Tensor, bias: Tensor, unit: Tensor, stride: int, zero: int) -> Packed | None:
    """Of a weight [C_out, C_in, K, K], see Packed.

    None if a weight or a sum is too large, or the kernels for the shape are not exact.
    """
    c_out, c_in, kernel, _ = weight.shape
    if weight.abs().max() > LIMIT or LARGEST * weight.abs().flatten(1).sum(1).max() >= 1 << 31:
        return None
    return Packed(weight, bias, unit, stride, zero) if exact(Shape(c_in, c_out, kernel, stride)) else None


def serves(x: Tensor) -> bool:
    """Whether to try the kernels for `x` [..]: on the CPU, in float32 or counted, without gradients."""
    usual = x.device.type == "cpu" and x.dtype in (torch.float32, torch.uint8, torch.int16)
    return usual and not torch.is_grad_enabled() and _available()


@cache
def _available() -> bool:
    """Whether there are kernels that may be faster than float32: on x86; elsewhere nobody has measured."""
    ours = platform.machine() in ("x86_64", "AMD64")
    return ours and all(hasattr(torch.ops.onednn, name) for name in ("qconv_prepack", "qconv2d_pointwise"))


@cache
def exact(shape: Shape) -> bool:
    """The self-test: whether the kernels give what float32 gives, in which these integers are exact."""
    generator = torch.Generator().manual_seed(1)
    return all(
        _exact(shape, operands, _octets(shape.c_in, size))
        for operands in (_extremes(shape, generator), _ties(shape))
        for size in SIZES
    )


@cache
def _octets(channels: int, size: tuple[int, int]) -> Tensor:
    """Bytes [1, channels, *size], half of them the largest."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 2 * LARGEST, (1, *size, channels), generator=generator).clamp_(max=LARGEST)
    return x.byte().permute(0, 3, 1, 2)


def _exact(shape: Shape, operands: tuple[Tensor, Tensor, Tensor, float], octets: Tensor) -> bool:
    """Whether sums, sums within bounds, sums added to others and sums in bytes are right."""
    weight, bias, unit, step = operands
    zero = 96
    sums = F.conv2d(octets.float() - zero, weight, None, shape.stride, shape.kernel // 2)
    expected = (sums + bias.view(-1, 1, 1)) * unit.view(-1, 1, 1)
    try:
        packed = Packed(weight, bias, unit, shape.stride, zero)
        given = packed(octets), packed(octets, -step, step), packed.to_bytes(octets, step, zero)
        twice = packed.onto(given[0].clone(), octets)
    except RuntimeError:
        return False
    steps = torch.round(expected / step + zero).clamp(0, LARGEST)
    right = expected, expected.clamp(-step, step), steps
    alike = all(torch.equal(one.float(), other) for one, other in zip(given, right, strict=True))
    return alike and torch.equal(twice, 2 * expected)


def _extremes(shape: Shape, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    """Weights, bias, units and a step: output channels take turns at LIMIT, -LIMIT and either, as many as
    keep sums exact in float32, and units at powers of two."""
    size = shape.c_out, shape.c_in, shape.kernel, shape.kernel
    turn = torch.arange(shape.c_out) % 3
    weight = LIMIT * (2.0 * torch.randint(0, 2, size, generator=generator) - 1)
    weight[turn == 0], weight[turn == 1] = LIMIT, -LIMIT
    most = EXACT // (2 * LIMIT * LARGEST)  # weights of a channel that are not 0
    flat = weight.flatten(1)
    if flat.shape[1] > most:
        flat[:, torch.randperm(flat.shape[1], generator=generator)[most:]] = 0
    bias = torch.randint(-LARGEST, LARGEST + 1, (shape.c_out,), generator=generator).float()
    return weight, bias, _units(shape), 2.0 ** (FINEST - 4)


def _ties(shape: Shape) -> tuple[Tensor, Tensor, Tensor, float]:
    """The same, so small that many sums lie in the middle between two steps."""
    weight = torch.zeros(shape.c_out, shape.c_in, shape.kernel, shape.kernel)
    weight[:, 0, shape.kernel // 2, shape.kernel // 2] = 1
    weight[1::2] *= -1
    return weight, (torch.arange(shape.c_out) % 7).float(), _units(shape), 1 / 2


def _units(shape: Shape) -> Tensor:
    return torch.exp2(-(torch.arange(shape.c_out) % 5).float())
