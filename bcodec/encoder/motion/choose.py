"""The motion to code: of what was found, what pays for its bits, known as it is coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.coding import Latents, Prediction, deviation
from bcodec.encoder.motion.lattice import segment_lattice, squares_of
from bcodec.entropy.distributions import HEAVY, PLAIN, Family, information
from bcodec.fixedpoint import upsample
from bcodec.networks.motion.blocks import Lattice
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

# What motion loses, in bits, [B, 1, H/16, W/16]: for direction (0 past, 1 future), field [B, 2, H/8, W/8] of
# some macroblocks, and which they are.
Price = Callable[[int, Tensor, Lattice], Tensor]


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
        lattice = segment_lattice(segment)
        if direction == 0:
            wanted = choose_flags(self.gains, latents[0][:, FLAGS], mean[:, FLAGS], scale[:, FLAGS])
            own = segment_mask(segment, mean.shape[2:], mean.device)
            latents[0][:, FLAGS] = torch.where(own, wanted, latents[0][:, FLAGS])
        flags = lattice.of(latents[0][:, FLAGS])
        full_pel, textured = upsample(flags[:, :1] > 0.5), 1 - flags[:, 1:]
        known = squares_of(prediction.future if direction else prediction.past, lattice)
        y, expected, deviations = (
            lattice.of(x).float() for x in (latents[direction], mean, deviation(torch.round(scale)))
        )
        symbol = torch.round((y - expected) / step) * (lattice.of(torch.round(scale)) > 0)

        def lost_motion(symbols: Tensor) -> Tensor:
            field = latent_to_vectors(expected[:, :VECTORS] + symbols * step[:, :VECTORS]) + known
            field = torch.where(full_pel, torch.round(field), field)
            return self.price(direction, field, lattice) * textured

        def lost_preference(symbols: Tensor) -> Tensor:
            coded = latent_to_preference(expected[:, PREFERENCE] + symbols * step[:, PREFERENCE])
            off = coded - squares_of(self.preference, lattice)
            return F.avg_pool2d(squares_of(self.stakes, lattice) * off.square(), 2) * 4 * textured

        picked = y.clone()
        groups = [(slice(0, VECTORS), MEANS, lost_motion, HEAVY), (PREFERENCE, 1, lost_preference, PLAIN)]
        for group, means, loss, family in groups[: 2 - direction]:
            best = symbols_that_pay(symbol[:, group], deviations[:, group], means, loss, family)
            picked[:, group] = expected[:, group] + best * step[:, group]
        chosen = mean.to(y.dtype).clone()
        lattice.of(chosen).copy_(picked)
        return chosen


@torch.no_grad()
def symbols_that_pay(
    symbols: Tensor, deviations: Tensor, means: int, loss: Callable[[Tensor], Tensor], family: Family
) -> Tensor:
    """The symbols to code in place of [B, C, H, W]: all of a block's, its first `means`, the rest, or none.

    Or the means, some of them one nearer to zero. What costs least bits, and loses least: `loss` gives that
    in bits, [B, 1, H, W], for symbols.
    """
    number = torch.arange(symbols.shape[1], device=symbols.device).view(1, -1, 1, 1)
    first = number < means
    nearer = symbols - torch.sign(symbols)
    candidates = [symbols, symbols * first, symbols * ~first, torch.zeros_like(symbols)]
    candidates += [torch.where(number == i, nearer, symbols) * first for i in range(means)]
    candidates += [nearer * first] * (means > 1)
    costs = [
        information(candidate, deviations, family).sum(1, keepdim=True) + loss(candidate)
        for candidate in candidates
    ]
    best = torch.stack(costs).argmin(0, keepdim=True).expand(-1, -1, symbols.shape[1], -1, -1)
    return torch.stack(candidates).gather(0, best)[0]


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
