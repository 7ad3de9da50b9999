"""The qp of chroma: by how much it differs from luma's, for a scene whose I frame shows how hard chroma is.

PSNR-YUV is a mean of decibels. So where chroma is easy to code, more bits for it pay, and where it is hard,
fewer do, by several per cent of the rate between clips (measured). Encoder only.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from bcodec.bitstream import CHROMA_OFFSETS
from bcodec.metrics import Quality

BETTER = (7.0, 12.0, 17.0)  # dB by which chroma is better than luma where the next offset begins


def chroma_offset(quality: Quality) -> int:
    """The offset for a scene, 0, 4, 8 or 12, by the quality of its I frame if chroma has the qp of luma."""
    ratios = [10 ** ((psnr - quality.psnr_y) / 10) for psnr in (quality.psnr_u, quality.psnr_v)]
    better = 10 * math.log10(sum(ratios) / len(ratios))
    return CHROMA_OFFSETS[bisect_right(BETTER, better)]
