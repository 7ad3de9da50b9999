"""The motion to code: of what was found, what pays for its bits, known as it is coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.cells import Cells, cells_where
from bcodec.coding import Latents, Prediction, deviation
from bcodec.entropy.distributions import HEAVY, PLAIN, Family, information
from bcodec.fixedpoint import upsample
from bcodec.networks.motion.segments import segment_mask
from bcodec.networks.motion.vectors import (
    FLAGS,
    MEANS,
    PREFERENCE,
    VECTORS,
    latent_to_preference,
    latent_to_vectors,
)

COUPLING = 1.0  # bits that a flag saves for each neighbour that is alike
TIE = 0.3  # bits that count as no loss in a choice between two values of a flag

Loss = Callable[[Tensor], Tensor]  # in bits, [K, 1, 1, N], of choices [K, ..] in each of N macroblocks
# What vectors [K, 2, 2, 2 N] lose, for a direction (0 past, 1 future) and the macroblocks.
Price = Callable[[int, Cells], Loss]


@dataclass(eq=False)
class PayingMotion:
    """Motion towards both references, which of them to prefer where, and what all that is worth.

    See bcodec.coding.FoundMotion.
    """

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/8, W/8], -1 (take the future) to 1 (take the past)
    precision: Tensor  # [B], of vectors
    stakes: Tensor  # [B, 1, H/8, W/8], bits that a squared error of 1 in the preference costs
    gains: Tensor  # [B, 2, H/16, W/16], bits that either flag saves
    price: Price

    def __post_init__(self) -> None:
        self.flags = smooth_choice(self.gains, COUPLING)

    def choose(
        self,
        latents: Latents,
        prediction: Prediction,
        direction: int,
        segment: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """A direction's latent [B, C, H/16, W/16], with what does not pay for its bits left out."""
        own = segment_mask(segment, mean.shape[2:], mean.device)
        if direction == 0:
            wanted = choose_flags(self.gains, latents[0][:, FLAGS], mean[:, FLAGS], scale[:, FLAGS])
            latents[0][:, FLAGS] = torch.where(own, wanted, latents[0][:, FLAGS])
        chosen = latents[direction].float().clone()
        groups = [(slice(0, VECTORS), MEANS, HEAVY), (PREFERENCE, 1, PLAIN)]
        for group, means, family in groups[: 2 - direction]:
            expected, index, unit = (x[:, group].float() for x in (mean, torch.round(scale), step))
            symbol = torch.round((chosen[:, group] - expected) / unit) * (index > 0)
            chosen[:, group] = expected
            # Only where there is something to code is there a choice.
            cells = cells_where(own & symbol.any(1, keepdim=True))
            if not len(cells.row):
                continue
            symbol, expected, index, unit = (
                cells.of(x.expand_as(symbol)) for x in (symbol, expected, index, unit)
            )
            full_pel, flat = cells.of(latents[0][:, FLAGS]).chunk(2, 1)
            if group == PREFERENCE:
                lost = self._lost_preference(cells)
            else:
                known = cells.squares_of(prediction.future if direction else prediction.past)
                lost = self._lost_motion(direction, cells, known, full_pel)
            loss = _of_symbols(lost, expected, unit, flat)
            best = symbols_that_pay(symbol, deviation(index), means, loss, family)
            cells.put(expected + best * unit, chosen[:, group])
        return chosen

    def _lost_motion(self, direction: int, cells: Cells, known: Tensor, full_pel: Tensor) -> Loss:
        """What vectors lose beside those `known` [1, 2, 2, 2 N], for their channels of a latent.

        They are whole where `full_pel` [1, 1, 1, N] is.
        """
        price, whole = self.price(direction, cells), upsample(full_pel > 0.5)

        def loss(latent: Tensor) -> Tensor:
            field = latent_to_vectors(latent) + known
            return price(torch.where(whole, torch.round(field), field))

        return loss

    def _lost_preference(self, cells: Cells) -> Loss:
        """What preferences lose, for their channels of a latent."""
        stakes, wanted = cells.squares_of(self.stakes), cells.squares_of(self.preference)
        return lambda latent: F.avg_pool2d(stakes * (latent_to_preference(latent) - wanted).square(), 2) * 4


def _of_symbols(lost: Loss, expected: Tensor, step: Tensor, flat: Tensor) -> Loss:
    """The loss for symbols of that for a latent; what is `flat` loses nothing."""
    return lambda symbols: lost(expected + symbols * step) * (1 - flat)


@torch.no_grad()
def symbols_that_pay(symbols: Tensor, deviations: Tensor, means: int, loss: Loss, family: Family) -> Tensor:
    """The symbols to code in place of [1, C, H, W]: all of a block's, its first `means`, the rest, or none.

    Or the means, some of them one nearer to zero or, of two, one of them alone, or half of both. What costs
    least bits, and loses least: `loss` gives that in bits, [K, 1, H, W], for symbols [K, C, H, W].
    """
    number = torch.arange(symbols.shape[1], device=symbols.device).view(1, -1, 1, 1)
    first = number < means
    nearer = symbols - torch.sign(symbols)
    options = [symbols, symbols * first, symbols * ~first, torch.zeros_like(symbols)]
    options += [torch.where(number == i, nearer, symbols) * first for i in range(means)]
    if means > 1:
        alone = [torch.where(number == i, 0.0, symbols) for i in range(means)]
        options += [each * first for each in (nearer, *alone, torch.round(symbols / 2))]
    candidates = torch.cat(options)
    costs = information(candidates, deviations, family).sum(1, keepdim=True) + loss(candidates)
    return candidates.gather(0, costs.argmin(0, keepdim=True).expand_as(symbols))


@torch.no_grad()
def choose_flags(gains: Tensor, liked: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Flags, 0 or 1, by the bits that they save and those they cost, all [B, C, H, W].

    `liked` are the flags as they would best be all together, not knowing how they will be coded.
    """
    index = torch.round(scale)
    bits = [information(torch.round(flag - mean) * (index > 0), deviation(index)) for flag in (0, 1)]
    return (gains + COUPLING * (2 * liked - 1) + bits[0] - bits[1] > 0).float()


def smooth_choice(gain: Tensor, coupling: float) -> Tensor:
    """1 where a choice does not lose, in bits, else 0; a neighbour that chooses alike saves `coupling` bits.

    [B, C, h, w], by iterated conditional modes.
    """
    gain = gain + TIE
    choice = (gain > 0).float()
    for _ in range(4):
        agreement = F.avg_pool2d(F.pad(choice * 2 - 1, (1, 1, 1, 1), mode="replicate"), 3, 1) * 9
        choice = (gain + coupling * (agreement - (choice * 2 - 1)) > 0).float()
    return choice
