"""The adaptive loop filter: small filters that the encoder fits to each picture, sent with it.

A network that is trained once knows pictures in general; these filters mend what it misses in this one.
After the adaptive loop filter of VVC (M. Karczewicz et al., "VVC In-Loop Filters", IEEE TCSVT 31, 2021): a
sample moves towards its neighbours by shares of the clipped differences from them,

    x' = x + sum over taps k and reaches r of c_kr (clip_r(x(+k) - x) + clip_r(x(-k) - x)) / SHARE_UNIT

where luma's shares may depend on how busy the block of 4x4 is. Two reaches beside each other remove twice the
error that one removes (measured: E238, E240); thin lines want a third. All numbers are integers below 2^24,
or sums of them in float64: exact, and the same files everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.coding import Encoder, Part, SymbolCoder, nearest_table
from bcodec.fixedpoint import upsample
from bcodec.frame import PEAK, Plane

SHARE_UNIT = 64  # of a share; as latents are coded, it is 1
ACTIVITY_BLOCK = 4  # samples a side of what is busy or not
BUSY = (1 / 8, 3 / 8, 7 / 8)  # quantization steps of second differences at which a class ends
REACHES = (5 / 16, 5 / 4, 5.0)  # quantization steps at which differences are clipped
STRIP = 64  # rows filtered at once, a multiple of ACTIVITY_BLOCK: large pictures take little memory beside
DEVIATIONS = (4.0, 3.0, 2.5)  # of shares, by the distance of their taps (by trial)
SHAPE_DEVIATION = 1.5

Offset = tuple[int, int]


def diamond(radius: int) -> tuple[Offset, ...]:
    """(row, column) of half of the neighbours within a distance; the others lie opposite."""
    side = range(-radius, radius + 1)
    return tuple((y, x) for y in side for x in side if (y, x) < (0, 0) and abs(y) + abs(x) <= radius)


class FilterShape(NamedTuple):
    """What filters of one shape look at: taps at the first reaches; and in how many classes samples fall."""

    taps: tuple[Offset, ...]
    reaches: int
    classes: int

    @property
    def width(self) -> int:
        """Shares of a class."""
        return len(self.taps) * self.reaches

    def scales(self) -> Tensor:
        """The scale index of each share, [classes * width]."""
        each = torch.tensor([nearest_table(DEVIATIONS[abs(y) + abs(x) - 1]) for y, x in self.taps])
        return each.repeat_interleave(self.reaches).repeat(self.classes)


NONE = FilterShape((), 0, 0)
LUMA = (
    NONE,
    FilterShape(diamond(2), 2, 1),
    FilterShape(diamond(3), 2, 1),
    FilterShape(diamond(3), 3, 1),
    FilterShape(diamond(3), 2, len(BUSY) + 1),
    FilterShape(diamond(3), 3, len(BUSY) + 1),
)
CHROMA = (NONE, FilterShape(diamond(1), 2, 1), FilterShape(diamond(2), 2, 1))
SHAPES = (LUMA, CHROMA, CHROMA)


class Filter(NamedTuple):
    """A plane's filter: its shape, and the shares [classes, width], whole numbers in float32."""

    shape: FilterShape
    shares: Tensor


def loop_filter(
    symbols: SymbolCoder, planes: Sequence[Plane], steps: Sequence[float], encoder: Encoder | None = None
) -> list[Plane]:
    """The ten-bit planes Y, U, V [H, W] filtered, as is coded on the way.

    `steps` are the planes' quantization steps in ten-bit levels.
    """
    filters = code_filters(symbols, None if encoder is None else encoder.fit_filters(planes, steps))
    pairs = zip(planes, steps, filters, strict=True)
    return [FilteredPlane(plane, step).apply(chosen) for plane, step, chosen in pairs]


def code_filters(symbols: SymbolCoder, fitted: list[tuple[int, Tensor]] | None) -> list[Filter]:
    """The decoded filter of each plane; `fitted`: the number of its shape, its shares [classes, width]."""
    zeros = torch.zeros(1, len(SHAPES), 1, 1)
    numbers = None if fitted is None else torch.tensor([float(number) for number, _ in fitted]).view_as(zeros)
    index = torch.full_like(zeros, nearest_table(SHAPE_DEVIATION))
    decoded = (
        symbols.code(Part.FILTERS, numbers, zeros, index, torch.ones_like(zeros)).view(-1).long().tolist()
    )
    shapes = [known[min(max(n, 0), len(known) - 1)] for n, known in zip(decoded, SHAPES, strict=True)]
    # Of each plane as many shares as there can be: those that are not there have the scale of what is zero.
    room = [max(shape.classes * shape.width for shape in known) for known in SHAPES]
    index = slots([shape.scales() for shape in shapes], room)
    y = None if fitted is None else slots([shares.flatten() for _, shares in fitted], room) / SHARE_UNIT
    step = torch.full_like(index, 1 / SHARE_UNIT)
    values = symbols.code(Part.FILTERS, y, torch.zeros_like(index), index, step) * SHARE_UNIT
    parts = torch.split(values.view(-1), room)
    return [
        Filter(shape, part[: shape.classes * shape.width].view(shape.classes, shape.width))
        for shape, part in zip(shapes, parts, strict=True)
    ]


def slots(parts: Sequence[Tensor], room: Sequence[int]) -> Tensor:
    """Values of each plane with zeros behind them, [1, all room, 1, 1]."""
    padded = [F.pad(part, (0, size - len(part))) for part, size in zip(parts, room, strict=True)]
    return torch.cat(padded).view(1, -1, 1, 1)


class FilteredPlane:
    """A ten-bit plane [H, W] to be filtered, by a quantization step in ten-bit levels."""

    def __init__(self, plane: Plane, step: float) -> None:
        self.plane = torch.from_numpy(plane.astype(np.float32))
        self.reaches = [max(1.0, float(round(step * share))) for share in REACHES]
        self.thresholds = torch.tensor([step * ACTIVITY_BLOCK**2 * share for share in BUSY])

    def apply(self, chosen: Filter) -> Plane:
        """The filtered plane."""
        result = self.plane.clone()
        if chosen.shape.classes:
            shares, classes = chosen.shares / SHARE_UNIT, self.classes(chosen.shape.classes)
            for rows, differences in self.strips(chosen.shape):
                moves = shares @ differences.flatten(1)
                if len(moves) > 1:
                    moves = moves.gather(0, classes[rows].reshape(1, -1))
                result[rows] = moves.view_as(result[rows]).add_(result[rows]).round_().clamp_(0, PEAK)
        return result.numpy().astype(np.uint16)

    def classes(self, count: int) -> Tensor:
        """The class of each sample, [H, W]: one, or how busy its block is."""
        return self.busy if count > 1 else torch.zeros(self.plane.shape, dtype=torch.long)

    @cached_property
    def busy(self) -> Tensor:
        """How busy each sample's block is: the number of thresholds that it passes, [H, W]."""
        height, width = self.plane.shape
        padded = F.pad(self.plane[None, None], (1, 1, 1, 1), mode="replicate")
        middle = 2 * self.plane
        across = (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:] - middle).abs()
        down = (padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] - middle).abs()
        whole = F.pad(
            across + down, (0, -width % ACTIVITY_BLOCK, 0, -height % ACTIVITY_BLOCK), mode="replicate"
        )
        cells = torch.bucketize(
            F.avg_pool2d(whole, ACTIVITY_BLOCK)[0, 0] * ACTIVITY_BLOCK**2, self.thresholds
        )
        return upsample(cells, ACTIVITY_BLOCK)[:height, :width]

    def strips(self, shape: FilterShape) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and the clipped differences of both neighbours of each tap, [width, rows, W]."""
        radius = max(-y for y, _ in shape.taps)
        padded = F.pad(self.plane[None, None], (radius,) * 4, mode="replicate")[0, 0]
        height, width = self.plane.shape
        for top in range(0, height, STRIP):
            rows = slice(top, min(top + STRIP, height))
            strip, count = padded[rows.start : rows.stop + 2 * radius], rows.stop - rows.start
            sums = torch.empty(len(shape.taps), shape.reaches, count, width)
            for (y, x), of_tap in zip(shape.taps, sums, strict=True):
                # How far the sample at (y, x) from here is off; and that at (-y, -x), seen from there.
                left, high, wide = radius + min(0, -x), count - y, width + abs(x)
                here = strip[radius : radius + high, left : left + wide]
                difference = strip[radius + y : radius + y + high, left + x : left + x + wide] - here
                one, other = max(0, x), max(0, -x)
                for reach, total in zip(self.reaches, of_tap, strict=False):
                    off = difference.clamp(-reach, reach)
                    torch.sub(off[:count, one : one + width], off[-y:, other : other + width], out=total)
            yield rows, sums.flatten(0, 1)
