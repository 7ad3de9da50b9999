"""Importance: how much of each block later frames inherit, and so what its errors are worth.

Where a block comes again along motion, later frames take it over with its errors; where it does not, they
code it anew, and the bits spent on it serve one frame. So of frames that others refer to, what is inherited
little is coded coarser. After the macroblock tree of x264 (J. Garrett-Glaser, "A novel macroblock-tree
algorithm for high-performance optimization of dependent video coding in H.264/AVC", 2011) and the block
importance mapping of VVenC, but by the source alone, without a pass ahead. With e^2 the mean squared error by
which a block differs from where it was or will be, and Q the quantization step,

    inherited = 1 / (1 + e^2 / (COVERED Q^2)),  importance = LEAST + (MOST - LEAST) inherited

for what changes less than quantization does is not coded again. The mean moves the qp of the frame; by how
much a block is off it, its errors are worth more or less. An anchor within a scene is inherited on both
sides, the one that ends it only by frames before it; as an I frame it must be good by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bcodec.coding import LATENT_PITCH
from bcodec.encoder.qp import coded_qp
from bcodec.encoder.temporalfilter import Moved, Neighbour, Source, block_errors
from bcodec.encoder.worth import growth, steps_of
from bcodec.frame import Frame
from bcodec.gop import Slot

# By trial on dev and training clips, qps 8 to 56 (measured: E772 to E783).
COVERED = 0.02  # of Q^2: as much as the error left by quantization that nobody codes again
LEAST, MOST = 0.4 / 7.5, 8 / 7.5  # importance of what is inherited by nobody and by all, usually 1
MOVES_QP = 0.5  # of what mean importance is worth in qp
QP_OFFSETS = (-4, 6)  # at most
# Beside that, of a predicted frame that ends a scene, and of anchors within one (measured: E819 to E831, E849
# to E854).
LAST_OFFSET, INNER_OFFSET = -4, 4


def possible_qps(qp: int, *, referenced: bool) -> range:
    """With what qps a frame may be coded that `qp` would suit."""
    low, high = (QP_OFFSETS[0] + LAST_OFFSET, QP_OFFSETS[1] + INNER_OFFSET) if referenced else (0, 0)
    return range(coded_qp(qp + low), coded_qp(qp + high) + 1)


class Importance(NamedTuple):
    """By how much a frame's qp moves, and what beside that each block's errors are worth."""

    qp_offset: int
    share: Tensor  # float32 [1, 1, H/16, W/16], times as much as elsewhere in such a frame


def telling(beside: Sequence[Neighbour]) -> tuple[Neighbour, ...]:
    """The neighbours that tell what is inherited: the farthest, for frames are referred to from afar."""
    farthest = max((each.distance for each in beside), default=0)
    return tuple(each for each in beside if each.distance == farthest)


def place_offset(source: Source, slot: Slot) -> int:
    """What the place of an anchor in its scene adds to its qp."""
    if slot.temporal_layer > 0 or source.first:
        return 0
    if source.last:
        return 0 if slot.intra else LAST_OFFSET
    return INNER_OFFSET


def importance(frame: Frame, beside: Sequence[Moved], step: float, size: tuple[int, int]) -> Importance:
    """Of a frame whose neighbours, at least one, are moved to it; `step`: of quantization, in 8-bit levels.

    `size` = (H/16, W/16) of its latent, padding included.
    """
    level = 1 << frame.bit_depth - 8
    errors = [block_errors(frame.y, planes[0], LATENT_PITCH) for planes, _ in beside]
    change = np.stack(errors).min(0) / level**2
    inherited = 1 / (1 + change / (COVERED * step * step))
    share = LEAST + (MOST - LEAST) * inherited
    mean = math.fsum(math.log2(each) for each in share.flat) / share.size
    low, high = QP_OFFSETS
    qp_offset = min(max(round(steps_of(mean) * MOVES_QP), low), high)
    rows, columns = (whole - part for whole, part in zip(size, share.shape, strict=True))
    everywhere = np.pad(share, [(0, rows), (0, columns)], mode="edge")
    left = torch.from_numpy(everywhere).float() / growth(torch.tensor(qp_offset))
    return Importance(qp_offset, left[None, None])
