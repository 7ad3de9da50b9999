"""Convolutions of bytes by oneDNN's int8 kernels: the sums of float32, in an eighth of its time.

The kernels multiply bytes without a sign by weights of eight bits with one, and add up in 32 bits; every
scale here is a power of two. So what comes out does not depend on the kernel, and it is only a matter of time
whether bytes or float32 are added up. Where a processor has no instruction for that (VNNI, AMX), the kernels
add pairs of products in 16 bits that saturate: the self-test finds out, and float32 serves.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 127  # largest magnitude of a weight
LARGEST = 255  # byte
EXACT = 1 << 24  # below it integers are exact in float32
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

    def __init__(
        self, weight: Tensor, bias: Tensor, unit: Tensor, shape: Shape, zero: int, size: tuple[int, int]
    ) -> None:
        geometry = [shape.stride] * 2, [shape.kernel // 2] * 2, [1, 1], 1
        # Without a size wide layers would be packed as no kernel takes them, and again in each call.
        packed = torch.ops.onednn.qconv_prepack(
            weight.to(torch.int8), unit, 1.0, zero, *geometry, [1, shape.c_in, *size]
        )
        zero_points = torch.zeros(shape.c_out, dtype=torch.int32)  # of the weights
        self._zero, self._operands = zero, (packed, unit, zero_points, bias * unit, *geometry)

    def __call__(self, x: Tensor) -> Tensor:
        """Bytes [B, C_in, H, W] -> float32 [B, C_out, H / stride, W / stride], in channels-last layout."""
        convolve = torch.ops.onednn.qconv2d_pointwise.default
        output: tuple[Any, ...] = 1.0, 0, torch.float32, "none", [], ""
        return convolve(x, 1.0, self._zero, *self._operands, *output)  # type: ignore[no-any-return]


def pack(weight: Tensor, bias: Tensor, unit: Tensor, stride: int, zero: int) -> Packed | None:
    """Of a weight [C_out, C_in, K, K], see Packed.

    None if a weight or a sum is too large, or the kernels for the shape are not exact.
    """
    c_out, c_in, kernel, _ = weight.shape
    if weight.abs().max() > LIMIT or LARGEST * weight.abs().flatten(1).sum(1).max() >= 1 << 31:
        return None
    shape = Shape(c_in, c_out, kernel, stride)
    return Packed(weight, bias, unit, shape, zero, SIZES[0]) if exact(shape) else None


def serves(x: Tensor) -> bool:
    """Whether to try the kernels for `x` [..]: on the CPU, in float32 or bytes, without gradients."""
    usual = x.device.type == "cpu" and x.dtype in (torch.float32, torch.uint8)
    return usual and not torch.is_grad_enabled() and _available()


@cache
def _available() -> bool:
    """Whether there are kernels that may be faster than float32: on x86; elsewhere nobody has measured."""
    ours = platform.machine() in ("x86_64", "AMD64")
    return ours and all(hasattr(torch.ops.onednn, name) for name in ("qconv_prepack", "qconv2d_pointwise"))


@cache
def exact(shape: Shape) -> bool:
    """The self-test: whether the kernels give what float64 gives, in which these integers are exact."""
    generator = torch.Generator().manual_seed(1)
    weight, bias, unit = _extremes(shape, generator)
    zero = 96
    for size in SIZES:
        x = torch.randint(0, 2 * LARGEST, (1, shape.c_in, *size), generator=generator).clamp_(max=LARGEST)
        sums = F.conv2d((x - zero).double(), weight.double(), None, shape.stride, shape.kernel // 2)
        expected = (sums + bias.view(-1, 1, 1)) * unit.view(-1, 1, 1)
        try:
            packed = Packed(weight, bias, unit, shape, zero, SIZES[0])
            given = packed(x.byte().contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            return False
        if not torch.equal(given.double(), expected):
            return False
    return True


def _extremes(shape: Shape, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, bias and units: output channels take turns at LIMIT, -LIMIT and either, as many as keep sums
    exact in float32, and units at powers of two."""
    size = shape.c_out, shape.c_in, shape.kernel, shape.kernel
    turn = torch.arange(shape.c_out) % 3
    weight = LIMIT * (2.0 * torch.randint(0, 2, size, generator=generator) - 1)
    weight[turn == 0], weight[turn == 1] = LIMIT, -LIMIT
    most = EXACT // (2 * LIMIT * LARGEST)  # weights of a channel that are not 0
    flat = weight.flatten(1)
    if flat.shape[1] > most:
        flat[:, torch.randperm(flat.shape[1], generator=generator)[most:]] = 0
    bias = torch.randint(-LARGEST, LARGEST + 1, (shape.c_out,), generator=generator).float()
    return weight, bias, torch.exp2(-(torch.arange(shape.c_out) % 5).float())
