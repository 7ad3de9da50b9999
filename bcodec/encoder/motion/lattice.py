"""The macroblocks of one segment: a lattice among all, so that a choice is weighed only where it is made."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from bcodec.networks.motion.blocks import Lattice


def segment_lattice(part: int) -> Lattice:
    """The macroblocks among which those of a segment are."""
    return Lattice(1, 2) if part == 3 else Lattice(0, 1 if part == 4 else 2)


def squares_of(field: Tensor, lattice: Lattice) -> Tensor:
    """Of the values of blocks of 8x8, [B, C, H/8, W/8], those in the macroblocks of a lattice."""
    return F.pixel_shuffle(lattice.of(F.pixel_unshuffle(field, 2)), 2)
