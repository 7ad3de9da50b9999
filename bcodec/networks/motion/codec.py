"""Motion of a B frame: found by the search, predicted by the decoder, the difference coded by two branches.

After https://arxiv.org/abs/2506.07709 (interactive dual-branch motion auto-encoder, per-branch quantization
steps, interactive motion entropy model) and https://arxiv.org/abs/2408.08604 (bidirectional motion difference
coding):

    r_f = v_f - pred_f ─ encoder f ─> m_f ─ code f0 f1 .. ─> m_f^ ─ decoder f ─> r_f^ ─ + pred_f ─> v_f^
                           ⇅ interaction      ↑ ↓ directional priors  ⇅ interaction
    r_b = v_b - pred_b ─ encoder b ─> m_b ─ code b0 b1 .. ─> m_b^ ─ decoder b ─> r_b^ ─ + pred_b ─> v_b^

The first channels of a latent are vectors, without a network (bcodec.networks.motion.vectors). The branches'
networks code what else helps, and make of all of it features for the contexts. Fields are [B, 2, H/8, W/8] =
(x, y) in luma samples.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.entropy.distributions import HEAVY, PLAIN, Family, information
from bcodec.fixedpoint import LATENT, SEEN_LATENT, Conv2d, gate, snap, upsample
from bcodec.networks.latent import QStep, SymbolCoder, as_seen, deviation
from bcodec.networks.layers import Channels, Down, Up
from bcodec.networks.motion.blocks import Lattice
from bcodec.networks.motion.prior import MotionEntropyModel, Prediction
from bcodec.networks.motion.segments import segment_lattice, segment_mask
from bcodec.networks.motion.vectors import (
    EXACT,
    FIELD_SCALE,
    FLAGS,
    FLAT,
    FULL_PEL,
    MEANS,
    PREFERENCE,
    PREFERENCES,
    QUARTER,
    VECTORS,
    code_precision,
    latent_to_preference,
    latent_to_vectors,
    to_latent,
    vectors_to_latent,
    with_fixed_steps,
)

COUPLING = 1.0  # bits that a flag saves for each neighbour that is alike
TIE = 0.3  # bits that count as no loss in a choice between two values of a flag

# What motion loses, in bits, [B, 1, H/16, W/16]: for direction (0 past, 1 future), field [B, 2, H/8, W/8] of
# some cells, and which they are.
Price = Callable[[int, Tensor, Lattice], Tensor]


class Motion(NamedTuple):
    """Decoded motion towards both references, and what was learned on the way."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/8, W/8], -1 (take the future) to 1 (take the past), multiples of 1/16
    flat: Tensor  # [B, 1, H/16, W/16] bool, where the prediction is the mean of its block
    features: Tensor  # [B, 2 M, H/8, W/8]


class Search(NamedTuple):
    """What the encoder found: motion towards both references, and which of them to prefer where."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/8, W/8], -1 (take the future) to 1 (take the past)
    stakes: Tensor  # [B, 1, H/8, W/8], bits that a squared error of 1 in the preference costs
    gains: Tensor  # [B, 2, H/16, W/16], bits that either flag saves
    price: Price
    precision: Tensor  # [B], of vectors: index of STEPS


class Track(NamedTuple):
    """The motion that a frame was coded with: what later frames between it and its references expect."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    distances: tuple[int, int]  # in frames, to where the fields point


class Interaction(nn.Module):
    """One branch looks at the other: query from its own features, key and value from the other's.

    own ─┬─ dw3x3 ─ query ─┐
         │                 +── hard sigmoid ─ x ── 1x1 (starts at zero) ─ + ─> own
    other ┬─ dw3x3 ─ key ──┘                  │                           │
          └─ dw3x3 ─ value ───────────────────┘          own ─────────────┘
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (Conv2d(channels, channels, groups=channels) for _ in range(3))
        self.merge = Conv2d(channels, channels, kernel=1, zero=True)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """[B, C, H, W] twice -> [B, C, H, W]."""
        query = self.key(other, residual=self.query(own))
        return self.merge(gate(query, self.value(other)), residual=own)  # type: ignore[no-any-return]


class BranchEncoder(nn.Module):
    """One direction's analysis, cut where the branches interact. Encoder only."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.head = Conv2d(4, c, activation=True)
        self.interact8 = Interaction(c)
        self.down = Down(c, c)
        self.interact16 = Interaction(c)
        self.tail = Conv2d(c, c - EXACT, zero=True, grid_out=LATENT)


class BranchDecoder(nn.Module):
    """One direction's synthesis of features, cut where the branches interact."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.head = Conv2d(c, c, kernel=1, activation=True, grid_in=SEEN_LATENT)
        self.interact16 = Interaction(c)
        self.up = Up(c, c)
        self.interact8 = Interaction(c)


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


class MotionCodec(nn.Module):
    """The interactive dual-branch motion auto-encoder with its entropy model."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.motion
        self.encoders = nn.ModuleList(BranchEncoder(c) for _ in range(2))
        self.decoders = nn.ModuleList(BranchDecoder(c) for _ in range(2))
        self.entropy = MotionEntropyModel(channels)
        # Per-branch adaptive quantization: a gain in the encoder, a step in the decoder for either direction.
        self.gains = nn.ModuleList(QStep(c, 1.0, 1.0) for _ in range(2))
        self.steps = nn.ModuleList(QStep(c, 0.125, 0.025) for _ in range(2))

    def forward(
        self,
        symbols: SymbolCoder,
        prediction: Prediction,
        qp: Tensor,
        found: Search | None = None,
    ) -> Motion:
        """Decoded motion; `found` by the search when encoding."""
        latents, choose = None, None
        if found is not None:
            latents = self.encode(found, prediction, qp)
            choose = partial(self.choose, latents, found, prediction)
        precision = code_precision(symbols, qp, found.precision if found else None)
        qsteps = [with_fixed_steps(precision, step(qp)) for step in self.steps]
        # A mantissa of eight bits would blur quarter samples.
        with torch.autocast(qp.device.type, enabled=False):
            m_f, m_b = self.entropy(symbols, latents, prediction, qp, qsteps, choose)
        return self.decode(m_f, m_b, prediction)

    def choose(  # noqa: PLR0917
        self,
        latents: tuple[Tensor, Tensor],
        found: Search,
        prediction: Prediction,
        direction: int,
        part: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """A direction's latent, with what does not pay for its bits left out.

        Only where the segment is. Encoder only.
        """
        lattice = segment_lattice(part)
        if direction == 0:
            wanted = choose_flags(found.gains, latents[0][:, FLAGS], mean[:, FLAGS], scale[:, FLAGS])
            own = segment_mask(part, mean.shape[2:], mean.device)
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
            return found.price(direction, field, lattice) * textured

        def lost_preference(symbols: Tensor) -> Tensor:
            coded = latent_to_preference(expected[:, PREFERENCE] + symbols * step[:, PREFERENCE])
            off = coded - squares_of(found.preference, lattice)
            return F.avg_pool2d(squares_of(found.stakes, lattice) * off.square(), 2) * 4 * textured

        picked = y.clone()
        groups = [(slice(0, VECTORS), MEANS, lost_motion, HEAVY), (PREFERENCE, 1, lost_preference, PLAIN)]
        for group, means, loss, family in groups[: 2 - direction]:
            best = symbols_that_pay(symbol[:, group], deviations[:, group], means, loss, family)
            picked[:, group] = expected[:, group] + best * step[:, group]
        chosen = mean.to(y.dtype).clone()
        lattice.of(chosen).copy_(picked)
        return chosen

    def encode(self, found: Search, prediction: Prediction, qp: Tensor) -> tuple[Tensor, Tensor]:
        """Latents m_f and m_b of the difference between found and predicted motion. Encoder only."""
        f, b = (cast(BranchEncoder, branch) for branch in self.encoders)
        predicted = (prediction.past, prediction.future)
        off = [v - p for v, p in zip(found[:2], predicted, strict=True)]
        inputs = [snap(torch.cat(pair, 1) * FIELD_SCALE) for pair in zip(off, predicted, strict=True)]
        h_f, h_b = f.head(inputs[0]), b.head(inputs[1])
        h_f, h_b = f.interact8(h_f, h_b), b.interact8(h_b, h_f)
        h_f, h_b = f.down(h_f), b.down(h_b)
        h_f, h_b = f.interact16(h_f, h_b), b.interact16(h_b, h_f)
        nothing = torch.zeros_like(found.preference)
        flags = smooth_choice(found.gains, COUPLING)
        exact = [
            torch.cat([vectors_to_latent(off[0]), to_latent(found.preference) / 2, flags], 1),
            torch.cat([vectors_to_latent(off[1]), to_latent(nothing) / 2, torch.zeros_like(flags)], 1),
        ]
        learned = [
            branch.tail(h).float() * gain(qp)[0][:, EXACT:]
            for branch, h, gain in zip((f, b), (h_f, h_b), self.gains, strict=True)
        ]
        m_f, m_b = (snap(torch.cat(pair, 1), LATENT) for pair in zip(exact, learned, strict=True))
        return m_f, m_b

    def decode(self, m_f: Tensor, m_b: Tensor, prediction: Prediction) -> Motion:
        """Motion fields and features at 1/8 from the decoded latents."""
        f, b = (cast(BranchDecoder, branch) for branch in self.decoders)
        h_f, h_b = f.head(as_seen(m_f)), b.head(as_seen(m_b))
        h_f, h_b = f.interact16(h_f, h_b), b.interact16(h_b, h_f)
        h_f, h_b = f.up(h_f), b.up(h_b)
        h_f, h_b = f.interact8(h_f, h_b), b.interact8(h_b, h_f)
        full_pel = upsample(m_f[:, FULL_PEL : FULL_PEL + 1] > 0.5)
        fields = []
        for m, predicted in ((m_f, prediction.past), (m_b, prediction.future)):
            field = snap(latent_to_vectors(m.float()) + predicted, QUARTER)
            # What stands still, or moves by whole samples, stays sharp.
            fields.append(torch.where(full_pel, torch.round(field), field))
        preference = snap(latent_to_preference(m_f[:, PREFERENCE].float()), PREFERENCES)
        flat = m_f[:, FLAT : FLAT + 1] > 0.5
        return Motion(fields[0], fields[1], preference, flat, torch.cat([h_f, h_b], 1))


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


def squares_of(field: Tensor, lattice: Lattice) -> Tensor:
    """Of the values of blocks of 8x8, [B, C, H/8, W/8], those in the cells of a lattice."""
    return F.pixel_shuffle(lattice.of(F.pixel_unshuffle(field, 2)), 2)
