"""Motion of a B frame: found by the search, predicted by the decoder, the difference coded by two branches.

After https://arxiv.org/abs/2506.07709 (interactive dual-branch motion auto-encoder, per-branch quantization
steps, interactive motion entropy model) and https://arxiv.org/abs/2408.08604 (bidirectional motion difference
coding):

    r_f = v_f - pred_f ─ encoder f ─> m_f ─ code f0 f1 .. ─> m_f^ ─ decoder f ─> r_f^ ─ + pred_f ─> v_f^
                           ⇅ interaction      ↑ ↓ directional priors  ⇅ interaction
    r_b = v_b - pred_b ─ encoder b ─> m_b ─ code b0 b1 .. ─> m_b^ ─ decoder b ─> r_b^ ─ + pred_b ─> v_b^

The first channels of a latent are a 2x2 Haar transform of the field, without a network: vectors stay on one
grid of quarter samples, so that what moves alike is coded as exactly alike, and costs nothing. The branches'
networks code what else helps, and make of all of it features for the contexts. Fields are [B, 2, H/8, W/8] =
(x, y) in luma samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.distributions import HEAVY, PLAIN, Family, information
from bcodec.fixedpoint import LATENT, SEEN_LATENT, Conv2d, Grid, gate, hard_sigmoid, on_grid, snap, upsample
from bcodec.networks.latent import (
    Hyperprior,
    Parameters,
    QStep,
    SymbolCoder,
    as_seen,
    deviation,
    scale_offset,
    table_index,
)
from bcodec.networks.layers import Channels, Down, Up
from bcodec.networks.matching import Lattice

FIELD_SCALE = 1 / 8  # from luma samples to activations
SEGMENTS = 5
SURPRISE = 4.0  # largest distance from what was expected, in steps, that the entropy model tells from others
QUARTER = Grid(frac=2, bits=12)  # luma samples: [-512, 512) in steps of 1/4
PREFERENCES = Grid(frac=4, bits=6)  # [-2, 2) in steps of 1/16

# Latent channels: the vectors of the four blocks of 8x8 in one of 16x16, first their mean; in branch f also
# the preference between the references, first its mean, and two flags: vectors are rounded to whole samples;
# what is predicted is only the mean of the block.
VECTORS = 8
MEANS = 2
PREFERENCE = slice(8, 12)
FULL_PEL = 12
FLAT = 13
FLAGS = slice(FULL_PEL, FLAT + 1)
EXACT = FLAGS.stop  # so many channels have no network
COUPLING = 1.0  # bits that a flag saves for each neighbour that is alike
TIE = 0.3  # bits that count as no loss in a choice between two values of a flag
# What a quarter of a sample, or a preference of 1, is in the latent; means reach 128 luma samples.
QUARTERS = (1 / 32,) * MEANS + (1 / 16,) * (VECTORS - MEANS)
# Quantization steps by the precision of vectors (whole, half, quarter samples): of the vectors' mean and of
# the rest, in quarter samples, and of the preference.
STEPS = ((4, 4, 1.0), (2, 2, 1.0), (1, 2, 0.5))
FINER_FROM = (4, 14)  # the qps from which on vectors usually are of half and of quarter samples
PRECISION_INDEX = 10.0  # of the table for the difference from that


# What motion loses, in bits, [B, 1, H/16, W/16]: for direction (0 past, 1 future), field [B, 2, H/8, W/8] of
# some cells, and which they are.
Price = Callable[[int, Tensor, Lattice], Tensor]
# An encoder's choice of the latent to code: direction, segment, its mean, scale index and quantization step.
Choice = Callable[[int, int, Tensor, Tensor, Tensor], Tensor]


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


def haar(squares: Tensor) -> Tensor:
    """Orthonormal Haar transform of squares of 2x2, [B, 4, C, H, W], means first. Its own inverse."""
    a, b, c, d = squares.unbind(1)
    left, right = (a + b) / 2, (c + d) / 2
    over, under = (a - b) / 2, (c - d) / 2
    return torch.stack([left + right, over + under, left - right, over - under], 1)


def to_latent(field: Tensor) -> Tensor:
    """Values of blocks of 8x8 to those of 16x16, [B, C, 2 H, 2 W] -> [B, 4 C, H, W]: half the sums first."""
    batch, channels, height, width = field.shape
    squares = F.pixel_unshuffle(field, 2).view(batch, channels, 4, height // 2, width // 2)
    return haar(squares.transpose(1, 2)).flatten(1, 2)


def from_latent(latent: Tensor) -> Tensor:
    """The inverse of `to_latent`."""
    batch, channels, height, width = latent.shape
    squares = haar(latent.reshape(batch, 4, channels // 4, height, width))
    return F.pixel_shuffle(squares.transpose(1, 2).flatten(1, 2), 2)


def vectors_to_latent(field: Tensor) -> Tensor:
    """Vectors in luma samples, [B, 2, 2 H, 2 W], to the latent's first channels, [B, VECTORS, H, W]."""
    latent = to_latent(field) * FIELD_SCALE
    return torch.cat([latent[:, :MEANS] / 2, latent[:, MEANS:]], 1)


def latent_to_vectors(latent: Tensor) -> Tensor:
    """The inverse of `vectors_to_latent`, of a latent with all its channels."""
    return from_latent(torch.cat([latent[:, :MEANS] * 2, latent[:, MEANS:VECTORS]], 1)) / FIELD_SCALE


def latent_to_preference(latent: Tensor) -> Tensor:
    """What the channels PREFERENCE of a latent of branch f say, [B, 4, H, W] -> [B, 1, 2 H, 2 W]."""
    return from_latent(latent * 2)


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
    """What the four nearest decoded positions let expect at those of a segment: their median; first 0.

    So across the edge of what moves, three outvote one.
    """
    _, low, high, _ = nearest_four(decoded, part)
    return (low + high) * 0.5


def nearest_four(decoded: Tensor, part: int) -> Sequence[Tensor]:
    """The four nearest decoded positions to each of a segment, from least to greatest; first 0."""
    if part == 0:
        return (torch.zeros_like(decoded),) * 4
    pitch = 2 if part <= 2 else 1
    lattice = decoded[:, :, ::pitch, ::pitch]
    rows, columns = lattice.shape[2:]
    padded = F.pad(lattice, (1, 1, 1, 1), mode="reflect")
    offsets = ((0, 0), (0, 2), (2, 0), (2, 2)) if part % 2 else ((0, 1), (1, 0), (1, 2), (2, 1))
    around = [padded[:, :, y : y + rows, x : x + columns] for y, x in offsets]
    return [upsample(each, pitch) for each in torch.stack(around).sort(0).values.unbind(0)]


@cache
def fixed_steps() -> tuple[Tensor, Tensor]:
    """Quantization steps of the first channels and scale offsets, for each precision: [3, EXACT]."""
    rows = []
    for mean, detail, preference in STEPS:
        vectors = [unit * (mean if i < MEANS else detail) for i, unit in enumerate(QUARTERS)]
        rows.append([*vectors, *[preference] * (FULL_PEL - VECTORS), *[1.0] * (EXACT - FULL_PEL)])
    steps = torch.tensor(rows)
    return steps, torch.round(16 * scale_offset(torch.log(steps))) / 16


def usual_precision(qp: Tensor) -> Tensor:
    """The precision that vectors have at a qp unless they are coarser, [B]: index of STEPS."""
    return (qp[:, None] >= torch.tensor(FINER_FROM, device=qp.device)).sum(1)


def code_precision(symbols: SymbolCoder, qp: Tensor, precision: Tensor | None) -> Tensor:
    """The decoded precision of vectors, [B], of that to encode, if any."""
    usual = usual_precision(qp).float().view(-1, 1, 1, 1)
    y = None if precision is None else precision.float().view(-1, 1, 1, 1)
    scale = torch.full_like(usual, PRECISION_INDEX)
    decoded = symbols.code(y, usual, scale, torch.ones_like(usual), heavy=1)
    return decoded.flatten().clamp(0, len(STEPS) - 1).long()


def with_fixed_steps(precision: Tensor, learned: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Quantization steps and scale offsets of all channels, those of the first ones by the precision [B]."""
    fixed = [rows.to(precision.device)[precision][:, :, None, None] for rows in fixed_steps()]
    step, offset = (torch.cat([own, other[:, EXACT:]], 1) for own, other in zip(fixed, learned, strict=True))
    return step, offset


class MotionEntropyModel(nn.Module):
    """Interactive entropy model: segments in the order f0, b0, f1, b1, ..., each with all before as prior.

    The segments of a direction are positions, from coarse to fine. So a vector is expected as the median of
    four decoded neighbours of its own direction; for b also as what goes on straight from f at the same place
    (the directional prior), and a network weighs the two. Beside the vectors the networks see how far off
    decoded ones were, and how far apart neighbours are: most are just as expected where others were.
    """

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.motion
        self.hyperprior = Hyperprior(2 * c, c, 2 * c)
        self.embed = Conv2d(20, c, activation=True)
        seen = 5 * c + 2 * EXACT + MEANS
        self.segments = nn.ModuleList(Parameters(seen, 48, c) for _ in range(2 * SEGMENTS))
        self.straight = nn.ModuleList(Conv2d(seen, 1, zero=True) for _ in range(SEGMENTS))
        with torch.no_grad():
            for index, segment in enumerate(self.segments):
                # Channels that carry nothing yet cost nothing; Haar details are smaller than means.
                bias = cast(Parameters, segment).scale.bias
                bias.fill_(-7.0)
                bias[:MEANS], bias[MEANS:VECTORS] = -0.4, -0.5
                if index % 2 == 0:
                    bias[PREFERENCE], bias[FLAGS] = 1.0, 1.0

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
        surprise = torch.zeros(len(qp), 2 * EXACT, *size, device=prior.device)
        unit = torch.tensor(QUARTERS, device=prior.device).view(1, -1, 1, 1)
        for index, parameters in enumerate(self.segments):
            part, direction = divmod(index, 2)
            least, low, high, greatest = nearest_four(decoded[direction], part)
            expected = (low + high) * 0.5
            spread = (greatest - least)[:, :MEANS].detach() / (2 * QUARTERS[0])
            # Latents reach twice as far as activations: halved, which is exact but for the last bit.
            seen = [snap(torch.cat(decoded, 1) * 0.5), surprise, spread.clamp(max=SURPRISE)]
            known = torch.cat([prior, *(x.to(prior.dtype) for x in seen)], 1)
            if direction:
                straight = snap(decoded[0][:, :VECTORS] * prediction.mirror, LATENT)
                ahead = straight + interpolate_segments(decoded[1][:, :VECTORS] - straight, part)
                weight = hard_sigmoid(self.straight[part](known).float())
                vectors = expected[:, :VECTORS] + weight * (ahead - expected[:, :VECTORS])
                expected = torch.cat([vectors, expected[:, VECTORS:]], 1)
            mean, scale = parameters(known)
            # Vectors are expected exactly: what a network adds would be noise beside a quarter of a sample.
            rest = snap(mean[:, VECTORS:] + expected[:, VECTORS:], LATENT)
            mean = torch.cat([on_grid(expected[:, :VECTORS], unit), rest], 1)
            step, offset = qsteps[direction]
            scale = table_index(scale, offset)
            y = choose(direction, part, mean, scale, step) if choose else None
            mask = segment_mask(part, size, prior.device).expand(1, mean.shape[1], *size)
            coded = symbols.code(y, mean, scale, step, mask, heavy=VECTORS)
            decoded[direction] = decoded[direction] + coded
            symbols_seen = torch.round((coded - mean)[:, :EXACT].detach() / step[:, :EXACT]).abs()
            own = slice(direction * EXACT, (direction + 1) * EXACT)
            surprise[:, own] += mask[:, :EXACT] * symbols_seen.clamp(max=SURPRISE)
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
