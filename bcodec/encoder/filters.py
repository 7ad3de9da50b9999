"""Loop filters fitted to a picture by least squares, as far as they pay.

Sums are in float64, and all that decides is rounded alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bcodec.frame import Plane
from bcodec.networks.loopfilter import SHAPES, SHARE_UNIT, FilteredPlane, FilterShape

STEADINESS = 1e-2  # of the sums' diagonal, added to it: shares of what never differs stay small

Sums = npt.NDArray[np.float64]
Fitted = tuple[int, Tensor]  # the number of a shape among those of the plane, and the shares [classes, width]

ENOUGH = 1 << 18  # samples to fit a filter to
LEVEL = 4  # ten-bit levels in an 8-bit one

NOTHING: Fitted = (0, torch.zeros(0, 0))


def fit_filters(
    planes: Sequence[Plane], steps: Sequence[float], original: Sequence[Plane], worth: Sequence[float]
) -> list[Fitted]:
    """The filters by which the planes Y, U, V [H, W] come nearest to the original ones, as far as that pays.

    All are of ten bits, and so are the quantization `steps`; `worth` are the bits that a squared error of one
    8-bit level is worth in each plane, 0 for no filter.
    """
    return [
        fit(FilteredPlane(plane, step), shapes, source, each / LEVEL**2) if each else NOTHING
        for plane, step, shapes, source, each in zip(planes, steps, SHAPES, original, worth, strict=True)
    ]


def fit(plane: FilteredPlane, shapes: Sequence[FilterShape], original: Plane, worth: float) -> Fitted:
    """The filter of one plane, of the shapes given (the first is none)."""
    best, most = NOTHING, 0.0
    everything = correlate(plane, shapes[-1], torch.from_numpy(original.astype(np.float32)))
    for number, shape in enumerate(shapes[1:], 1):
        sums = everything.of(shape)
        shares = np.stack([solve(*pair) for pair in zip(*sums, strict=True)])
        shares = np.clip(np.round(shares * SHARE_UNIT), -SHARE_UNIT, SHARE_UNIT)
        removed = sum(map(error_removed, shares / SHARE_UNIT, *sums))
        gain = worth * removed - sum(bits(int(share)) for share in shares.flat)
        if gain > most:
            best, most = (number, torch.from_numpy(shares).float()), gain
    return best


def correlate(plane: FilteredPlane, shape: FilterShape, original: Tensor) -> Correlations:
    """What least squares need to know of a plane [H, W] for filters of a shape, or of a simpler one."""
    width = shape.width
    sums = torch.zeros(shape.classes, width + 1, width + 1, dtype=torch.float64)
    classes = plane.classes(shape.classes)
    # Of a large picture some rows say as much as all.
    every = max(1, round(original.numel() / ENOUGH))
    for rows, differences in plane.strips(shape):
        error = original[rows] - plane.plane[rows]
        values = torch.cat([differences[:, ::every], error[None, ::every]]).flatten(1)
        for number in range(shape.classes):
            # Sums of whole numbers, exact in any order. By torch: NumPy's matrices have threads of their own,
            # which spin beside torch's.
            where = (classes[rows][::every] == number).flatten().nonzero()[:, 0]
            picked = (values.index_select(1, where) if shape.classes > 1 else values).double()
            sums[number] += picked @ picked.mT
    both = sums.numpy() * every
    return Correlations(shape, both[:, :width, :width], both[:, :width, width])


class Correlations(NamedTuple):
    """By class, sums of the differences' products with one another [K, N, N] and with the error [K, N]."""

    shape: FilterShape
    squares: Sums
    products: Sums

    def of(self, shape: FilterShape) -> tuple[Sums, Sums]:
        """Those of a shape with some of the taps and reaches, and as many classes or one."""
        places = [i for i, tap in enumerate(self.shape.taps) if tap in shape.taps]
        wanted = [self.shape.reaches * i + r for i in places for r in range(shape.reaches)]
        squares, products = self.squares[:, wanted][:, :, wanted], self.products[:, wanted]
        if shape.classes < self.shape.classes:
            squares, products = squares.sum(0, keepdims=True), products.sum(0, keepdims=True)
        return squares, products


def solve(squares: Sums, products: Sums) -> Sums:
    """x with squares x = products, by Gaussian elimination step by step: libraries round as machines do."""
    size = len(products)
    steady = STEADINESS * math.fsum(np.diag(squares)) / size + 1
    rows = np.concatenate([squares + steady * np.eye(size), products[:, None]], 1)
    for i in range(size):
        rows[i] /= rows[i, i]
        shares = rows[:, i].copy()
        shares[i] = 0
        rows -= shares[:, None] * rows[i]
    return rows[:, -1]


def error_removed(shares: Sums, squares: Sums, products: Sums) -> float:
    """By how much shares lower the sum of squared errors, rounded alike on every machine."""
    return math.fsum(2 * shares * products) - math.fsum((shares[:, None] * shares * squares).flat)


def bits(share: int) -> int:
    """About the bits of a share: those of its Exp-Golomb code."""
    return 2 * (abs(share) + 1).bit_length() - (share == 0)
