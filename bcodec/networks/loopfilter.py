"""The adaptive loop filter: small filters that the encoder fits to each picture, sent with it.

A network that is trained once knows pictures in general; these filters mend what it misses in this one.
After the adaptive loop filter of VVC (M. Karczewicz et al., "VVC In-Loop Filters", IEEE TCSVT 31, 2021): a
sample moves towards its neighbours by shares of the clipped differences from them,

    x' = x + sum over taps k and reaches r of c_kr (clip_r(x(+k) - x) + clip_r(x(-k) - x)) / UNIT

where luma's shares may depend on how busy the block of 4x4 is. Two reaches beside each other remove twice the
error that one removes (measured); thin lines want a third. All numbers are integers below 2^24, or sums of
them in float64: exact, and the same files everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import upsample
from bcodec.frame import Plane
from bcodec.networks.latent import SCALE_RATIO, SMALLEST_SCALE, SymbolCoder

UNIT = 64  # of a share; as latents are coded, it is 1
CELL = 4  # samples a side of what is busy or not
BUSY = (1 / 8, 3 / 8, 7 / 8)  # quantization steps of second differences at which a class ends
REACHES = (5 / 16, 5 / 4, 5.0)  # quantization steps at which differences are clipped
STRIP = 64  # rows that are filtered at once, a multiple of CELL: large pictures take little memory beside
DEVIATIONS = (4.0, 3.0, 2.5)  # of shares, by the distance of their taps (measured)
KIND_DEVIATION = 1.5
STEADINESS = 1e-2  # of the sums' diagonal, added to it: shares of what never differs stay small

Sums = npt.NDArray[np.float64]
Offset = tuple[int, int]


def diamond(radius: int) -> tuple[Offset, ...]:
    """(row, column) of half of the neighbours within a distance; the others lie opposite."""
    side = range(-radius, radius + 1)
    return tuple((y, x) for y in side for x in side if (y, x) < (0, 0) and abs(y) + abs(x) <= radius)


class Kind(NamedTuple):
    """What filters of one kind look at: taps at the first reaches; and in how many classes samples fall."""

    taps: tuple[Offset, ...]
    reaches: int
    classes: int

    @property
    def width(self) -> int:
        """Shares of a class."""
        return len(self.taps) * self.reaches

    def scales(self) -> Tensor:
        """The scale index of each share, [classes * width]."""
        each = torch.tensor([table_of(DEVIATIONS[abs(y) + abs(x) - 1]) for y, x in self.taps])
        return each.repeat_interleave(self.reaches).repeat(self.classes)


NONE = Kind((), 0, 0)
LUMA = (
    NONE,
    Kind(diamond(2), 2, 1),
    Kind(diamond(3), 2, 1),
    Kind(diamond(3), 3, 1),
    Kind(diamond(3), 2, len(BUSY) + 1),
    Kind(diamond(3), 3, len(BUSY) + 1),
)
CHROMA = (NONE, Kind(diamond(1), 2, 1), Kind(diamond(2), 2, 1))
KINDS = (LUMA, CHROMA, CHROMA)


class Filter(NamedTuple):
    """A plane's filter: its kind, and the shares [classes, width], whole numbers in float32."""

    kind: Kind
    shares: Tensor


def loop_filter(
    symbols: SymbolCoder,
    planes: Sequence[Plane],
    steps: Sequence[float],
    original: Sequence[Plane] | None = None,
    worth: Sequence[float] = (),
) -> list[Plane]:
    """The planes Y, U, V [H, W] filtered, as is coded on the way.

    `steps` are the planes' quantization steps in 8-bit levels. When encoding, `original` has the planes to
    come near to, and `worth` the bits that a squared error of a sample is worth in each.
    """
    pictures = [FilteredPlane(plane, step) for plane, step in zip(planes, steps, strict=True)]
    found = None
    if original is not None:
        found = [p.fit(k, o, w) for p, k, o, w in zip(pictures, KINDS, original, worth, strict=True)]
    filters = code_filters(symbols, found)
    return [picture.apply(chosen) for picture, chosen in zip(pictures, filters, strict=True)]


def code_filters(symbols: SymbolCoder, found: list[Filter] | None) -> list[Filter]:
    """The decoded filter of each plane."""
    zeros = torch.zeros(1, len(KINDS), 1, 1)
    numbers = None
    if found is not None:
        chosen = [kinds.index(f.kind) for f, kinds in zip(found, KINDS, strict=True)]
        numbers = torch.tensor(chosen).float().view_as(zeros)
    index = torch.full_like(zeros, table_of(KIND_DEVIATION))
    decoded = symbols.code(numbers, zeros, index, torch.ones_like(zeros)).view(-1).long().tolist()
    kinds = [known[min(max(n, 0), len(known) - 1)] for n, known in zip(decoded, KINDS, strict=True)]
    # Of each plane as many shares as there can be: those that are not there have the scale of what is zero.
    room = [max(kind.classes * kind.width for kind in known) for known in KINDS]
    index = slots([kind.scales() for kind in kinds], room)
    y = None if found is None else slots([f.shares.flatten() for f in found], room) / UNIT
    values = symbols.code(y, torch.zeros_like(index), index, torch.full_like(index, 1 / UNIT)) * UNIT
    parts = torch.split(values.view(-1), room)
    return [
        Filter(kind, part[: kind.classes * kind.width].view(kind.classes, kind.width))
        for kind, part in zip(kinds, parts, strict=True)
    ]


def slots(parts: Sequence[Tensor], room: Sequence[int]) -> Tensor:
    """Values of each plane with zeros behind them, [1, all room, 1, 1]."""
    padded = [F.pad(part, (0, size - len(part))) for part, size in zip(parts, room, strict=True)]
    return torch.cat(padded).view(1, -1, 1, 1)


def table_of(deviation: float) -> float:
    """The scale index nearest to a deviation."""
    return float(round(math.log(deviation / SMALLEST_SCALE) / math.log(SCALE_RATIO)))


class FilteredPlane:
    """A plane [H, W] to be filtered."""

    def __init__(self, plane: Plane, step: float) -> None:
        self.plane = torch.from_numpy(plane).float()
        self.reaches = [max(1.0, float(round(step * share))) for share in REACHES]
        self.thresholds = torch.tensor([step * CELL**2 * share for share in BUSY])

    def apply(self, chosen: Filter) -> Plane:
        """The filtered plane."""
        result = self.plane.clone()
        if chosen.kind.classes:
            classes = self.classes(chosen.kind.classes)
            for rows, differences in self.strips(chosen.kind):
                moves = chosen.shares @ differences.flatten(1)
                moves = moves.gather(0, classes[rows].reshape(1, -1)).view_as(result[rows])
                result[rows] = torch.round(result[rows] + moves / UNIT).clamp_(0, 255)
        return result.to(torch.uint8).numpy()

    def fit(self, kinds: Sequence[Kind], original: Plane, worth: float) -> Filter:
        """The filter by which the plane comes nearest to the original, as far as that pays."""
        best, most = Filter(NONE, torch.zeros(0, 0)), 0.0
        if not worth:
            return best
        everything = self.correlate(kinds[-1], torch.from_numpy(original).float())
        for kind in kinds[1:]:
            sums = everything.of(kind)
            shares = np.stack([solve(*pair) for pair in zip(*sums, strict=True)])
            shares = np.clip(np.round(shares * UNIT), -UNIT, UNIT)
            removed = sum(map(error_removed, shares / UNIT, *sums))
            gain = worth * removed - sum(bits(int(share)) for share in shares.flat)
            if gain > most:
                best, most = Filter(kind, torch.from_numpy(shares).float()), gain
        return best

    def correlate(self, kind: Kind, original: Tensor) -> Correlations:
        """What least squares need to know of the plane for filters of a kind, or of a simpler one."""
        squares = np.zeros((kind.classes, kind.width, kind.width))
        products = np.zeros((kind.classes, kind.width))
        classes = self.classes(kind.classes)
        for rows, differences in self.strips(kind):
            error = (original[rows] - self.plane[rows]).double().numpy()
            for number in range(kind.classes):
                where = classes[rows] == number
                picked = differences[:, where].double().numpy()
                squares[number] += picked @ picked.T
                products[number] += picked @ error[where.numpy()]
        return Correlations(kind, squares, products)

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
        whole = F.pad(across + down, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        cells = torch.bucketize(F.avg_pool2d(whole, CELL)[0, 0] * CELL**2, self.thresholds)
        return upsample(cells, CELL)[:height, :width]

    def strips(self, kind: Kind) -> Iterator[tuple[slice, Tensor]]:
        """Rows, and the clipped differences of both neighbours of each tap, [width, rows, W]."""
        radius = max(-y for y, _ in kind.taps)
        padded = F.pad(self.plane[None, None], (radius,) * 4, mode="replicate")[0, 0]
        height, width = self.plane.shape
        for top in range(0, height, STRIP):
            rows = slice(top, min(top + STRIP, height))
            here = self.plane[rows]

            def difference(y: int, x: int, rows: slice = rows, here: Tensor = here) -> Tensor:
                there = padded[radius + y + rows.start : radius + y + rows.stop]
                return there[:, radius + x : radius + x + width] - here

            pairs = ((difference(y, x), difference(-y, -x)) for y, x in kind.taps)
            yield (
                rows,
                torch.stack(
                    [a.clamp(-r, r) + b.clamp(-r, r) for a, b in pairs for r in self.reaches[: kind.reaches]]
                ),
            )


class Correlations(NamedTuple):
    """By class, sums of the differences' products with one another [K, N, N] and with the error [K, N]."""

    kind: Kind
    squares: Sums
    products: Sums

    def of(self, kind: Kind) -> tuple[Sums, Sums]:
        """Those of a kind with some of the taps and reaches, and as many classes or one."""
        places = [i for i, tap in enumerate(self.kind.taps) if tap in kind.taps]
        wanted = [self.kind.reaches * i + r for i in places for r in range(kind.reaches)]
        squares, products = self.squares[:, wanted][:, :, wanted], self.products[:, wanted]
        if kind.classes < self.kind.classes:
            squares, products = squares.sum(0, keepdims=True), products.sum(0, keepdims=True)
        return squares, products


def solve(squares: Sums, products: Sums) -> Sums:
    """x with squares x = products, by Gaussian elimination step by step: libraries round as machines do."""
    size = len(products)
    steady = STEADINESS * math.fsum(np.diag(squares)) / size + 1
    rows = np.concatenate([squares + steady * np.eye(size), products[:, None]], 1)
    for i in range(size):
        rows[i] /= rows[i, i]
        for j in range(size):
            if j != i:
                rows[j] -= rows[j, i] * rows[i]
    return rows[:, -1]


def error_removed(shares: Sums, squares: Sums, products: Sums) -> float:
    """By how much shares lower the sum of squared errors, rounded alike on every machine."""
    return math.fsum(2 * shares * products) - math.fsum((shares[:, None] * shares * squares).flat)


def bits(share: int) -> int:
    """About the bits of a share: those of its Exp-Golomb code."""
    return 2 * (abs(share) + 1).bit_length() - (share == 0)
