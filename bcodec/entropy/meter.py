"""The symbol coder of training: it measures what the range coder would write, with gradients.

| what the range coder does                        | what is measured                                        |
|--------------------------------------------------|---------------------------------------------------------|
| takes a symbol nearer to zero where that pays    | the same symbol, with a straight-through gradient       |
| codes it with a table fitted to symbols counted  | the family's -log2 p, and what tables differ from it by |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import OF_MOTION, TABLES, Part, dequantize, deviation
from bcodec.entropy.distributions import FAMILIES, HEAVY, PLAIN, information
from bcodec.entropy.tables import MAGNITUDES, TOTAL, magnitude_bits, scales

SELDOM = 1e-3  # probability below which a table had too few symbols to count to be trusted


class SymbolCosts(nn.Module):
    """Bits of symbols as frequency tables have them, differentiable: between tables and symbols interpolated.

    `tables` as of a weights file, or those of `make_tables`.
    """

    bits: Tensor  # [families, 64, 16], of the magnitudes in each table
    excess: Tensor  # [families, 1, 64, 16], by how much they are more than the family's

    def __init__(self, tables: Sequence[np.ndarray]) -> None:
        super().__init__()
        bits = torch.from_numpy(magnitude_bits(tables)).view(len(FAMILIES), TABLES, MAGNITUDES)
        magnitudes, deviations = torch.arange(MAGNITUDES).double(), scales()[:, None]
        family_bits = torch.stack([information(magnitudes, deviations, family) for family in FAMILIES])
        excess = bits - family_bits
        for row, table in zip(excess.view(-1, MAGNITUDES), tables, strict=True):
            seen = table[len(table) // 2 - 1 :][:MAGNITUDES] > SELDOM * TOTAL
            last = int(np.flatnonzero(seen)[-1])
            row[last + 1 :] = row[last]
        excess[:, 0] = -family_bits[:, 0, :1]  # of tables 0 nothing is coded
        self.register_buffer("bits", bits.float(), persistent=False)
        self.register_buffer("excess", excess[:, None].float(), persistent=False)

    def forward(self, symbol: Tensor, index: Tensor, heavy: int) -> Tensor:
        """Bits of symbols [B, C, H, W], which need not be whole; the first `heavy` channels are HEAVY."""
        if not heavy:
            return self._of(FAMILIES.index(PLAIN), symbol, index)
        parts = (HEAVY, slice(0, heavy)), (PLAIN, slice(heavy, None))
        return torch.cat([self._of(FAMILIES.index(f), symbol[:, s], index[:, s]) for f, s in parts], 1)

    def _of(self, family: int, symbol: Tensor, index: Tensor) -> Tensor:
        """The family's bits and the excess, linear between the tables' entries and constant beyond them."""
        where = torch.stack([symbol.abs() * (2 / (MAGNITUDES - 1)), index * (2 / (TABLES - 1))], -1) - 1
        excess = F.grid_sample(
            self.excess[family][None], where.view(1, -1, 1, 2), padding_mode="border", align_corners=True
        )
        return information(symbol, deviation(index), FAMILIES[family]) + excess.view(symbol.shape)

    def thrifty(self, ratio: Tensor, index: Tensor, worth: Tensor) -> Tensor:
        """The symbols [B, C, H, W] that an encoder's writer takes; `worth` as there, in squared steps."""
        symbol = torch.round(ratio)
        size = symbol.abs()
        places = torch.round(index).long() * MAGNITUDES + size.clamp(1, MAGNITUDES - 1).long()
        plain = self.bits[FAMILIES.index(PLAIN)].view(-1)
        saved = plain[places] - plain[places - 1]
        nearer = (saved > worth * (2 * (ratio.abs() - size) + 1)) & (size > 0) & (size < MAGNITUDES)
        return symbol - torch.sign(symbol) * nearer


class _Inside(torch.autograd.Function):
    """Clamp to [low, high] whose gradient also flows where it points back inside."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)  # type: ignore[attr-defined]
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.bounds  # type: ignore[attr-defined]
        stopped = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(stopped, 0.0), None, None


class RateMeter:
    """Measures: `bits` [B] sums what the symbols cost, `motion_bits` [B] those of motion.

    The scale gets the gradient of just that. The latent and its mean get the gradient that uniform noise in
    place of rounding would give in the mean: as a measure, noise would count bits for
    each symbol that is surely zero. `worth` [B, C, 1, 1] as of a RangeWriter: without it, symbols are just
    rounded.
    """

    def __init__(self, costs: SymbolCosts, worth: Tensor | None = None) -> None:
        self.costs, self.worth = costs, worth
        self.calls: list[tuple[Part, Tensor]] = []  # bits of each sample of the batch, [B]

    @property
    def bits(self) -> Tensor:
        """Bits of each sample of the batch, [B]."""
        return torch.stack([bits for _, bits in self.calls]).sum(0)

    @property
    def motion_bits(self) -> Tensor:
        """Bits of each sample's motion, [B]."""
        return torch.stack([bits for part, bits in self.calls if part in OF_MOTION]).sum(0)

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
    ) -> Tensor:
        """See bcodec.coding.SymbolCoder."""
        if y is None:
            raise TypeError("a rate meter needs the latent")
        index = _Inside.apply(scale, 0.0, TABLES - 1.0)  # type: ignore[no-untyped-call]
        ratio = (y.float() - mean) / step
        symbol = self._choose(part, ratio.detach(), index.detach(), step.detach())
        bits = self.costs(symbol, index, heavy)
        coded = torch.round(index.detach()) > 0  # else nothing is; but the scale learns that it should be
        bits, symbol = bits - bits.detach() * ~coded, symbol * coded
        if ratio.requires_grad:
            bits = bits + (ratio - ratio.detach()) * self._slope(ratio, index, heavy)
        y_hat = dequantize(ratio + (symbol - ratio).detach(), mean, step)
        if mask is not None:
            bits, y_hat = bits * mask, y_hat * mask
        self.calls.append((part, bits.flatten(1).sum(1)))
        return y_hat

    @torch.no_grad()
    def _slope(self, ratio: Tensor, index: Tensor, heavy: int) -> Tensor:
        """The mean gradient of bits over uniform noise: drawn, it would be half of all there is."""
        low, high = (self.costs(ratio + half, index, heavy) for half in (-0.5, 0.5))
        slope: Tensor = high - low
        return slope

    def _choose(self, part: Part, ratio: Tensor, index: Tensor, step: Tensor) -> Tensor:
        if self.worth is None or part is not Part.CONTENT:
            return torch.round(ratio)
        return self.costs.thrifty(ratio, index.expand(ratio.shape), self.worth * step.square())
