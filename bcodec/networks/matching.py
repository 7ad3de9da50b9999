"""Block matching: the encoder's motion search, and the motion prediction that the decoder repeats.

Vectors are (x, y) in luma samples, one for each block of 8x8, [B, 2, H/8, W/8]; a vector points from a position in the
current frame to the matching position in a reference. Luma planes are [B, 1, H, W] in units of one 8-bit level.
Everything in `bilateral` is integer arithmetic on dyadic numbers, ties go to the first candidate: every machine finds
the same vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import Grid, snap

BLOCK = 8  # luma samples
PYRAMID = 3  # halvings: at the coarsest level a block is one sample
REACH = 5  # of the full search at the coarsest level, in its samples: 40 luma samples
NEIGHBOURS = ((0, -1), (-1, 0), (1, 0), (0, 1))
RING = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0))
SHORTNESS = 32  # cost of a luma sample of motion, in 16ths of the mean absolute difference: measured on training clips
ROUND = Grid(frac=0, bits=16)

Cost = Callable[[Tensor], Tensor]


def pyramid(luma: Tensor) -> list[Tensor]:
    """The plane and its halvings, finest first."""
    planes = [luma]
    for _ in range(PYRAMID):
        planes.append(F.avg_pool2d(planes[-1], 2))
    return planes


def sample(plane: Tensor, vectors: Tensor, pitch: int = 1) -> Tensor:
    """plane[position * pitch + vector], nearest, borders replicated: [B, 1, H, W], [B, 2, h, w] -> [B, 1, h, w].

    The vectors are integers in samples of `plane`.
    """
    batch, _, height, width = plane.shape
    rows, columns = vectors.shape[2:]
    across = torch.arange(0, columns * pitch, pitch, device=plane.device, dtype=torch.float32)
    down = torch.arange(0, rows * pitch, pitch, device=plane.device, dtype=torch.float32)
    x = (vectors[:, 0] + across).clamp_(0, width - 1)
    y = (vectors[:, 1] + down[:, None]).clamp_(0, height - 1)
    index = y.mul_(width).add_(x).long().view(batch, -1)
    return plane.reshape(batch, -1).gather(1, index).view(batch, 1, rows, columns)


def repeat(field: Tensor, times: int) -> Tensor:
    """Each vector `times` x `times`: from a block to its samples."""
    return field.repeat_interleave(times, 2).repeat_interleave(times, 3) if times > 1 else field


def blocks(difference: Tensor, size: int) -> Tensor:
    """Sum of absolute differences over blocks of `size` and half a neighbouring block around each, [B, 1, h, w].

    Overlapping windows (weights 4, 2, 1 on the block, its sides, its corners) keep the field smooth.
    """
    sums = F.avg_pool2d(difference.abs_(), size) * (size * size) if size > 1 else difference.abs_()
    padded = F.pad(sums, (1, 1, 1, 1), mode="replicate")
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]


def best(cost: Cost, start: Tensor, candidates: Iterable[Tensor], so_far: Tensor | None = None) -> tuple[Tensor, Tensor]:
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


def coarse_to_fine(cost_at: Callable[[int], Cost], like: Tensor, finest: int) -> tuple[Tensor, Tensor]:
    """Full search at the coarsest level, then the neighbours' vectors and a ring of one sample at each finer one.

    `cost_at(level)` takes fields in samples of that level; the result is in samples of level `finest`, with its cost.
    """
    zero = torch.zeros_like(like)
    window = [(x, y) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]
    window.sort(key=lambda v: v[0] * v[0] + v[1] * v[1])
    field, lowest = best(cost_at(PYRAMID), zero, around(zero, window[1:]))
    for level in range(PYRAMID - 1, finest - 1, -1):
        cost = cost_at(level)
        field = field * 2
        field, lowest = best(cost, field, [zero, *neighbours(field)])
        field, lowest = best(cost, field, around(field, RING), lowest)
    return field, lowest


def bilateral(past: Tensor, future: Tensor, d_past: int, d_future: int) -> tuple[Tensor, Tensor, Tensor]:
    """Motion prediction of a frame between two references by matching them with each other; exact.

    Straight motion through the current frame: v_past = -w d_past / d, v_future = w d_future / d, d the larger
    distance. Returns both fields in luma samples (integers, multiples of two at the finest level used) and the
    matching cost [B, 1, H/8, W/8] as a mean absolute difference in 8-bit units, a multiple of 1/4 below 64.
    """
    planes = list(zip(pyramid(past), pyramid(future), strict=True))
    longest = max(d_past, d_future)
    scales = (-d_past / longest, d_future / longest)

    def split(field: Tensor) -> tuple[Tensor, Tensor]:
        back, ahead = (field if abs(s) == 1 else snap(field * s, ROUND) for s in scales)
        return (-back if scales[0] == -1 else back), ahead

    def cost_at(level: int) -> Cost:
        size = BLOCK >> level

        def cost(field: Tensor) -> Tensor:
            back, ahead = (repeat(v, size) for v in split(field))
            difference = sample(planes[level][0], back) - sample(planes[level][1], ahead)
            # A little in favour of short vectors, so that flat regions lie still.
            return blocks(difference, size) + field.abs().sum(1, keepdim=True) * (size * size * (1 << level) * SHORTNESS)

        return cost

    batch, _, height, width = past.shape
    like = torch.zeros(batch, 2, height // BLOCK, width // BLOCK, device=past.device)
    field, lowest = coarse_to_fine(cost_at, like, finest=1)
    back, ahead = split(field)
    mean = lowest * (1 / (16 * (BLOCK >> 1) ** 2))
    return back * 2, ahead * 2, snap(mean, Grid(frac=2, bits=9))


def search(current: Tensor, reference: Tensor, half_pel: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """The encoder's motion search: [B, 2, H/8, W/8] in luma samples, multiples of 1/4.

    current, reference [B, 1, H, W]; half_pel [B, 1, 2H, 2W], the reference interpolated; `predicted` is the field
    that the decoder knows; `weight` [B] is the cost of a bit in absolute differences. Need not be exact.
    """
    targets, references = pyramid(current), pyramid(reference)
    weight = weight.view(-1, 1, 1, 1) * 8  # windows weigh 16; the motion codec spends about half of these bits

    def bits(field: Tensor, anchor: Tensor) -> Tensor:
        return weight * torch.log2(1 + 4 * (field - anchor).abs()).sum(1, keepdim=True)

    def cost_at(level: int) -> Cost:
        size, anchor = BLOCK >> level, predicted / (1 << level)

        def cost(field: Tensor) -> Tensor:
            difference = sample(references[level], repeat(field, size)) - targets[level]
            # A block of a coarse level has fewer samples, whose noise is averaged out: the rate counts less.
            return blocks(difference, size) + bits(field, anchor) * (4.0**-level)

        return cost

    field, _ = coarse_to_fine(cost_at, predicted, finest=0)
    field, lowest = best(cost_at(0), field, [torch.round(predicted)])
    # From here on a vector is also drawn to what the difference from the prediction is around it.
    anchor = predicted + F.avg_pool2d(F.pad(field - predicted, (1, 1, 1, 1), mode="replicate"), 3, 1)

    def fine(field: Tensor) -> Tensor:
        position = repeat(field * 2, BLOCK)
        low = torch.floor(position)
        part = position - low
        value = sample(half_pel, low, 2)
        if bool((part != 0).any()):
            # Quarter samples: the mean of the two half samples on either side.
            value = (value + sample(half_pel, low + torch.ceil(part), 2)) / 2
        return blocks(value - targets[0], BLOCK) + bits(field, anchor)

    for step in (0.5, 0.25):
        field, lowest = best(fine, field, around(field, RING, step), lowest if step < 0.5 else None)
    return field


def search_weight(step: Tensor) -> Tensor:
    """Absolute difference that a bit of motion is worth, for quantization steps in 8-bit units, [B].

    sqrt(lambda) with lambda = step^2 ln 2 / 6, the slope of a uniform quantizer.
    """
    return step * math.sqrt(math.log(2) / 6)
