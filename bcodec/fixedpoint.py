"""Exact arithmetic in float32: dyadic fixed-point values whose sums no machine can round differently.

Every tensor on the decoder's path holds integer multiples of 2^-f, bounded, stored in float32. Sums and
products of such numbers are exact as long as every intermediate stays below 2^24 units of its grid, and an
exact sum does not depend on the order of summation: any correct kernel, on any device, with any number of
threads, gives the same bits.

Under bfloat16 autocast (training) values are only saturated: a mantissa of eight bits is as coarse as the
grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, cached_property
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec import int8
from bcodec.errors import InexactDevice, InexactWeights
from bcodec.frame import DEPTH

EXACT_BITS = 24  # integers below 2^24 are exact in float32
BYTE = 8  # bits
CACHED = frozenset({"_kernel", "_finest"})  # of a layer, by its fixed weights
_DRAWING: ContextVar[bool] = ContextVar("_DRAWING", default=True)
SLOPE = 1 / 8  # of the leaky ReLU: a power of two, hence exact


class Grid(NamedTuple):
    """So many multiples of 2^-frac as `bits` count, of which `below` (None: half of them) are below zero."""

    frac: int
    bits: int
    below: int | None = None

    @property
    def lowest(self) -> int:
        """Smallest value, in units of the grid."""
        return -(1 << (self.bits - 1)) if self.below is None else -self.below

    @property
    def highest(self) -> int:
        """Largest value, in units of the grid."""
        return self.lowest + (1 << self.bits) - 1

    @property
    def units(self) -> int:
        """Largest magnitude, in units of the grid."""
        return max(-self.lowest, self.highest)

    @property
    def low(self) -> float:
        """Smallest value."""
        return math.ldexp(self.lowest, -self.frac)

    @property
    def high(self) -> float:
        """Largest value."""
        return math.ldexp(self.highest, -self.frac)


PIXEL = Grid(frac=8, bits=DEPTH)  # [-2, 2) in steps of 1/256: (p - 512) / 256 for a ten-bit sample p
ACTIVATION = Grid(frac=6, bits=10)  # [-8, 8) in steps of 1/64
EIGHT = Grid(frac=4, bits=8)  # [-8, 8) in steps of 1/16: what enters layers that are in bytes by design
POSITIVE = Grid(frac=5, bits=8, below=0)  # [0, 8) in steps of 1/32: within them, and rectified by that
FINE = Grid(frac=7, bits=11)  # [-8, 8) in steps of 1/128: features that become a picture
LATENT = Grid(frac=8, bits=14)  # [-32, 32) in steps of 1/256: blocks of text on a plain ground need the range
SEEN_LATENT = Grid(frac=6, bits=12)  # [-32, 32) in steps of 1/64: latents as networks see them
PICTURE = Grid(frac=8, bits=11)  # [-4, 4) in steps of a quarter of a level: predictions, and what they miss
PIXEL_RESIDUAL = Grid(frac=8, bits=13)  # [-16, 16): decoded residuals, and pictures before they are clamped


class Sums(NamedTuple):
    """How a layer sums: in integers below 2^bits, of weights up to `limit` times a power of two for each
    output channel, 2^-finest or more."""

    bits: int
    limit: int
    finest: int


FLOAT32 = Sums(EXACT_BITS, 511, 13)
INT8 = Sums(EXACT_BITS, int8.LIMIT, 13)  # of layers that round what enters them to eight bits
FLOAT64 = Sums(52, 4095, 16)  # for the few layers whose weights must be finer: block transforms


class _Round(torch.autograd.Function):
    """Round to the grid of 2^-frac, half to even, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: object, x: Tensor, frac: int) -> Tensor:
        # Adding 1.5 * 2^(23 - frac) leaves no bits below the grid; exact for |x| < 2^(22 - frac).
        magic = math.ldexp(1.5, 23 - frac)
        return x.add(magic).sub_(magic)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def snap(x: Tensor, grid: Grid = ACTIVATION) -> Tensor:
    """Saturate `x` [..] to the grid's range and round it, half to even; straight-through inside.

    Without gradients `x` is overwritten. bfloat16 values are saturated only.
    """
    if x.dtype is torch.bfloat16:
        return F.hardtanh(x, grid.low, grid.high)
    if x.is_cuda:  # one kernel there, with the same answer; on a CPU it takes four times as long
        unit = math.ldexp(1.0, -grid.frac)
        return torch.fake_quantize_per_tensor_affine(x, unit, 0, grid.lowest, grid.highest)
    if torch.is_grad_enabled():
        x = F.hardtanh(x, grid.low, grid.high)
        return _Round.apply(x, grid.frac)  # type: ignore[no-any-return,no-untyped-call]
    return _rounded(x.clamp_(grid.low, grid.high), grid)


def to_steps(x: Tensor, grid: Grid) -> Tensor:
    """`x` [..] counted from the grid's smallest value: in bytes, or of up to sixteen bits in int16, wrapped.

    Without gradients.
    """
    return _counted(x.clamp(grid.low, grid.high), grid)


def from_steps(x: Tensor, grid: Grid) -> Tensor:
    """The values in float32 of what `to_steps` gives, [..]."""
    steps = x if x.dtype is torch.uint8 else x.int() & 0xFFFF
    values = steps.float().mul_(math.ldexp(1.0, -grid.frac))
    return values.add_(grid.low) if grid.lowest else values


def _rounded(x: Tensor, grid: Grid) -> Tensor:
    """What is in the grid's range, on the grid; overwritten."""
    magic = math.ldexp(1.5, 23 - grid.frac)
    return x.add_(magic).sub_(magic)


def _counted(x: Tensor, grid: Grid) -> Tensor:
    """What is in the grid's range, in its steps; overwritten."""
    # The last bits of 1.5 * 2^(23 - frac) + x count steps of 2^-frac.
    magic = math.ldexp(1.5, 23 - grid.frac) - grid.low
    return x.add_(magic).view(torch.int32).to(torch.uint8 if grid.bits == BYTE else torch.int16)


def hard_sigmoid(x: Tensor) -> Tensor:
    """clamp(x / 4 + 1 / 2, 0, 1), [..]: for x on a grid of 2^-f the result is on that of 2^-(f + 2)."""
    return torch.add(x.new_full((), 0.5), x, alpha=0.25).clamp_(0.0, 1.0)


def gate(query: Tensor, value: Tensor, grid: Grid = ACTIVATION) -> Tensor:
    """hard_sigmoid(query) * value, [..], on the grid; both are on activation grids, so this is exact."""
    return snap(hard_sigmoid(query) * value, grid)


def weight_steps(weight: Tensor, bias: Tensor, grid_in: Grid, residual_units: int, sums: Sums) -> Tensor:
    """Exponents e [C_out] such that the weights of each output channel are rounded to multiples of 2^-e.

    The finest for which |w| is within the limit and the largest sum, with the bias and a residual of so many
    units of the input's grid, stays exact.
    """
    flat = weight.detach().double().abs().flatten(1)
    # Rounding adds at most half a step to each weight, and half a unit to the bias.
    room = (1 << sums.bits) - 0.5 * flat.shape[1] * grid_in.units - 1
    largest = flat.sum(1) * grid_in.units + math.ldexp(1.0, grid_in.frac) * bias.detach().double().abs()
    limits = ((flat.amax(1), sums.limit + 0.49), (largest + residual_units, room))
    steps = [torch.floor(torch.log2(limit / magnitude.clamp_min(1e-9))) for magnitude, limit in limits]
    return torch.minimum(*steps).clamp(-8.0, sums.finest).float()


def on_grid(x: Tensor, step: Tensor) -> Tensor:
    """Round `x` [..] to multiples of `step` (powers of two), with the gradient of the identity."""
    rounded = torch.round(x / step) * step
    return x + (rounded - x).detach() if torch.is_grad_enabled() else rounded


def in_steps(weight: Tensor, bias: Tensor, grid_in: Grid, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [C_out, ..] and bias [C_out] rounded to the grids of steps 2^-e, for exponents e [C_out]."""
    step = torch.exp2(-exponent)
    steps = step.view(-1, *[1] * (weight.ndim - 1))
    return on_grid(weight, steps), on_grid(bias, step * math.ldexp(1.0, -grid_in.frac))


@contextmanager
def undrawn() -> Iterator[None]:
    """Within, layers are made without drawing their weights: for networks that are read from a file next."""
    token = _DRAWING.set(False)
    try:
        yield
    finally:
        _DRAWING.reset(token)


def drawing() -> bool:
    """Whether layers that are made get weights to begin training with."""
    return _DRAWING.get()


class Conv2d(nn.Module):
    """Convolution with bias on dyadic weights, then (optionally) a residual and a leaky ReLU, then one snap.

    Input [B, C_in, H, W] on `grid_in`, output [B, C_out, H / stride, W / stride] on `grid_out`; zero padding
    of kernel // 2. The residual must be on a grid no finer than the accumulator's. A layer `in_bytes` has
    weights of eight bits, and rounds what enters it to a grid: of eight bits, and may then be given bytes,
    or of up to sixteen, which are two bytes.
    """

    exponent: Tensor | None  # [C_out], of the frozen weights' steps

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: bool = False,
        zero: bool = False,
        grid_in: Grid = ACTIVATION,
        grid_out: Grid = ACTIVATION,
        sums: Sums = FLOAT32,
    ) -> None:
        super().__init__()
        self.sums = sums
        self.stride, self.groups = stride, groups
        self.activation, self.grid_in, self.grid_out = activation, grid_in, grid_out
        fan_in = c_in // groups * kernel * kernel
        rectified = activation or grid_out == POSITIVE
        deviation = 0.0 if zero else math.sqrt((1.6 if rectified else 0.8) / fan_in)
        shape = c_out, c_in // groups, kernel, kernel
        self.weight = nn.Parameter(torch.randn(shape) * deviation if drawing() else torch.empty(shape))
        self.bias = nn.Parameter(torch.zeros(c_out))
        self.frozen: tuple[Tensor, Tensor] | None = None
        self.register_buffer("exponent", None, persistent=False)

    def exact(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and bias on their grids, and the exponents e [C_out] of the weights' steps 2^-e."""
        exponent = self.exponent
        if exponent is None:
            exponent = weight_steps(self.weight, self.bias, self.grid_in, self.residual_units(), self.sums)
        return *in_steps(self.weight, self.bias, self.grid_in, exponent), exponent

    def in_bytes(self, grid: Grid) -> None:
        """Round weights and what enters from now on; weights are no longer fixed."""
        self.grid_in, self.sums = grid, INT8
        self.frozen = self.exponent = None

    @property
    def is_in_bytes(self) -> bool:
        """Whether int8 kernels may do it."""
        return self.sums == INT8

    @property
    def takes_bytes(self) -> bool:
        """Whether what enters may be bytes."""
        return self.is_in_bytes and self.grid_in.bits == BYTE

    def residual_units(self) -> int:
        """The largest residual, in the input's units: only between grids of one range is there one."""
        alike = self.is_in_bytes or self.grid_in.low == self.grid_out.low
        return int(math.ldexp(-self.grid_out.low, self.grid_in.frac)) if alike else 0

    def integers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and bias as integers (in float32) and the exponents: what is exported."""
        with torch.no_grad():
            weight, bias, exponent = self.exact()
        scale = torch.exp2(exponent)
        return weight * scale.view(-1, 1, 1, 1), bias * scale * 2.0**self.grid_in.frac, exponent

    def freeze(self, weight: Tensor, bias: Tensor, exponent: Tensor) -> None:
        """Fix the layer to integers [C_out, ...], [C_out], [C_out].

        Raises InexactWeights unless all sums are exact.
        """
        units = weight.abs().flatten(1).sum(1, dtype=torch.float64) * self.grid_in.units + bias.double().abs()
        residual = self.residual_units() * torch.exp2(exponent.double())
        if bool((units + residual >= 1 << self.sums.bits).any()):
            raise InexactWeights(f"a sum of {float(units.max()):.0f} units is not exact")
        step = torch.exp2(-exponent)
        with torch.no_grad():
            torch.mul(weight, step.view(-1, 1, 1, 1), out=self.weight)
            self.bias.copy_(bias * step * 2.0**-self.grid_in.frac)
        self.exponent = exponent
        self._fix_operands()

    def _fix_operands(self) -> None:
        """Cast the fixed weights to the precision that is exact where they are."""
        for name in CACHED:
            self.__dict__.pop(name, None)
        device = self.weight.device
        precision = torch.float64 if self.sums == FLOAT64 else exact_precision(device.type)
        weight = self.weight.detach().to(device, precision, memory_format=torch.channels_last)
        self.frozen = weight, self.bias.detach().to(device, precision)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move, as `to` does every module, the fixed weights too; raises InexactDevice."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.frozen is not None:
            self._fix_operands()
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: oneDNN's own weights cannot be, and are made again."""
        return {name: value for name, value in self.__dict__.items() if name not in CACHED}

    @cached_property
    def _kernel(self) -> tuple[int8.Packed, ...] | None:
        """What sums by int8 kernels, with the fixed weights; None where it is not exact, or does not pay.

        Of what enters in two bytes first what sums the higher ones, then the lower ones.
        """
        if self.groups > 1:
            return None
        weight, bias, exponent = self.integers()
        unit, zero = torch.exp2(-exponent - self.grid_in.frac), -self.grid_in.lowest
        if self.takes_bytes:
            one = int8.pack(weight, bias, unit, self.stride, zero)
            return None if one is None else (one,)
        low = int8.pack(weight, bias, unit, self.stride, zero & int8.LARGEST)
        high = int8.pack(weight, torch.zeros_like(bias), unit * (1 << BYTE), self.stride, zero >> BYTE)
        if low is None or high is None or int8.LARGEST * weight.abs().flatten(1).sum(1).max() >= int8.EXACT:
            return None
        return high, low

    @cached_property
    def _finest(self) -> int:
        """The bits below 1 that sums have."""
        return int(self.integers()[2].max()) + self.grid_in.frac

    def _fits(self, grid: Grid) -> bool:
        """Whether kernels round sums to bytes exactly."""
        return self._finest - grid.frac <= int8.FINEST

    def operands(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and bias to convolve with: frozen, rounded anew, or (bfloat16 is as coarse) not rounded."""
        if self.frozen is not None:
            return self.frozen
        if torch.is_autocast_enabled(x.device.type):
            return self.weight, self.bias
        return self.exact()[:2]

    def forward(self, x: Tensor, residual: Tensor | None = None, *, to: Conv2d | None = None) -> Tensor:
        """The layer's output for `x`, with `residual` added before the activation function.

        `to`: the layer that it enters next, and only that; then it may be what `to_steps` gives.
        """
        grid = to.grid_in if to and to.takes_bytes else self.grid_out
        counted = to is not None and to.is_in_bytes and to.grid_in == grid and int8.serves(x)
        if self.is_in_bytes and self.exponent is not None and int8.serves(x) and self._kernel:
            return self._by_kernel(self._kernel, x, residual, grid, counted)
        y = self._sums(x)
        if residual is not None:
            y = y + residual if torch.is_grad_enabled() else y.add_(residual)
        if self.activation:
            y = F.leaky_relu(y, SLOPE, inplace=not torch.is_grad_enabled())
        return to_steps(y, grid) if counted else snap(y, grid)

    def _by_kernel(
        self, kernel: tuple[int8.Packed, ...], x: Tensor, residual: Tensor | None, grid: Grid, counted: bool
    ) -> Tensor:
        """The output on a grid, or counted in its steps, by int8 kernels, as far as they can."""
        if x.dtype is torch.float32:
            x = to_steps(x, self.grid_in)
        bounded = False
        if len(kernel) == 2:
            high, low = kernel
            y = low.onto(high((x >> BYTE).to(torch.uint8)), x.to(torch.uint8))
        elif residual is not None:
            y = kernel[0](x)
        elif counted and grid.bits == BYTE and not self.activation and self._fits(grid):
            return kernel[0].to_bytes(x, math.ldexp(1.0, -grid.frac), -grid.lowest)
        else:
            bounded = True
            y = kernel[0](x, grid.low / SLOPE if self.activation else grid.low, grid.high)
        if residual is not None:
            y.add_(residual)
        if self.activation:
            F.leaky_relu_(y, SLOPE)
        if not bounded:
            y.clamp_(grid.low, grid.high)
        return _counted(y, grid) if counted else _rounded(y, grid)

    def _sums(self, x: Tensor) -> Tensor:
        """What is summed in float32 or float64, [B, C_out, H / stride, W / stride]."""
        if self.is_in_bytes:
            if not x.is_floating_point():
                x = from_steps(x, self.grid_in)
            else:  # without gradients it would be overwritten
                x = snap(x if torch.is_grad_enabled() else x.clone(), self.grid_in)
        weight, bias = self.operands(x)
        y = convolve(
            x.double() if weight.dtype is torch.float64 else x, weight, bias, self.stride, self.groups
        )
        return y.float() if y.dtype is torch.float64 else y

    def at(self, x: Tensor, where: Tensor) -> Tensor:
        """Of a 1x1 layer, the output [B, C_out, H, W] for `x` where `where` [B, 1, H, W] is, else for 0.

        On a CPU, without gradients, it takes no time elsewhere; a GPU would have to be waited for.
        """
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return self(torch.where(where, x, 0.0))  # type: ignore[no-any-return]
        places = where[:, 0]
        rows = x.permute(0, 2, 3, 1)[places]  # [N, C_in]
        rows = torch.cat([rows, torch.zeros_like(rows[:1] if len(rows) else x[:1, :, 0, 0])])
        each: Tensor = self(rows.view(1, len(rows), 1, -1).permute(0, 3, 1, 2))[0, :, :, 0].mT
        output = each[-1].repeat(*places.shape, 1)
        output[places] = each[:-1]
        return output.permute(0, 3, 1, 2)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution with zero padding of kernel // 2, [B, C_in, H, W] -> [B, C_out, H / stride, W / stride]."""
    kernel = weight.shape[-1]
    if kernel == stride == groups == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
        # One matrix product over all positions: as a convolution, on one thread, it is slower by a half.
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias, stride, kernel // 2, groups=groups)


def downsample(x: Tensor) -> Tensor:
    """Mean of each 2x2 square, [.., H, W] -> [.., H/2, W/2], on a grid finer by two bits."""
    return F.avg_pool2d(x, 2)


def upsample(x: Tensor, rows: int = 2, columns: int | None = None) -> Tensor:
    """Each position repeated rows x columns (or rows x rows) times, [.., H, W] -> [.., H rows, W columns]."""
    columns = rows if columns is None else columns
    if rows == columns == 1:
        return x
    if x.ndim == 4 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last):
        batch, channels, height, width = x.shape
        each = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, rows, -1, columns, -1)
        return each.reshape(batch, height * rows, width * columns, channels).permute(0, 3, 1, 2)
    *outer, height, width = x.shape
    each = x[..., :, None, :, None].expand(*outer, height, rows, width, columns)
    return each.reshape(*outer, height * rows, width * columns)


def squares_apart(x: Tensor) -> Tensor:
    """Pixel unshuffle by two, [B, C, H, W] -> [B, 4 C, H/2, W/2], in the layout of `x`; in less time."""
    parts = [x[..., down::2, across::2] for down in (0, 1) for across in (0, 1)]
    if x.is_contiguous(memory_format=torch.channels_last):
        return torch.stack([part.permute(0, 2, 3, 1) for part in parts], -1).flatten(3).permute(0, 3, 1, 2)
    return torch.stack(parts, 2).flatten(1, 2)


def one_plane(x: Tensor) -> Tensor:
    """Pixel shuffle of four channels to one, [B, 4, H, W] -> [B, 1, 2 H, 2 W]; in less time."""
    a, b, c, d = x.unbind(1)
    rows = torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], 2)
    return rows.view(len(x), 1, 2 * x.shape[2], 2 * x.shape[3])


def warp(features: Tensor, motion: Tensor, grid: Grid = ACTIVATION) -> Tensor:
    """Bilinear samples of `features` at each position plus `motion`, borders replicated.

    features [B, C, H, W] on the activation or the pixel grid; motion [B, 2, h, w] = (x, y) in samples of
    `features`, multiples of 1/16; output [B, C, h, w] on `grid`, where h / H = w / W gives the pitch of the
    output positions. Differentiable in both arguments. The sums have at most 10 + 8 bits: exact.
    """
    batch, channels, height, width = features.shape
    rows, columns = motion.shape[2:]
    motion = motion.float()
    x = motion[:, 0] + _positions(columns, width // columns, motion.device).view(1, 1, -1)
    y = motion[:, 1] + _positions(rows, height // rows, motion.device).view(1, -1, 1)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.detach().floor(), y.detach().floor()
    fx, fy = x - left, y - top
    right, bottom = (left + 1).clamp_max_(width - 1), (top + 1).clamp_max_(height - 1)
    start = torch.arange(batch, device=motion.device).view(-1, 1, 1) * (height * width)
    upper, lower = top.long() * width + start, bottom.long() * width + start
    left, right = left.long(), right.long()
    indices = torch.stack([upper + left, upper + right, lower + left, lower + right], -1).view(-1, 4)
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1).view(-1, 4)
    table = features.permute(0, 2, 3, 1).reshape(-1, channels).float()
    output = F.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")
    return snap(output.view(batch, rows, columns, channels).permute(0, 3, 1, 2), grid)


def warp_squares(planes: Tensor, motion: Tensor, grid: Grid) -> Tensor:
    """What `warp` gives of planes [B, C, H, W] for motion repeated over squares, in a quarter of the time.

    Motion [B, 2, h, w] in samples of the planes, multiples of 1/16; squares have H / h samples a side. The
    sums are as exact.
    """
    batch, channels, height, width = planes.shape
    size = height // motion.shape[2]
    whole = motion.detach().floor()
    off = (motion - whole)[..., None, None, None]
    side = torch.arange(size + 1, device=planes.device)
    x = whole[:, 0] + _positions(motion.shape[3], size, planes.device)
    y = whole[:, 1] + _positions(motion.shape[2], size, planes.device)[:, None]
    x = (x.long()[..., None] + side).clamp_(0, width - 1)
    y = (y.long()[..., None] + side).clamp_(0, height - 1)
    start = height * torch.arange(batch, device=planes.device).view(-1, 1, 1, 1)
    index = (y + start)[..., None] * width + x[..., None, :]
    table = planes.permute(0, 2, 3, 1).reshape(-1, channels).float()
    samples = table.index_select(0, index.view(-1)).view(*index.shape, channels)
    samples = torch.lerp(samples[..., :-1, :], samples[..., 1:, :], off[:, 0])
    samples = torch.lerp(samples[..., :-1, :, :], samples[..., 1:, :, :], off[:, 1])
    return snap(samples.permute(0, 5, 1, 3, 2, 4).reshape(planes.shape), grid)


def _positions(count: int, pitch: int, device: torch.device) -> Tensor:
    return torch.arange(0, count * pitch, pitch, device=device, dtype=torch.float32)


@cache
def exact_precision(device: str) -> torch.dtype:
    """The precision in which the device's convolutions are exact: float32, or float64 as a fallback.

    The self-test convolves the largest integers that the bound allows, in shapes with which libraries choose
    different algorithms, and compares with an answer in int64. Raises InexactDevice if neither is exact.
    """
    if device.startswith("cuda"):
        # cuDNN chooses by the size of pictures, and to test all sizes would never end: B frames of 1080p were
        # decoded wrongly on an H200 where those of 176x144 were right. Without it sums are matrix products.
        torch.backends.cudnn.enabled = False
        torch.backends.cuda.matmul.allow_tf32 = False
    shapes = ((64, 64, 3, 1), (320, 96, 1, 1), (96, 96, 3, 2))
    for precision in (torch.float32, torch.float64):
        if all(_exact(device, precision, shape) for shape in shapes):
            return precision
    raise InexactDevice(f"convolutions on {device} are not exact: use the CPU")


def _exact(device: str, precision: torch.dtype, shape: tuple[int, int, int, int]) -> bool:
    c_in, c_out, kernel, stride = shape
    generator = torch.Generator().manual_seed(c_in * kernel)
    limit = (1 << (EXACT_BITS - 1)) // (ACTIVATION.units * c_in * kernel * kernel)
    weight = torch.randint(-limit, limit + 1, (c_out, c_in, kernel, kernel), generator=generator)
    x = torch.randint(-ACTIVATION.units, ACTIVATION.units, (1, c_in, 20, 24), generator=generator)
    columns = F.unfold(x.double(), kernel, padding=kernel // 2, stride=stride).long()
    expected = weight.flatten(1) @ columns[0]
    x = x.to(device, precision, memory_format=torch.channels_last)
    with torch.no_grad():
        y = convolve(x, weight.to(device, precision), None, stride)
    return bool(torch.equal(y.cpu().flatten(2)[0].long(), expected))
