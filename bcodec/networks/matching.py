"""Block matching: the encoder's motion search, and the motion prediction that the decoder repeats.

Vectors are (x, y) in luma samples, one for each block of 8x8, [B, 2, H/8, W/8]; a vector points from a
position in the current frame to the matching position in a reference. Luma planes are [B, 1, H, W] in units
of one 8-bit level. Everything in `bilateral` is integer arithmetic on dyadic numbers, ties go to the first
candidate: every machine finds the same vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import Grid, downsample, snap, upsample

BLOCK = 8  # luma samples
PYRAMID = 3  # halvings: at the coarsest level a block is one sample
REACH = 5  # of the full search at the coarsest level, in its samples: 40 luma samples
NEIGHBOURS = ((0, -1), (-1, 0), (1, 0), (0, 1))
RING = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0))
# Cost of a luma sample of motion, in 16ths of the mean absolute difference: measured on training clips.
SHORTNESS = 32
ROUND = Grid(frac=0, bits=16)
QUARTER = Grid(frac=2, bits=16)

Cost = Callable[[Tensor], Tensor]


def pyramid(luma: Tensor) -> list[Tensor]:
    """The plane and its halvings, finest first."""
    planes = [luma]
    for _ in range(PYRAMID):
        planes.append(downsample(planes[-1]))
    return planes


def sample(plane: Tensor, vectors: Tensor, pitch: tuple[int, int] = (1, 1)) -> Tensor:
    """plane[position * pitch + vector], borders replicated: [B, 1, H, W], [B, 2, h, w] -> [B, 1, h, w].

    The vectors are integers in samples of `plane`; pitch = (down, across).
    """
    batch, _, height, width = plane.shape
    rows, columns = vectors.shape[2:]
    down = torch.arange(0, rows * pitch[0], pitch[0], device=plane.device, dtype=torch.float32)
    across = torch.arange(0, columns * pitch[1], pitch[1], device=plane.device, dtype=torch.float32)
    x = (vectors[:, 0] + across).clamp_(0, width - 1)
    y = (vectors[:, 1] + down[:, None]).clamp_(0, height - 1)
    index = y.mul_(width).add_(x).long().view(batch, -1)
    return plane.reshape(batch, -1).gather(1, index).view(batch, 1, rows, columns)


def blocks(difference: Tensor, rows: int, columns: int) -> Tensor:
    """Sum of absolute differences over blocks of rows x columns and, less, those around each, [B, 1, h, w].

    Overlapping windows (weights 4, 2, 1 on the block, its sides, its corners) keep the field smooth.
    """
    sums = F.avg_pool2d(difference.abs_(), (rows, columns)) * (rows * columns)
    padded = F.pad(sums, (1, 1, 1, 1), mode="replicate")
    high = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return high[..., :-2] + 2 * high[..., 1:-1] + high[..., 2:]


def best(
    cost: Cost, start: Tensor, candidates: Iterable[Tensor], so_far: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The cheapest of `start` and the candidates in each block, and its cost; the first wins a tie."""
    field, lowest = start, cost(start) if so_far is None else so_far
    for candidate in candidates:
        value = cost(candidate)
        better = value < lowest
        lowest = torch.where(better, value, lowest)
        field = torch.where(better, candidate, field)
    return field, lowest


def around(field: Tensor, offsets: Iterable[tuple[int, int]], step: float = 1.0) -> Iterable[Tensor]:
    """The field plus each offset times `step`."""
    for offset in offsets:
        yield field + torch.tensor(offset, device=field.device).view(1, 2, 1, 1) * step


def neighbours(field: Tensor) -> Iterable[Tensor]:
    """The field of each of the four neighbours of a block."""
    rows, columns = field.shape[2:]
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    for x, y in NEIGHBOURS:
        yield padded[:, :, 1 + y : 1 + y + rows, 1 + x : 1 + x + columns]


def full_search(difference: Callable[[], Tensor], penalty: Tensor) -> Tensor:
    """The best vector within REACH at the coarsest level, [B, 2, h, w], in its samples.

    `difference()` gives [B, (2 REACH + 1)^2, h, w] for the window in raster order; `penalty` [B or 1, (2
    REACH + 1)^2, h or 1, w or 1] is added to the cost. Of equal costs the shorter vector wins, then the
    first.
    """
    values = difference()
    _, count, height, width = values.shape
    cost = blocks(values.view(-1, 1, height, width), 1, 1).view(values.shape) + penalty
    side = torch.arange(-REACH, REACH + 1, device=values.device)
    window = torch.stack([side.repeat(2 * REACH + 1), side.repeat_interleave(2 * REACH + 1)])
    order = torch.argsort(window.square().sum(0), stable=True)
    # A key of integers, costs in units of 1/64 before ranks, makes ties the same on every machine.
    rank = torch.arange(count, device=values.device).view(1, -1, 1, 1)
    key = torch.round(cost[:, order] * 64).long() * count + rank
    chosen = order[key.amin(1) % count]
    return window[:, chosen].transpose(0, 1).float()


def shifts(plane: Tensor) -> Tensor:
    """All shifts of a plane [B, 1, h, w] within REACH, borders replicated.

    [B, (2 REACH + 1)^2, h, w], in raster order.
    """
    height, width = plane.shape[2:]
    padded = F.pad(plane, (REACH,) * 4, mode="replicate")
    return padded.unfold(2, height, 1).unfold(3, width, 1).reshape(len(plane), -1, height, width)


def window_length() -> Tensor:
    """|x| + |y| of each vector of the window, [1, (2 REACH + 1)^2, 1, 1]."""
    side = torch.arange(-REACH, REACH + 1).abs().float()
    return (side[:, None] + side[None, :]).view(1, -1, 1, 1)


def refine(cost_at: Callable[[int, Tensor], Cost], field: Tensor, finest: int, rounds: int) -> Tensor:
    """Take the neighbours' vectors, then a ring of one sample, so many times at each level down to `finest`.

    `cost_at(level, field)` gives the cost near a field, in samples of that level; so is the result, of level
    `finest`.
    """
    for level in range(PYRAMID - 1, finest - 1, -1):
        field = field * 2
        for _ in range(rounds):
            cost = cost_at(level, field)
            field, lowest = best(cost, field, [torch.zeros_like(field), *neighbours(field)])
            field, lowest = best(cost, field, around(field, RING), lowest)
    return field


def bilateral(past: Tensor, future: Tensor, d_past: int, d_future: int) -> tuple[Tensor, Tensor, Tensor]:
    """Motion prediction of a frame between two references by matching them with each other; exact.

    Straight motion through the current frame: v_past = -w d_past / d, v_future = w d_future / d, d the larger
    distance. Returns both fields in luma samples (integers, multiples of two at the finest level used) and
    the matching cost [B, 1, H/8, W/8] as a mean absolute difference in 8-bit units, a multiple of 1/4 below
    64.
    """
    planes = list(zip(pyramid(past), pyramid(future), strict=True))
    longest = max(d_past, d_future)
    scales = (-d_past / longest, d_future / longest)

    def split(field: Tensor) -> tuple[Tensor, Tensor]:
        back, ahead = (field if abs(s) == 1 else snap(field * s, ROUND) for s in scales)
        return (-back if scales[0] == -1 else back), ahead

    def cost_at(level: int, _: Tensor) -> Cost:
        size = BLOCK >> level

        def cost(field: Tensor) -> Tensor:
            back, ahead = (upsample(v, size) for v in split(field))
            difference = sample(planes[level][0], back) - sample(planes[level][1], ahead)
            # A little in favour of short vectors, so that flat regions lie still.
            length = field.abs().sum(1, keepdim=True) * (1 << level)
            return blocks(difference, size, size) + length * (size * size * SHORTNESS)

        return cost

    # At the coarsest level both references move by the same amount, which is close enough.
    coarse = [plane.contiguous() for plane in planes[PYRAMID]]
    length = window_length().to(past.device) * ((1 << PYRAMID) * SHORTNESS)
    start = full_search(lambda: shifts(coarse[1]) - shifts(coarse[0]).flip(1), length)
    field = refine(cost_at, start, finest=1, rounds=1)
    back, ahead = split(field)
    mean = cost_at(1, field)(field) * (1 / (16 * (BLOCK >> 1) ** 2))
    return back * 2, ahead * 2, snap(mean, Grid(frac=2, bits=9))


def search(current: Tensor, reference: Tensor, half_pel: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """The encoder's motion search: [B, 2, H/8, W/8] in luma samples, multiples of 1/4.

    current, reference [B, 1, H, W]; half_pel [B, 1, 2H, 2W], the reference interpolated; `predicted` is the
    field that the decoder knows; `weight` [B] is the cost of a bit in absolute differences. Need not be
    exact.
    """
    targets, references = pyramid(current), pyramid(reference)
    # Windows weigh 16; three times that cost little error and saved half of the rate.
    weight = weight.view(-1, 1, 1, 1) * 24  # windows weigh 16; least cost of motion and residual together

    def rate(field: Tensor, anchors: tuple[Tensor, ...]) -> Tensor:
        """Cost of the vectors' bits: each is predicted by the nearest of its anchors."""
        each = [torch.log2(1 + 4 * (field - anchor).abs()).sum(1, keepdim=True) for anchor in anchors]
        return weight * torch.stack(each).amin(0)

    def cost_at(level: int, field: Tensor) -> Cost:
        size, anchors = BLOCK >> level, (predicted / (1 << level), surroundings(field))

        def cost(field: Tensor) -> Tensor:
            difference = sample(references[level], upsample(field, size)) - targets[level]
            # A block of a coarse level has fewer samples, whose noise is averaged out: the rate counts less.
            return blocks(difference, size, size) + rate(field, anchors) * (4.0**-level)

        return cost

    start = weight * torch.log2(1 + (4 << PYRAMID) * window_length().to(current.device)) * 4.0**-PYRAMID
    field = full_search(lambda: shifts(references[PYRAMID]) - targets[PYRAMID], start)
    field = refine(cost_at, field, finest=1, rounds=2) * 2
    lines = targets[0][:, :, ::2]  # every other line will do

    def distortion(field: Tensor) -> Tensor:
        position = upsample(field * 2, BLOCK // 2, BLOCK)
        low = torch.floor(position)
        # Quarter samples are the mean of the two half samples on either side.
        value = sample(half_pel, low, (4, 2))
        part = position - low
        if part.any():
            value = (value + sample(half_pel, low + torch.ceil(part), (4, 2))) / 2
        return 2 * blocks(value - lines, BLOCK // 2, BLOCK)

    def improve(field: Tensor, candidates: Iterable[Tensor]) -> Tensor:
        anchors = (predicted, surroundings(field))
        return best(lambda v: distortion(v) + rate(v, anchors), field, candidates)[0]

    field = improve(field, [torch.round(predicted), torch.zeros_like(field), *neighbours(field)])
    for step in (1.0, 0.5, 0.25):
        field = improve(field, around(field, RING, step))
    # What costs little more as its neighbours do had better be like them.
    return improve(field, [snap(surroundings(field), QUARTER), *neighbours(field)])


def surroundings(field: Tensor) -> Tensor:
    """Mean vector of the four neighbours of each block."""
    return torch.stack(list(neighbours(field))).mean(0)


def search_weight(step: Tensor) -> Tensor:
    """Absolute difference that a bit of motion is worth, for quantization steps in 8-bit units, [B].

    sqrt(lambda) with lambda = step^2 ln 2 / 6, the slope of a uniform quantizer.
    """
    return step * math.sqrt(math.log(2) / 6)
