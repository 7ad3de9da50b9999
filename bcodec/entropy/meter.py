"""The symbol coder of training: it measures what the range coder would write, with gradients.

| what the range coder does                        | what is measured                                        |
|--------------------------------------------------|---------------------------------------------------------|
| takes a symbol nearer to zero where that pays    | the same symbol, with a straight-through gradient       |
| codes it with a table fitted to symbols counted  | the family's -log2 p, and what tables differ from it by |
| leaves out signs that sums of magnitudes tell    | as if it wrote them: a bit more for some eight symbols  |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import OF_MOTION, PRIOR_STEPS, TABLES, Part, Picked, Quarter, dequantize
from bcodec.entropy.distributions import FAMILIES, HEAVY, PLAIN, information
from bcodec.entropy.tables import MAGNITUDES, TOTAL, magnitude_bits, scales

OCTAVE, COLUMNS = 16, 274  # of surfaces: columns where 4 |symbol| + 1 doubles, up to symbols of 2^15
SELDOM = 1e-3  # probability below which a table had too few symbols to count to be trusted


class SymbolCosts(nn.Module):
    """Bits of symbols as frequency tables have them, differentiable: between tables and symbols interpolated.

    `tables` as of a weights file, or those of `make_tables`. What symbols take is looked up in one surface, a
    row for each table of either family: by formulas it was a fifth of a training step's operations.
    """

    bits: Tensor  # [families, 64, 16], of the magnitudes in each table
    surface: Tensor  # [1, 1, families * 64, COLUMNS], of magnitudes (2^(column / OCTAVE) - 1) / 4

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
        columns = (torch.exp2(torch.arange(COLUMNS).double() / OCTAVE) - 1) / 4
        whole = columns.clamp(max=MAGNITUDES - 1)
        below = whole.long().clamp(max=MAGNITUDES - 2)
        between = torch.lerp(excess[:, :, below], excess[:, :, below + 1], whole - below)
        surface = torch.stack([information(columns, deviations, family) for family in FAMILIES]) + between
        self.register_buffer("bits", bits.float(), persistent=False)
        self.register_buffer("surface", surface.float().view(1, 1, -1, COLUMNS), persistent=False)

    def forward(self, symbol: Tensor, index: Tensor, heavy: int) -> Tensor:
        """Bits of symbols [.., C, H, W], which need not be whole; the first `heavy` channels are HEAVY."""
        row = index.expand(symbol.shape)
        if heavy:
            first = torch.arange(symbol.shape[-3], device=symbol.device) < heavy
            row = row + TABLES * FAMILIES.index(HEAVY) * first.view(-1, 1, 1)
        column = torch.log2(4 * symbol.abs() + 1) * (2 * OCTAVE / (COLUMNS - 1))
        where = torch.stack([column, row * (2 / (len(FAMILIES) * TABLES - 1))], -1) - 1
        looked_up = F.grid_sample(
            self.surface, where.view(1, -1, 1, 2), padding_mode="border", align_corners=True
        )
        return looked_up.view(symbol.shape)

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

    Of the content only what a step codes is measured, a quarter; of motion and block sizes all is, and then
    masked, since there is little of it.
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
        picked: Picked | None = None,
    ) -> Tensor:
        """See SymbolCoder; a mask of the content has, everywhere, one of each PRIOR_STEPS channels.

        `heavy` is then a multiple of PRIOR_STEPS. Raises TypeError without y, and ValueError for other masks
        (on a CPU: elsewhere nothing waits to look).
        """
        if y is None:
            raise TypeError("a rate meter needs the latent")
        worth = self.worth if part is Part.CONTENT else None
        if mask is not None and part is Part.CONTENT:
            own, alone = Quarter(mask, len(mean)), mean.shape[1] < mask.shape[1]
            if mask.device.type == "cpu" and not bool((own.mask.sum(2) == 1).all()):
                raise ValueError(
                    f"a step of the content codes one of each {PRIOR_STEPS} channels at every position"
                )
            if not alone:
                mean, scale, step = (own.of(x) for x in (mean, scale, step))
            worth = None if worth is None else own.of(worth)
            bits, y_hat = self._measure(own.of(y), mean, scale, step, worth, heavy // PRIOR_STEPS)
            y_hat = y_hat if alone else own.back(y_hat)
        else:
            worth = worth if worth is None or picked is None else picked.of(worth)
            bits, y_hat = self._measure(y, mean, scale, step, worth, heavy)
            if mask is not None:
                bits, y_hat = bits * mask, y_hat * mask
        self.calls.append((part, bits.flatten(1).sum(1)))
        return y_hat

    def _measure(
        self, y: Tensor, mean: Tensor, scale: Tensor, step: Tensor, worth: Tensor | None, heavy: int
    ) -> tuple[Tensor, Tensor]:
        """Bits and dequantized values, [B, C, H, W]."""
        index = _Inside.apply(scale, 0.0, TABLES - 1.0)  # type: ignore[no-untyped-call]
        ratio = (y.float() - mean) / step
        exact = ratio.detach()
        if worth is None:
            symbol = torch.round(exact)
        else:
            symbol = self.costs.thrifty(
                exact, index.detach().expand(ratio.shape), worth * step.detach().square()
            )
        bits = self.costs(symbol, index, heavy)
        coded = torch.round(index.detach()) > 0  # else nothing is; but the scale learns that it should be
        bits, symbol = bits - bits.detach() * ~coded, symbol * coded
        if ratio.requires_grad:
            bits = bits + (ratio - exact) * self._slope(ratio, index, heavy)
        return bits, dequantize(ratio + (symbol - ratio).detach(), mean, step)

    @torch.no_grad()
    def _slope(self, ratio: Tensor, index: Tensor, heavy: int) -> Tensor:
        """The mean gradient of bits over uniform noise: drawn, it would be half of all there is."""
        ends: Tensor = self.costs(torch.stack([ratio - 0.5, ratio + 0.5]), index, heavy)
        return ends[1] - ends[0]
