"""The motion search: one vector for each block of 16x16, four where they pay. Need not be exact.

A coarse search over smooth windows finds where things went; then each block takes the vector of least

    error + weight x bits

at full, half and quarter samples, with the interpolation that the prediction will use. The bits are those of
the vector's distance from what the decoder knows: its own prediction, or the vectors around. Vectors are
(x, y) in luma samples; luma planes are [B, 1, H, W] in units of one 8-bit level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.cells import cells_where
from bcodec.encoder.motion.matching import Cost, Target, overlapped, windowed_errors
from bcodec.encoder.motion.pan import even, likely_shifts
from bcodec.encoder.motion.sheet import Sheet, spread
from bcodec.fixedpoint import downsample, snap, upsample
from bcodec.networks.motion.blocks import MACROBLOCK, MOTION_BLOCK, sample
from bcodec.networks.motion.segments import SEGMENTS, interpolate_segments, segment_mask
from bcodec.networks.motion.vectors import QUARTER

PYRAMID = 3  # halvings: at the coarsest level a block is one sample
REACH = 5  # of the full search at the coarsest level, in its samples: 40 luma samples
NEIGHBOURS = ((0, -1), (-1, 0), (1, 0), (0, 1))
RING = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0))
SUBPEL_STEPS = (1.0, 0.5, 0.25)
# Weights of a bit beside that of `search_weight`, by least rate and error on clips: in the coarse search,
# whose windows count 16 times; of a vector of 16x16; of one that differs from its block's; of the split.
COARSE, WHOLE, PART, SPLIT = 24.0, 1.5, 4.0, 24.0
FARTHEST = 120  # luma samples from what is expected that the latent of a vector reaches
TOGETHER = 8192  # vectors whose blocks are compared at once
WORTH = 0.8  # of a bit really spent, in the choice while coding


def search(
    current: Tensor,
    reference: Tensor,
    quarter_pel: Sheet,
    predicted: Tensor,
    weight: Tensor,
    *,
    details: bool = True,
) -> tuple[Tensor, Tensor]:
    """Motion from `current` to `reference`, [B, 2, H/8, W/8], multiples of 1/4, and their common shift.

    current, reference [B, 1, H, W]; quarter_pel is the reference, interpolated; `predicted` is the field that
    the decoder knows; `weight` [B] is the cost of a bit in absolute differences. The shift [B, 2, 1, 1] is
    what to add to `predicted`. Blocks of 16x16 may have four vectors, with `details`.
    """
    weight = weight.view(-1, 1, 1, 1)
    coarse, shift = coarse_search(current, reference, predicted, weight)
    known = snap(predicted + shift, QUARTER)
    target = Target(spread(1, current), quarter_pel, weight)
    field = upsample(search_whole(target, coarse, known, weight))
    if details:
        field = split(target, field, [coarse, known], weight)
    return within_reach(field, known), shift


def within_reach(field: Tensor, known: Tensor, unit: int = 1) -> Tensor:
    """Vectors [B, 2, h, w], in `unit` luma samples, `known` in place of those too far from it to be coded."""
    off = (field - known).abs().amax(1, keepdim=True) * unit
    return torch.where(off <= FARTHEST, field, known)


def coarse_search(
    current: Tensor, reference: Tensor, predicted: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Smooth motion of blocks of 8x8, [B, 2, H/8, W/8], to two samples; and the shift, as in `search`.

    Of the shifts that are likely the one beside which the field costs least.
    """
    targets, references = pyramid(current), pyramid(reference)
    errors = windowed_errors(targets, references)
    starts = far_starts(targets[1], references[1])
    fields = wide_search(targets[PYRAMID], references[PYRAMID], starts, weight)
    middle = predicted.flatten(2).median(2).values[:, :, None, None]
    results = []
    for shift in [torch.zeros_like(middle), *(even(start - middle) for start in starts)]:
        anchored = snap(predicted + shift, QUARTER)

        def rate_at(level: int, field: Tensor, anchored: Tensor = anchored) -> Cost:
            anchors = (anchored / (1 << level), surroundings(field))
            # A block of a coarse level has fewer samples, whose noise is averaged out: rate counts less.
            price = weight * (COARSE * 4.0**-level)
            return lambda field: price * least_bits(field, anchors)

        field = fields[0]
        if starts:
            near = torch.round(anchored / (1 << PYRAMID))
            error = errors[PYRAMID]
            field, _ = best(error, rate_at(PYRAMID, near), near, error(near), fields)
        field = refine(errors, rate_at, field, finest=1, rounds=2)
        field = within_reach(field, torch.round(anchored / 2), 2)
        total = errors[1](field) + rate_at(1, field)(field)
        results.append((field * 2, shift, total.sum((1, 2, 3), keepdim=True)))
    field, shift, least = results[0]
    for other, moved, total in results[1:]:
        shift, field = torch.where(total < least, moved, shift), torch.where(total < least, other, field)
        least = torch.minimum(total, least)
    return field, shift


def wide_search(target: Tensor, reference: Tensor, starts: list[Tensor], weight: Tensor) -> list[Tensor]:
    """Fields of the coarsest level by full searches around 0 and each start, [B, 2, 1, 1] in luma samples."""
    scale = 1 << PYRAMID
    penalty = weight * COARSE / scale**2 * torch.log2(1 + 4 * scale * window_length().to(target.device))
    fields = [full_search(target, reference, penalty)]
    for start in starts:
        nearest = torch.round(start / scale)
        moved = sample(reference, nearest.expand(-1, -1, *target.shape[2:]))
        fields.append(full_search(target, moved, penalty) + nearest)
    return fields


def far_starts(current: Tensor, reference: Tensor) -> list[Tensor]:
    """Shifts [B, 2, 1, 1] of the whole picture, of planes at half resolution, beyond half the full search."""
    peaks = likely_shifts(current, reference, pitch=2)
    reach = REACH * (1 << PYRAMID) // 2
    return [start[:, :, None, None] for start in peaks.unbind(1) if bool((start.abs() > reach).any())]


def search_whole(target: Target, coarse: Tensor, predicted: Tensor, weight: Tensor) -> Tensor:
    """One vector for each block of 16x16, [B, 2, H/16, W/16], from those of its quarters."""
    weight, known = weight * WHOLE, snap(downsample(predicted), QUARTER)
    blocks = target.blocks(MACROBLOCK, known)

    def improve(field: Tensor, wrong: Tensor, candidates: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
        anchors = (known, surroundings(field))
        return best(blocks.distortion, lambda v: weight * least_bits(v, anchors), field, wrong, candidates)

    field, *others = (coarse[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    field, wrong = improve(field, blocks.distortion(field), [*others, known, torch.zeros_like(field)])
    for step in SUBPEL_STEPS:
        field, wrong = improve(field, wrong, neighbours(field))
        field, wrong = improve(field, wrong, around(field, RING, step))
    # What costs little more as its neighbours do had better be like them.
    field, wrong = improve(field, wrong, [snap(surroundings(field), QUARTER), *neighbours(field)])
    return settle(target, field, wrong, known, weight)


def settle(target: Target, field: Tensor, wrong: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """Decide once more, segment by segment, with what the decoder will expect, [B, 2, H/16, W/16].

    `wrong` [B, 1, H/16, W/16] is the distortion of the field.
    """
    field = field.clone()
    for part in range(SEGMENTS):
        mask = segment_mask(part, field.shape[2:], field.device)
        cells = cells_where(mask.expand(len(field), -1, -1, -1))
        if not len(cells.row):
            continue
        expected = known + interpolate_segments(field - known, part) if part else surroundings(field)
        expected, here = cells.of(expected), cells.of(field)
        blocks = target.blocks(MACROBLOCK, field, cells)
        price = cells.of(weight.expand_as(wrong)) * 1.5

        def rate(vectors: Tensor, expected: Tensor = expected, price: Tensor = price) -> Tensor:
            return price * least_bits(vectors, (expected,))

        nearest = snap(expected, QUARTER)
        between = snap((nearest + here) / 2, QUARTER)
        candidates = [nearest, between, *around(nearest, RING, SUBPEL_STEPS[-1])]
        settled, _ = best(blocks.distortion, rate, here, cells.of(wrong), candidates)
        cells.put(settled, field)
    return field


def split(target: Target, parent: Tensor, candidates: list[Tensor], weight: Tensor) -> Tensor:
    """Four vectors for a block of 16x16 where they save more than their bits; `parent` [B, 2, H/8, W/8]."""
    blocks = target.blocks(MOTION_BLOCK, parent)

    def rate(field: Tensor) -> Tensor:
        return weight * PART * least_bits(field, (parent,))

    together = blocks.distortion(parent)  # at no bits
    field, wrong = best(blocks.distortion, rate, parent, together, [*candidates, *neighbours(parent)])
    for step in SUBPEL_STEPS:
        field, wrong = best(blocks.distortion, rate, field, wrong, around(field, RING, step))
    pays = F.avg_pool2d(together - (wrong + rate(field)), 2) * 4 > SPLIT * weight
    return torch.where(upsample(pays), field, parent)


def best(
    error: Cost, rate: Cost, field: Tensor, wrong: Tensor, candidates: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The cheapest of a field and candidates in each block [B, 2, h, w], and its error [B, 1, h, w].

    What costs is error and rate; `wrong` is the field's error. The first wins a tie.
    """
    lowest = wrong + rate(field)
    for some in batches(list(candidates), max(1, TOGETHER // wrong.numel())):
        errors = error(some)
        values, which = (errors + rate(some)).min(0, keepdim=True)
        better = values[0] < lowest
        lowest = torch.where(better, values[0], lowest)
        wrong = torch.where(better, errors.gather(0, which)[0], wrong)
        field = torch.where(better, some.gather(0, which.expand(1, *field.shape))[0], field)
    return field, wrong


def batches(fields: list[Tensor], size: int) -> Iterable[Tensor]:
    """Fields [B, 2, h, w] as [K, B, 2, h, w], K up to a size: small pictures take many calls."""
    return (torch.stack(fields[first : first + size]) for first in range(0, len(fields), size))


def around(field: Tensor, offsets: Iterable[tuple[int, int]], step: float = 1.0) -> Iterable[Tensor]:
    """The field [B, 2, h, w] plus each offset times `step`."""
    for offset in offsets:
        yield field + torch.tensor(offset, device=field.device).view(1, 2, 1, 1) * step


def neighbours(field: Tensor) -> Iterable[Tensor]:
    """The vectors of each of the four neighbours of all blocks, [B, 2, h, w]."""
    rows, columns = field.shape[2:]
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    for x, y in NEIGHBOURS:
        yield padded[:, :, 1 + y : 1 + y + rows, 1 + x : 1 + x + columns]


def full_search(target: Tensor, reference: Tensor, penalty: Tensor) -> Tensor:
    """The best vector within REACH at the coarsest level, [B, 2, h, w], for planes [B, 1, h, w].

    `penalty` [B or 1, (2 REACH + 1)^2, 1, 1] is added to the cost, for the window in raster order. Of equal
    costs the shorter vector wins, then the first.
    """
    count = 2 * REACH + 1
    side = torch.arange(-REACH, REACH + 1, device=target.device)
    window = torch.stack([side.repeat(count), side.repeat_interleave(count)])
    order = torch.argsort(window.square().sum(0), stable=True)
    # A key of integers, costs in units of 1/64 before ranks, makes ties the same on every machine.
    ranks = 1 << (count**2).bit_length()
    keys = torch.round(penalty * 64).to(torch.int32) * ranks
    keys = keys + torch.argsort(order).to(torch.int32).view(1, -1, 1, 1)
    here, there = (torch.round(plane * 64).to(torch.int32) * ranks for plane in (target, reference))
    rows = F.pad(there.float(), (REACH,) * 4, mode="replicate").to(torch.int32)
    height, width = target.shape[2:]
    found = []
    for row in range(count):  # of the window: what is looked at at once stays in a cache
        shifted = rows[:, 0, row : row + height].unfold(2, width, 1).transpose(1, 2)
        key = overlapped((shifted - here).abs_()) + keys[:, row * count : (row + 1) * count]
        found.append(key.amin(1))
    return window[:, order[torch.stack(found).amin(0).long() % ranks]].transpose(0, 1).float()


def window_length() -> Tensor:
    """|x| + |y| of each vector of the window, [1, (2 REACH + 1)^2, 1, 1]."""
    side = torch.arange(-REACH, REACH + 1).abs().float()
    return (side[:, None] + side[None, :]).view(1, -1, 1, 1)


def refine(
    errors: Sequence[Cost], rate_at: Callable[[int, Tensor], Cost], field: Tensor, finest: int, rounds: int
) -> Tensor:
    """Take the neighbours' vectors, then a ring of one sample, so many times at each level down to `finest`.

    Fields are [B, 2, h, w]. `rate_at(level, field)` gives the rate near one, in samples of that level; so is
    the result, of level `finest`.
    """
    for level in range(PYRAMID - 1, finest - 1, -1):
        field = field * 2
        for _ in range(rounds):
            # Anew, for windows overlap: what is wrong in a block depends on the vectors of others.
            rate, wrong = rate_at(level, field), errors[level](field)
            near = [torch.zeros_like(field), *neighbours(field)]
            field, wrong = best(errors[level], rate, field, wrong, near)
            field, wrong = best(errors[level], rate, field, wrong, around(field, RING))
    return field


def pyramid(luma: Tensor) -> list[Tensor]:
    """The plane [B, 1, H, W] and its halvings, finest first."""
    planes = [luma]
    for _ in range(PYRAMID):
        planes.append(downsample(planes[-1]))
    return planes


def least_bits(field: Tensor, anchors: Iterable[Tensor]) -> Tensor:
    """About the bits [.., 1, h, w] of vectors coded by their distance from the nearest of some anchors."""
    each = [torch.log2(1 + 4 * (field - anchor).abs()).sum(-3, keepdim=True) for anchor in anchors]
    return torch.stack(each).amin(0)


def surroundings(field: Tensor) -> Tensor:
    """Mean vector of the four neighbours of each block, [B, 2, h, w]."""
    return torch.stack(list(neighbours(field))).mean(0)


def search_weight(step: Tensor, qp: Tensor) -> Tensor:
    """Absolute difference that a bit of motion is worth, for quantization steps in 8-bit units, [B].

    sqrt(lambda) with lambda = step^2 ln 2 / 6, the slope of a uniform quantizer; and the more of that the
    higher the qp, since there the residual mends most of what motion misses (by trial).
    """
    return step * math.sqrt(math.log(2) / 6) * torch.exp2((qp.float() - 2) / 20)
