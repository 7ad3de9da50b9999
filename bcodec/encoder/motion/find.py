"""The motion of a frame, found: towards both references, how these are weighed, what each choice costs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.cells import Cells
from bcodec.coding import ExpectedMotion, Reference
from bcodec.encoder.effort import Effort
from bcodec.encoder.motion.choose import PayingMotion
from bcodec.encoder.motion.directions import View, useful_directions, weigh
from bcodec.encoder.motion.flat import flattening
from bcodec.encoder.motion.matching import Target
from bcodec.encoder.motion.search import WORTH, search, search_weight
from bcodec.encoder.motion.sheet import spread
from bcodec.encoder.worth import lagrangian
from bcodec.fixedpoint import snap
from bcodec.frame import LEVELS, MIDDLE
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.motion.blocks import MOTION_BLOCK
from bcodec.networks.motion.vectors import QUARTER, usual_precision
from bcodec.networks.reference import luma

NEVER = -1e6  # bits that a flag saves which is not to be tried


@torch.no_grad()
def find_motion(
    codec: BFrameCodec,
    past: Reference,
    future: Reference,
    expected: ExpectedMotion,
    qp: Tensor,
    source: Tensor,
    effort: Effort,
) -> tuple[Tensor, PayingMotion]:
    """The shifts to code, [B, 4, 1, 1], and what the search finds beside them.

    `source` [B, 6, H/2, W/2] is the picture, qp [B] its qp.
    """
    weight = search_weight(codec.step(qp)[0].mean((1, 2, 3)) * LEVELS, qp) * effort.motion_price
    current, target = (luma(x) * LEVELS + MIDDLE for x in (source, torch.cat([past.picture, future.picture])))
    quarter_pel = spread(4, past.quarter_pel, future.quarter_pel)
    field = torch.cat([expected.past, expected.future])
    # Both directions at once: the search is many small operations.
    found, shifts = search(
        current.repeat(2, 1, 1, 1), target, quarter_pel, field, weight.repeat(2), details=effort.details
    )
    cost = weight.view(-1, 1, 1, 1)
    known = snap(field + shifts, QUARTER).chunk(2)
    sheets = quarter_pel.halves()
    views = [View(x.picture[:, 4:], sheet) for x, sheet in zip((past, future), sheets, strict=True)]
    fields = useful_directions(views, found.chunk(2), known, source, cost)
    seen = weigh(views, fields, source)
    stakes = lagrangian(qp).view(-1, 1, 1, 1) * seen.energy * (LEVELS**2 * MOTION_BLOCK**2 / 4)
    plane = spread(1, current)
    targets = [Target(plane, sheet, cost) for sheet in sheets]
    # Errors count as much as the direction does in the mean of the two.
    shares = [(1 + sign * seen.preference) / (WORTH * cost) for sign in (1, -1)]

    def price(direction: int, cells: Cells | None = None) -> Callable[[Tensor], Tensor]:
        blocks, share = targets[direction].blocks(MOTION_BLOCK, expected.past, cells), shares[direction]
        share = cells.squares_of(share) if cells else share
        return lambda vectors: F.avg_pool2d(blocks.distortion(vectors) * share, 2) * 4

    rounding = [loss(v) - loss(torch.round(v)) for loss, v in zip(map(price, (0, 1)), fields, strict=True)]
    full_pel = rounding[0] + rounding[1]
    never = torch.full_like(full_pel, NEVER)
    flat = flattening(codec, source, seen.mean, qp) if effort.details else never
    precision = (usual_precision(qp) - effort.coarser).clamp(min=0)
    gains = torch.cat([full_pel, flat], 1)
    return torch.cat(shifts.chunk(2), 1), PayingMotion(
        *fields, seen.preference, precision, stakes, gains, price
    )
