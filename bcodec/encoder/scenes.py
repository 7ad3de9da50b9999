"""Scene cuts, found cheaply before coding: small pictures of the luma, each compared with those around it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bcodec.frame import Plane

COLUMNS, ROWS = 32, 18  # of the small picture, at most
AROUND = 3  # frames on either side that a cut must stand out from
LEAST_CHANGE = 6.0  # mean absolute difference in 8-bit levels; less is no cut, whatever is around it
CONTRAST = 2.5  # times the largest change around it: motion, fades and repeated frames stay below
LEAST_LIKENESS = 0.8  # correlation of the two pictures; above it, only the light has changed
UNCHANGED, MOST = 2.0, 0.5  # levels, and share of the samples: what opens or closes on a screen is no cut
RETURN = 0.5  # of the change: a later frame nearer than this to the one before is the end of a flash

Small = npt.NDArray[np.float32]
T = TypeVar("T")


class _Step(NamedTuple):
    small: Small
    change: float  # mean absolute difference from the frame before
    likeness: float  # correlation with the frame before
    still: float  # share of the samples that are as before


def find_cuts(items: Iterable[T], luma: Callable[[T], Plane]) -> Iterator[tuple[T, bool]]:
    """Give each item again, with whether a new scene begins at it; looks three items ahead.

    `luma` gives the luma plane of an item, [H, W]; all planes are of one shape and depth.
    """
    window: deque[tuple[T, _Step]] = deque()  # up to AROUND before the one in question, it, and those after
    place = 0
    for item in items:
        before = window[-1][1].small if window else None
        window.append((item, _step(before, shrink(luma(item)))))
        if len(window) > place + AROUND:
            yield window[place][0], _is_cut([step for _, step in window], place)
            if place < AROUND:
                place += 1
            else:
                window.popleft()
    while place < len(window):
        yield window[place][0], _is_cut([step for _, step in window], place)
        place += 1


def shrink(plane: Plane) -> Small:
    """Average the plane over blocks to at most 18 x 32 samples, in 8-bit levels.

    Rows and columns left over are dropped.
    """
    height, width = plane.shape
    down, across = -(-height // ROWS), -(-width // COLUMNS)
    rows, columns = height // down, width // across
    blocks = plane[: rows * down, : columns * across].reshape(rows, down, columns, across)
    small: Small = blocks.mean(axis=(1, 3), dtype=np.float32)
    return small if plane.dtype == np.uint8 else small / np.float32(4)


def _step(before: Small | None, small: Small) -> _Step:
    if before is None:
        return _Step(small, 0.0, 1.0, 1.0)
    still = float((np.abs(before - small) < UNCHANGED).mean())
    return _Step(small, _distance(before, small), _likeness(before, small), still)


def _distance(a: Small, b: Small) -> float:
    return float(np.abs(a - b).mean())


def _likeness(a: Small, b: Small) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = float((a * a).sum() * (b * b).sum())
    return float((a * b).sum()) / power**0.5 if power > 0 else 0.0


def _is_cut(steps: list[_Step], place: int) -> bool:
    step = steps[place]
    if place == 0 or step.change < LEAST_CHANGE or step.likeness > LEAST_LIKENESS or step.still > MOST:
        return False
    around = steps[max(place - AROUND, 0) : place] + steps[place + 1 : place + 1 + AROUND]
    if step.change < CONTRAST * max((other.change for other in around), default=0.0):
        return False
    last = steps[place - 1].small
    later = steps[place + 1 : place + 1 + AROUND]
    return all(_distance(last, other.small) > RETURN * step.change for other in later)
