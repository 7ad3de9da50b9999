"""Coding order and temporal layers of a group of pictures: a recursion over integers.

A window lies between the anchor already coded at poc `a` and the frame `a + n` that closes it. The closing
frame is coded first, then the pre-order walk of the bisection (middle, left half, right half):

    n = 8     poc   0   1   2   3   4   5   6   7   8
              layer 0   3   2   3   1   3   2   3   0
              order 0   4   3   5   2   7   6   8   1
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

# Frames from anchor to anchor, and from I frame to I frame at most, unless somebody says otherwise.
GOP_SIZE, KEYINT = 32, 256
PART = 7  # frames at most that are coded one after the other where several may be coded at once


@dataclass(frozen=True)
class Slot:
    """One place in coding order.

    `poc` is the display index >= 0; `temporal_layer` is 0 for anchors, then 1, 2, ... down the bisection;
    `referenced` is False where no later frame can refer to this one (the leaves of the bisection).
    """

    poc: int
    temporal_layer: int
    intra: bool
    referenced: bool


class Closing(Enum):
    """How a window ends: with an I frame, or with a B* frame, which refers to the past anchor twice."""

    INTRA = "intra"
    TAIL = "tail"


def intra_anchor(poc: int, gop_size: int) -> Slot:
    """Return the I frame of layer 0 at `poc`; at `gop_size` 1 no frame refers to it."""
    return Slot(poc, 0, intra=True, referenced=gop_size > 1)


def window(anchor: int, length: int, gop_size: int, closing: Closing | None = None) -> list[Slot]:
    """Return the `length` slots behind the coded anchor at poc `anchor`, in coding order.

    `closing` None decides by the length: a full window (`length == gop_size`) closes with an I frame, a
    shorter one is the tail of the video. Raises ValueError unless 1 <= length <= gop_size and anchor >= 0,
    and for a tail where all frames are intra (`gop_size` 1).
    """
    if anchor < 0 or not 1 <= length <= gop_size:
        raise ValueError(f"no window of {length} frames behind poc {anchor} with GOP size {gop_size}")
    if closing is None:
        closing = Closing.INTRA if length == gop_size else Closing.TAIL
    end = anchor + length
    if closing is Closing.INTRA:
        last = intra_anchor(end, gop_size)
    elif gop_size > 1:
        last = Slot(end, 0, intra=False, referenced=length > 1)
    else:
        raise ValueError("GOP size 1 is all intra: its windows have no tail")
    return [last, *_bisect(anchor, end, layer=1)]


def _bisect(past: int, future: int, layer: int) -> Iterator[Slot]:
    distance = future - past
    if distance < 2:
        return
    middle = past + distance // 2
    yield Slot(middle, layer, intra=False, referenced=distance > 2)
    yield from _bisect(past, middle, layer + 1)
    yield from _bisect(middle, future, layer + 1)


def parts(layers: Sequence[int]) -> Iterator[int | range]:
    """Cut frames in coding order, of these temporal layers, into parts; gives the places, in their order.

    A part (a range) is a frame with all that lies below it in the bisection, if that is no more than PART. It
    refers to itself and to frames (each an int) of which more lies below, and which are coded before it.

        poc    8 | 4 2 1 3 6 5 7 | 12 10 9 11 14 13 15
        layer  1 | 2 3 4 4 3 4 4 |  2  3 4  4  3  4  4
    """
    start = 0
    while start < len(layers):
        end = start + 1
        while end < len(layers) and layers[end] > layers[start]:
            end += 1
        if end - start <= PART:
            yield range(start, end)
            start = end
        else:
            yield start
            start += 1
