"""Rate-distortion optimised quantization (RDOQ): an encoder's writer chooses symbols by their worth."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from bcodec.coding import LATENT_PITCH, OF_MOTION, PLACED, Part, Picked
from bcodec.entropy.coder import CodingOrder, RangeWriter
from bcodec.entropy.tables import MAGNITUDES, Tables
from bcodec.frame import aligned

# Bits that a squared error of one step in a hyper-latent is worth, for what it tells is expected worse then
# (measured: E872 to E883).
HYPER_WORTH = {Part.HYPER: 16.0, Part.MOTION_HYPER: 8.0}


def shown(width: int, height: int, device: torch.device | None = None) -> Tensor:
    """Which positions of a latent are not all padding, [1, 1, H/16, W/16] bool, for a size in samples."""
    rows, columns = (aligned(side) // LATENT_PITCH for side in (height, width))
    inside = torch.zeros(1, 1, rows, columns, dtype=torch.bool, device=device)
    inside[:, :, : -(-height // LATENT_PITCH), : -(-width // LATENT_PITCH)] = True
    return inside


class ThriftyWriter(RangeWriter):
    """Writes the symbols that pay, none where nothing is shown, and knows the bits of each part.

    `shown` [1, 1, H/16, W/16] bool, as of the function of that name. `worth` [1, Y, 1, 1]: the bits that a
    squared error of 1 in the latent y is worth; there, and in hyper-latents, a symbol is taken one step
    nearer to zero where that saves more bits than its error is worth.
    """

    def __init__(self, tables: Tables, shown: Tensor | None = None, worth: Tensor | None = None) -> None:
        super().__init__(tables)
        self.shown, self.worth = shown, worth
        self.bits: Counter[Part] = Counter()  # whole 32-bit words, as far as the range coder had come

    def fork(self) -> ThriftyWriter:
        """A writer that goes on behind what is written so far, as this one may, too."""
        other = ThriftyWriter(self.tables, self.shown, self.worth)
        other.encoder, other.bits = self.encoder.clone(), self.bits.copy()
        return other

    @property
    def motion_bits(self) -> int:
        """Bits of all that tells motion."""
        return sum(self.bits[part] for part in OF_MOTION)

    def code(
        self,
        part: Part,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
        picked: Picked | None = None,
    ) -> Tensor:
        """See bcodec.coding.SymbolCoder."""
        before = self.encoder.num_bits()
        value = super().code(part, y, mean, scale, step, mask, heavy=heavy, picked=picked)
        self.bits[part] += self.encoder.num_bits() - before
        return value

    def worths(self, part: Part, step: Tensor, order: CodingOrder) -> Tensor:
        """Bits that a squared error of one step is worth in each symbol [N], in padded content no end."""
        if part in HYPER_WORTH:
            return torch.full_like(step, HYPER_WORTH[part])
        worth = super().worths(part, step, order)
        if part is not Part.CONTENT:
            return worth
        if self.worth is not None:
            worth = order.of_latent(self.worth) * step.square()
        if self.shown is not None:
            worth = worth.masked_fill(~order.of_latent(self.shown), math.inf)
        return worth

    def choose(
        self, part: Part, ratio: Tensor, worth: Tensor, indices: np.ndarray, order: CodingOrder
    ) -> np.ndarray:
        """The nearest symbols, none in the padding, those of the content by their worth."""
        if self.shown is not None and part in PLACED:
            ratio = ratio * order.of_latent(self.shown)
        symbols = super().choose(part, ratio, worth, indices, order)
        if part in HYPER_WORTH or (self.worth is not None and part is Part.CONTENT):
            self._save(symbols, ratio, worth, indices)
        return symbols

    def _save(self, symbols: np.ndarray, ratio: Tensor, worth: Tensor, indices: np.ndarray) -> None:
        """Take symbols one step nearer to zero where that pays."""
        places = np.flatnonzero((np.abs(symbols) < MAGNITUDES) & (symbols != 0))
        picked = torch.from_numpy(places).to(ratio.device)
        value = worth[picked].cpu().numpy()
        size, exact = np.abs(symbols[places]), ratio[picked].abs().cpu().numpy()
        saved = self.tables.bits[indices[places], size] - self.tables.bits[indices[places], size - 1]
        symbols[places] -= np.sign(symbols[places]) * (saved > value * (2 * (exact - size) + 1))
