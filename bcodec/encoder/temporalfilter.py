"""The temporal filter: a picture that others refer to is averaged with its neighbours along motion.

What changes from one picture to the next, noise and all that looks like it, predicts no other picture: coded
in a reference, it costs bits twice, there and where it is undone. So the source of such a picture is
filtered, in the encoder alone; the coarser it will be quantized, the more. After the filter of the VVC test
model (J. Enhorn, R. Sjöberg, P. Wennersten, "A Temporal Pre-Filter for Video Coding Based on Bilateral
Filtering", ICIP 2020): a sample becomes the mean of itself, of weight 1, and of those where it was and will
be, of weights

    strength x nearness x likeness of the block x exp(-difference^2 / (2 sigma^2))

Errors of blocks are sums of whole numbers and of binary fractions, and what is left is arithmetic that
IEEE 754 rounds alike everywhere: the same picture on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bcodec.encoder.motion.matching import Cost, windowed_errors
from bcodec.encoder.motion.search import (
    PYRAMID,
    RING,
    around,
    best,
    full_search,
    neighbours,
    pyramid,
    refine,
    window_length,
)
from bcodec.encoder.motion.sheet import Sheet, interpolated, origins_of, spread
from bcodec.frame import ALIGNMENT, Frame, Plane
from bcodec.networks.motion.blocks import MOTION_BLOCK

NEARNESS = (27 / 32, 0.6)  # by how far away a neighbour is, on either side; more of them gain nothing
REACH = len(NEARNESS)
STRENGTH = (1.0, 0.8, 0.6)  # of the temporal layers that are filtered
FINE = 8.0  # 8-bit levels, the quantization step at which strength is half of that
FINEST = 4.0  # below it nothing is worth the search
SIGMA = 1.0  # quantization steps
LIKE = 0.2  # squared quantization steps: the mean squared difference of blocks that are like each other, but
NOISE = 2.0  # times the noise it is at most. That is how far most blocks are from the nearest neighbour:
MOST = 0.75  # of them, and without
FLOOR = 1.0  # squared levels, which rounding and an earlier codec leave
UNLIKE = 3.0  # times the difference of like blocks, from where on blocks count less and less
STEPS = (1.0, 1.0, 0.5, 0.25)  # luma samples by which vectors are moved, one after the other
SMOOTH = 2.0  # absolute differences that a vector costs for each sample it is off those around it

Doubles = npt.NDArray[np.float64]


class Neighbour(NamedTuple):
    """A picture of the same scene, and how many pictures away it is."""

    frame: Frame
    distance: int


class Source(NamedTuple):
    """A picture to code, those beside it, if it may be filtered by them, if a scene begins or ends there."""

    frame: Frame
    beside: tuple[Neighbour, ...] = ()
    filtered: bool = False
    first: bool = False
    last: bool = False


class Moved(NamedTuple):
    """The planes Y, U, V of a neighbour, moved to where a picture has the same, and how far away it is."""

    planes: list[Plane]
    distance: int


def filters(source: Source, step: float, layer: int) -> bool:
    """Whether a picture of a temporal layer is filtered; `step`: its quantization step in 8-bit levels."""
    return source.filtered and layer < len(STRENGTH) and step >= FINEST


def filtered(frame: Frame, beside: Sequence[Moved], step: float, layer: int) -> Frame:
    """The picture to code in place of one of a temporal layer; `step`: its quantization step in 8-bit levels.

    It is the same where there is no noise. Depths of 8 and 10 bits are filtered alike.
    """
    strength = STRENGTH[layer] * step / (step + FINE)
    strengths = [strength * NEARNESS[distance - 1] for _, distance in beside]
    aligned = zip(*(planes for planes, _ in beside), strict=True)
    return Frame(
        *(
            filtered_plane(plane, others, strengths, step, MOTION_BLOCK >> (number > 0), frame.bit_depth)
            for number, (plane, others) in enumerate(zip(frame.planes, aligned, strict=True))
        )
    )


def filtered_plane(
    plane: Plane, others: Sequence[Plane], strengths: Sequence[float], step: float, size: int, bits: int
) -> Plane:
    """A plane [H, W] and others, aligned with it, in one: the weights depend on blocks of size x size."""
    level = 1 << bits - 8
    errors = np.stack([block_errors(plane, other, size) for other in others]) / level**2
    least = errors.min(0)
    noise = float(np.sort(least, axis=None)[int(MOST * least.size)]) - FLOOR
    if noise <= 0:  # as on a screen, where what changes is meant
        return plane
    like = min(LIKE * step**2, NOISE * noise)
    weights = (least + like) / (errors + like) * np.minimum(1, UNLIKE * like / np.maximum(errors, like))
    weights *= np.array(strengths)[:, None, None]
    return mean(plane, others, weights, size, bilateral(SIGMA * step * level, bits))


def bilateral(sigma: float, bits: int) -> Doubles:
    """How much a sample of so many bits counts by its difference, from 0 on; alike on every machine."""
    falls = (math.exp(-(d * d) / (2 * sigma * sigma)) for d in range(1 << bits))
    return np.array([round(fall * 65536) / 65536 for fall in falls])


def block_errors(plane: Plane, other: Plane, size: int) -> Doubles:
    """Mean squared differences of blocks, [ceil(H / size), ceil(W / size)], those at the edges filled up."""
    difference = whole_blocks(plane.astype(np.int32) - other, size)
    rows, columns = (side // size for side in difference.shape)
    squares = (difference * difference).reshape(rows, size, columns, size)
    errors: Doubles = squares.sum(axis=(1, 3)) / size**2
    return errors


def whole_blocks(values: npt.NDArray[np.int32], size: int) -> npt.NDArray[np.int32]:
    """[H, W] with the last row and column repeated, to multiples of `size`."""
    return np.pad(values, [(0, -side % size) for side in values.shape], mode="edge")


def mean(plane: Plane, others: Sequence[Plane], weights: Doubles, size: int, falloff: Doubles) -> Plane:
    """The weighted mean of planes [H, W], of which the first counts 1; weights [N, h, w] of blocks."""
    height, width = plane.shape
    own = plane.astype(np.int32)
    moved, total = np.zeros(plane.shape), np.ones(plane.shape)
    for other, each in zip(others, weights, strict=True):
        difference = other - own
        spread = each.repeat(size, 0)[:height].repeat(size, 1)[:, :width]
        weight = spread * falloff[np.abs(difference)]
        moved += weight * difference
        total += weight
    mixed: Plane = (own + np.round(moved / total)).astype(plane.dtype)
    return mixed


def aligned(frame: Frame, beside: Sequence[Neighbour]) -> list[Moved]:
    """The neighbours of a picture, moved to where it has the same."""
    return [Moved(align(frame, other), distance) for other, distance in beside]


@torch.no_grad()
def align(frame: Frame, other: Frame) -> list[Plane]:
    """The planes Y, U, V of `other`, moved to where `frame` has the same."""
    level = 1 << frame.bit_depth - 8
    current, reference, *chroma = (
        padded(plane, ALIGNMENT >> (i > 1)) / level for i, plane in enumerate((frame.y, *other.planes))
    )
    sheets = [interpolated(plane) for plane in (reference, *chroma)]
    field = motion(current, reference, sheets[0])
    fields, sizes = (field, *[torch.round(field * 2) / 4] * 2), (MOTION_BLOCK, *[MOTION_BLOCK // 2] * 2)
    moved = (
        joined(sheet.blocks(origins_of(vectors, size), vectors, size))
        for sheet, vectors, size in zip(sheets, fields, sizes, strict=True)
    )
    return [
        samples(plane * level, frame.bit_depth)[: like.shape[0], : like.shape[1]]
        for plane, like in zip(moved, frame.planes, strict=True)
    ]


def samples(plane: Tensor, bits: int) -> Plane:
    """[H, W] as whole samples of so many bits: of 8, those above the highest would be rounded to 256."""
    whole: Plane = torch.round(plane).clamp(max=(1 << bits) - 1).numpy()
    return whole.astype(np.uint8 if bits == 8 else np.uint16)


def padded(plane: Plane, unit: int) -> Tensor:
    """float32 [1, 1, H, W], the last row and column repeated to multiples of `unit`."""
    return torch.from_numpy(whole_blocks(plane.astype(np.int32), unit))[None, None].float()


def joined(blocks: Tensor) -> Tensor:
    """The plane [H, W] of blocks [1, h, w, size, size]."""
    _, rows, columns, size, _ = blocks.shape
    return blocks[0].transpose(1, 2).reshape(rows * size, columns * size)


def motion(current: Tensor, reference: Tensor, quarter_pel: Sheet) -> Tensor:
    """Motion of blocks of 8x8 to quarter samples, [1, 2, H/8, W/8]; planes [1, 1, H, W].

    As the search for vectors to code, but what a vector costs is how far it is from those around it.
    """
    targets, references = pyramid(current), pyramid(reference)
    start = full_search(targets[PYRAMID], references[PYRAMID], window_length())
    errors = windowed_errors(targets, references)

    field = refine(errors, lambda _, near: smooth(near, 16), start, finest=1, rounds=2) * 2
    origins = origins_of(field, MOTION_BLOCK)
    samples = spread(1, current).blocks(origins, torch.zeros_like(field), MOTION_BLOCK)

    def error(vectors: Tensor) -> Tensor:
        difference = quarter_pel.blocks(origins, vectors, MOTION_BLOCK).sub_(samples)
        return difference.abs_().flatten(-2).sum(-1).unsqueeze(-3)

    wrong = error(field)
    for step in STEPS:
        candidates = [*neighbours(field), *around(field, RING, step)]
        field, wrong = best(error, smooth(field), field, wrong, candidates)
    return field


def smooth(field: Tensor, windows: int = 1) -> Cost:
    """The price of vectors unlike those around them in a field [B, 2, h, w], where errors count so often."""
    nearest = torch.stack(list(neighbours(field))).mean(0)
    price = SMOOTH * windows
    return lambda vectors: price * (vectors - nearest).abs().sum(-3, keepdim=True)
