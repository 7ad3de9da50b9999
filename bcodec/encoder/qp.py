"""The qp of chroma: by how much it differs from luma's, for a scene whose I frame shows how hard chroma is.

PSNR-YUV is a mean of decibels. So where chroma is easy to code, more bits for it pay, and where it is hard,
fewer do, by several per cent of the rate between clips (measured: E320, E321, E323).
"""

from __future__ import annotations

import math
from bisect import bisect_right

from bcodec.bitstream import CHROMA_OFFSETS, MAX_QP
from bcodec.metrics import Quality

# Frames that are referred to more deserve more: offsets to qp for temporal layers 0, 1, 2, ...
LAYER_QP = (8, 2, -3, -8, -12, -14, -15, -16)
# A qp between two integers raises some layers: layer L from a fraction of 1 - LAYER_STEP[L] on.
LAYER_STEP = (4 / 8, 2 / 8, 3 / 8, 5 / 8, 6 / 8, 7 / 8, 1 / 8, 1 / 8)
BALANCE = -4  # the offset of chroma's qp where nothing else is known (measured: E705, E706)
# dB by which chroma is better than luma where the next offset begins: 7, 12 and 17 where both have one qp, of
# which BALANCE takes 0.7.
BETTER = (6.3, 11.3, 16.3)


def layer_qp(qp: float, temporal_layer: int) -> int:
    """The qp that suits a frame: the user's, moved by the temporal layer's offset, maybe beyond 0..63."""
    return math.floor(qp + LAYER_STEP[temporal_layer]) + LAYER_QP[temporal_layer]


def coded_qp(qp: int) -> int:
    """The qp, in 0..63, with which a frame is coded that another would suit."""
    return min(max(qp, 0), MAX_QP)


def chroma_offset(quality: Quality) -> int:
    """The offset for a scene, from BALANCE on, by the quality of its I frame if that has BALANCE."""
    ratios = [10 ** ((psnr - quality.psnr_y) / 10) for psnr in (quality.psnr_u, quality.psnr_v)]
    better = 10 * math.log10(sum(ratios) / len(ratios))
    return BALANCE + CHROMA_OFFSETS.step * bisect_right(BETTER, better)
