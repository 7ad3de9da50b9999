"""Global motion: by how much the whole picture moved, coded once a frame for each reference.

A pan moves the picture further than the vectors of blocks reach, and all blocks alike. The encoder finds it
(bcodec.encoder.motion.pan); the decoder adds it to the motion that it predicts. Shifts are (x, y) in luma
samples, even, of magnitude up to LONGEST.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.coding import Part, SymbolCoder, nearest_table

LONGEST = 448
SHIFT_UNIT = 32  # luma samples in a unit of the latent grid
SHIFT_STEP = 2 / SHIFT_UNIT
SHIFT_TABLE = nearest_table(0.3)  # mostly 0, or anything


def code_shifts(symbols: SymbolCoder, shifts: Tensor | None, batch: int, device: torch.device) -> Tensor:
    """The decoded shifts towards past and future, [B, 4, 1, 1], of those to encode, if any."""
    mean = torch.zeros(batch, 4, 1, 1, device=device)
    y = None if shifts is None else shifts / SHIFT_UNIT
    return (
        symbols.code(Part.SHIFTS, y, mean, mean + SHIFT_TABLE, torch.full_like(mean, SHIFT_STEP), heavy=4)
        * SHIFT_UNIT
    )
