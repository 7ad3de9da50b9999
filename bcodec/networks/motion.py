"""Motion of a B frame: found by the search, predicted by the decoder, the difference coded by two branches.

After https://arxiv.org/abs/2506.07709 (interactive dual-branch motion auto-encoder, per-branch quantization
steps, interactive motion entropy model) and https://arxiv.org/abs/2408.08604 (bidirectional motion difference
coding):

    r_f = v_f - pred_f ─ encoder f ─> m_f ─ code f0 f1 .. ─> m_f^ ─ decoder f ─> r_f^ ─ + pred_f ─> v_f^
                           ⇅ interaction      ↑ ↓ directional priors  ⇅ interaction
    r_b = v_b - pred_b ─ encoder b ─> m_b ─ code b0 b1 .. ─> m_b^ ─ decoder b ─> r_b^ ─ + pred_b ─> v_b^

Each branch has a linear path beside its network that starts as a 2x2 Haar transform of the field, so that it
codes vectors before any training. Fields are [B, 2, H/8, W/8] = (x, y) in luma samples, multiples of 1/16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.distributions import HEAVY, information
from bcodec.fixedpoint import LATENT, MOTION, Conv2d, Grid, gate, hard_sigmoid, snap, upsample
from bcodec.networks.latent import (
    FLAG_OFFSET,
    Hyperprior,
    Parameters,
    QStep,
    SymbolCoder,
    deviation,
    table_index,
)
from bcodec.networks.layers import Channels, Down, Up
from bcodec.networks.matching import Lattice

FIELD_SCALE = 1 / 8  # from luma samples to activations
MEAN_SCALE = 1 / 2  # of the latent's means beside that: so they reach 128 luma samples
SEGMENTS = 5
VECTORS = 8  # latent channels that carry the vectors of a block of 16x16: two of their mean, six of details
MEANS = 2
PREFERENCES = Grid(frac=4, bits=6)  # [-2, 2) in steps of 1/16
PREFERENCE = 8  # latent channel of branch f that carries the preference between the references
FULL_PEL = 9  # and the one that says whether vectors are rounded to whole samples: 0 or 1
HAAR = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2


# What motion loses, in bits, [B, 1, H/16, W/16]: for direction (0 past, 1 future), field [B, 2, H/8, W/8] of
# some cells, and which they are.
Price = Callable[[int, Tensor, Lattice], Tensor]
# An encoder's choice of the latent to code: direction, segment, its mean, scale index and quantization step.
Choice = Callable[[int, int, Tensor, Tensor, Tensor], Tensor]


class Motion(NamedTuple):
    """Decoded motion towards both references, and what was learned on the way."""

    past: Tensor  # [B, 2, H/4, W/4], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/16, W/16], -1 (take the future) to 1 (take the past), multiples of 1/16
    features: Tensor  # [B, 2 M, H/8, W/8]


class Search(NamedTuple):
    """What the encoder found: motion towards both references, and which of them to prefer where."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/16, W/16], -1 (take the future) to 1 (take the past)
    stakes: Tensor  # [B, 1, H/16, W/16], bits that a squared error of 1 in the preference costs
    full_pel: Tensor  # [B, 1, H/16, W/16], 1 where vectors are to be rounded to whole samples, else 0
    price: Price


class Prediction(NamedTuple):
    """Motion that the decoder predicts from its references: fields, and how far the two differ along them."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    mismatch: Tensor  # [B, 1, H/8, W/8], mean absolute difference in 8-bit units
    mirror: float  # what straight motion towards the past is times to be motion towards the future


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
        self.transform = Conv2d(9, c, kernel=1, zero=True, grid_out=LATENT)
        with torch.no_grad():
            self.transform.weight[:8, :8, 0, 0] = haar_matrix()
            self.transform.weight[:MEANS] *= MEAN_SCALE
            self.transform.weight[PREFERENCE, 8] = 1.0
        self.head = Conv2d(4, c, activation=True)
        self.interact8 = Interaction(c)
        self.down = Down(c, c)
        self.interact16 = Interaction(c)
        self.tail = Conv2d(c, c, zero=True, grid_out=LATENT)


class BranchDecoder(nn.Module):
    """One direction's synthesis, cut where the branches interact."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.transform = Conv2d(c, 9, kernel=1, zero=True, grid_in=LATENT, grid_out=MOTION)
        with torch.no_grad():
            self.transform.weight[:8, :8, 0, 0] = haar_matrix().t() / FIELD_SCALE
            self.transform.weight[:, :MEANS] /= MEAN_SCALE
            self.transform.weight[8, PREFERENCE] = 1.0
        self.head = Conv2d(c, c, kernel=1, activation=True, grid_in=LATENT)
        self.interact16 = Interaction(c)
        self.up = Up(c, c)
        self.interact8 = Interaction(c)
        self.correct = Conv2d(c, 2, zero=True, grid_out=MOTION)
        self.refine = Conv2d(c + 2, 8, zero=True, grid_out=MOTION)


@torch.no_grad()
def vectors_that_pay(
    y: Tensor, mean: Tensor, scale: Tensor, step: Tensor, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """[B, VECTORS, H, W] bool: which parts of a block's vectors to code, by least bits and loss.

    `loss` gives what a latent loses, in bits, [B, 1, H, W].
    """
    symbol = torch.round((y.float() - mean) / step)[:, :VECTORS]
    symbol = torch.where(torch.round(scale[:, :VECTORS]) > 0, symbol, 0.0)
    sigma = deviation(scale[:, :VECTORS])
    means = torch.arange(VECTORS, device=y.device).view(1, -1, 1, 1) < MEANS
    everything = torch.ones_like(means)
    costs = []
    for part in (everything, means, ~everything):
        kept = symbol * part
        m = torch.cat([mean[:, :VECTORS] + kept * step[:, :VECTORS], mean[:, VECTORS:]], 1)
        costs.append(information(kept, sigma, HEAVY).sum(1, keepdim=True) + loss(m))
    best = torch.stack(costs).argmin(0)
    return (best == 0) | ((best == 1) & means)


@torch.no_grad()
def preference_pays(y: Tensor, mean: Tensor, scale: Tensor, step: Tensor, stakes: Tensor) -> Tensor:
    """[B, H, W] bool: where the preference saves more than its bits beside what is expected of it."""
    own = slice(PREFERENCE, PREFERENCE + 1)
    off = y[:, own].float() - mean[:, own]
    symbol = torch.round(off / step[:, own])
    left = off - symbol * step[:, own]
    sigma = deviation(scale[:, own])
    bits = information(symbol, sigma) - information(torch.zeros_like(symbol), sigma)
    return (stakes * (off.square() - left.square()) > bits)[:, 0]


def haar_matrix() -> Tensor:
    """Orthonormal transform [8, 8] of an unshuffled field, channels (x, y) by four positions: means first."""
    return torch.einsum("kp,ab->kabp", HAAR, torch.eye(2)).reshape(8, 8)


def segment_mask(part: int, size: Sequence[int], device: torch.device) -> Tensor:
    """[1, 1, H, W] bool: where a segment lies.

    0 1 2 3 4 are 1/16, 1/16, 1/8, 1/4 and 1/2 of the positions, each in the middle of four of those before:

        0 4 2 4
        4 3 4 3
        2 4 1 4
        4 3 4 3
    """
    down, right = (torch.arange(side, device=device) for side in size)
    down, right = down[:, None], right[None, :]
    coarse = torch.where((down - right) % 4 == 0, down % 4 // 2, 2)
    fine = torch.where((down - right) % 2 == 0, 3, 4)
    number = torch.where((down % 2 == 0) & (right % 2 == 0), coarse, fine)
    return (number == part)[None, None]


def segment_lattice(part: int) -> Lattice:
    """The cells among which those of a segment are."""
    return Lattice(1, 2) if part == 3 else Lattice(0, 1 if part == 4 else 2)


def interpolate_segments(decoded: Tensor, part: int) -> Tensor:
    """What the four nearest decoded positions let expect at those of a segment: their mean; first 0."""
    if part == 0:
        return torch.zeros_like(decoded)
    pitch = 2 if part <= 2 else 1
    lattice = decoded[:, :, ::pitch, ::pitch]
    rows, columns = lattice.shape[2:]
    padded = F.pad(lattice, (1, 1, 1, 1), mode="reflect")
    offsets = ((0, 0), (0, 2), (2, 0), (2, 2)) if part % 2 else ((0, 1), (1, 0), (1, 2), (2, 1))
    around = [padded[:, :, y : y + rows, x : x + columns] for y, x in offsets]
    return upsample(torch.stack(around).sum(0) * 0.25, pitch)


def unit_step(step: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Quantization steps and scale offsets with a step of 1, at any qp, for the flag FULL_PEL."""
    step, offset = step.clone(), offset.clone()
    step[:, FULL_PEL], offset[:, FULL_PEL] = 1.0, FLAG_OFFSET
    return step, offset


class MotionEntropyModel(nn.Module):
    """Interactive entropy model: segments in the order f0, b0, f1, b1, ..., each with all before as prior.

    The segments of a direction are positions, from coarse to fine. So a vector is expected as the mean of
    four decoded neighbours of its own direction; for b also as what goes on straight from f at the same place
    (the directional prior), and networks weigh the two and correct them.
    """

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.motion
        self.hyperprior = Hyperprior(2 * c, c, 2 * c)
        self.embed = Conv2d(20, c, activation=True)
        self.segments = nn.ModuleList(Parameters(5 * c, 48, c) for _ in range(2 * SEGMENTS))
        self.straight = nn.ModuleList(Conv2d(5 * c, 1, zero=True) for _ in range(SEGMENTS))
        with torch.no_grad():
            for index, segment in enumerate(self.segments):
                # Channels that carry nothing yet cost nothing; Haar details are smaller than means.
                bias = cast(Parameters, segment).scale.bias
                bias.fill_(-7.0)
                bias[:MEANS], bias[MEANS:VECTORS] = -0.4, -0.5
                if index % 2 == 0:
                    bias[PREFERENCE] = bias[FULL_PEL] = 1.0

    def forward(  # noqa: PLR0917
        self,
        symbols: SymbolCoder,
        latents: tuple[Tensor, Tensor] | None,
        prediction: Prediction,
        qp: Tensor,
        qsteps: Sequence[tuple[Tensor, Tensor]],
        choose: Choice | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded m_f and m_b, [B, C, H/16, W/16] on the latent grid.

        `latents` and `choose` are given when encoding.
        """
        size = (prediction.mismatch.shape[2] // 2, prediction.mismatch.shape[3] // 2)
        both = None if latents is None else torch.cat(latents, 1)
        hyper = self.hyperprior(symbols, both, qp, size)
        prior = torch.cat([hyper, self.embed(prediction_features(prediction)).to(hyper.dtype)], 1)
        decoded = [torch.zeros(len(qp), qsteps[0][0].shape[1], *size, device=prior.device) for _ in range(2)]
        for index, parameters in enumerate(self.segments):
            part, direction = divmod(index, 2)
            # Latents reach twice as far as activations: halved, which is exact but for the last bit.
            known = torch.cat([prior, snap(torch.cat(decoded, 1) * 0.5).to(prior.dtype)], 1)
            expected = interpolate_segments(decoded[direction], part)
            if direction:
                straight = snap(decoded[0][:, :VECTORS] * prediction.mirror, LATENT)
                ahead = straight + interpolate_segments(decoded[1][:, :VECTORS] - straight, part)
                weight = hard_sigmoid(self.straight[part](known).float())
                vectors = expected[:, :VECTORS] + weight * (ahead - expected[:, :VECTORS])
                expected = torch.cat([vectors, expected[:, VECTORS:]], 1)
            mean, scale = parameters(known)
            mean = snap(mean + expected, LATENT)
            step, offset = qsteps[direction]
            scale = table_index(scale, offset)
            y = choose(direction, part, mean, scale, step) if choose else None
            mask = segment_mask(part, size, prior.device).expand(1, mean.shape[1], *size)
            coded = symbols.code(y, mean, scale, step, mask, heavy=VECTORS)
            decoded[direction] = decoded[direction] + coded
        return decoded[0], decoded[1]


def prediction_features(prediction: Prediction) -> Tensor:
    """Predicted fields and their mismatch at 1/16, [B, 20, H/16, W/16]."""
    fields = torch.cat([prediction.past, prediction.future], 1) * FIELD_SCALE
    return F.pixel_unshuffle(torch.cat([snap(fields), snap(prediction.mismatch * FIELD_SCALE)], 1), 2)


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
        with torch.no_grad():
            self.steps[0].channel[PREFERENCE] = math.log(6)  # type: ignore[operator]
            for step in self.steps:
                cast(QStep, step).channel[:MEANS] = math.log(MEAN_SCALE)

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
        qsteps = [unit_step(*step(qp)) for step in self.steps]
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
        """A direction's latent, with what does not pay for its bits replaced by its expectation.

        Of the vectors of each block all are kept, or their mean, or nothing (a merged block). Only where the
        segment is. Encoder only.
        """
        lattice = segment_lattice(part)
        y, expected, scale = lattice.of(latents[direction]), lattice.of(mean), lattice.of(scale)
        full_pel = upsample(lattice.of(latents[0][:, FULL_PEL : FULL_PEL + 1]) > 0.5)
        known = prediction.future if direction else prediction.past
        known = F.pixel_shuffle(lattice.of(F.pixel_unshuffle(known, 2)), 2)

        def loss(m: Tensor) -> Tensor:
            field = self.linear(direction, m)[0] + known
            return found.price(direction, torch.where(full_pel, torch.round(field), field), lattice)

        keep = torch.ones(y.shape, dtype=torch.bool, device=y.device)
        keep[:, :VECTORS] = vectors_that_pay(y, expected, scale, step, loss)
        if direction == 0:
            keep[:, PREFERENCE] = preference_pays(y, expected, scale, step, lattice.of(found.stakes))
        chosen = mean.to(y.dtype).clone()
        lattice.of(chosen).copy_(torch.where(keep, y, expected.to(y.dtype)))
        return chosen

    def linear(self, direction: int, m: Tensor) -> tuple[Tensor, Tensor]:
        """What a latent says without the network: difference of the field, and the preference."""
        with torch.autocast(m.device.type, enabled=False):
            linear = cast(BranchDecoder, self.decoders[direction]).transform(m)
        return F.pixel_shuffle(linear[:, :VECTORS], 2), linear[:, VECTORS:]

    def encode(self, found: Search, prediction: Prediction, qp: Tensor) -> tuple[Tensor, Tensor]:
        """Latents m_f and m_b of the difference between found and predicted motion. Encoder only."""
        f, b = (cast(BranchEncoder, branch) for branch in self.encoders)
        predicted = (prediction.past, prediction.future)
        scaled = [(v - p) * FIELD_SCALE for v, p in zip(found[:2], predicted, strict=True)]
        inputs = [snap(torch.cat([r, p * FIELD_SCALE], 1)) for r, p in zip(scaled, predicted, strict=True)]
        h_f, h_b = f.head(inputs[0]), b.head(inputs[1])
        h_f, h_b = f.interact8(h_f, h_b), b.interact8(h_b, h_f)
        h_f, h_b = f.down(h_f), b.down(h_b)
        h_f, h_b = f.interact16(h_f, h_b), b.interact16(h_b, h_f)
        latents = []
        preferences = (found.preference, torch.zeros_like(found.preference))
        for branch, h, r, preference, gain in zip(
            (f, b), (h_f, h_b), scaled, preferences, self.gains, strict=True
        ):
            linear = branch.transform(torch.cat([F.pixel_unshuffle(r, 2), preference], 1))
            latents.append(snap((linear + branch.tail(h)).float() * gain(qp)[0], LATENT))
        first = torch.cat([latents[0][:, :FULL_PEL], found.full_pel, latents[0][:, FULL_PEL + 1 :]], 1)
        return first, latents[1]

    def decode(self, m_f: Tensor, m_b: Tensor, prediction: Prediction) -> Motion:
        """Motion fields at 1/4 and features at 1/8 from the decoded latents."""
        f, b = (cast(BranchDecoder, branch) for branch in self.decoders)
        h_f, h_b = f.head(m_f), b.head(m_b)
        h_f, h_b = f.interact16(h_f, h_b), b.interact16(h_b, h_f)
        h_f, h_b = f.up(h_f), b.up(h_b)
        h_f, h_b = f.interact8(h_f, h_b), b.interact8(h_b, h_f)
        full_pel = upsample(m_f[:, FULL_PEL : FULL_PEL + 1] > 0.5, 4)
        fields, preferences = [], []
        for direction, (branch, m, h, predicted) in enumerate(
            zip((f, b), (m_f, m_b), (h_f, h_b), (prediction.past, prediction.future), strict=True)
        ):
            linear, preference = self.linear(direction, m)
            preferences.append(preference)
            coarse = snap(linear + branch.correct(h).float() + predicted, MOTION)
            shape = snap(coarse * FIELD_SCALE)
            detail = F.pixel_shuffle(branch.refine(torch.cat([h, shape.to(h.dtype)], 1)), 2)
            fine = snap(upsample(coarse) + detail.float(), MOTION)
            # What stands still, or moves by whole samples, stays sharp.
            fields.append(torch.where(full_pel, torch.round(fine), fine))
        preference = snap(preferences[0] + preferences[1], PREFERENCES)
        return Motion(fields[0], fields[1], preference, torch.cat([h_f, h_b], 1))
