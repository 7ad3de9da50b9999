"""The B frame codec: prediction from two references, its residual coded as the intra codec codes a picture.

    past, future ── tracks ─> predicted motion ──┐
    source ── search ──> fields ── MotionCodec ──┴─> motion ── TemporalContexts ──> P, contexts
    source - P ── Analysis(contexts) ──> y ── code (hyperprior, temporal and spatial prior) ──> y_hat
    y_hat, P ── Synthesis(contexts) ──> x_hat

So y = 0 means "take the prediction". Analysis, Synthesis, Hyperprior and SpatialPrior have the shape of the
intra codec's and start as copies of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.encoder.effort import PLAIN, Effort
from bcodec.encoder.motion.directions import useful_directions, weigh
from bcodec.encoder.motion.search import WORTH, Target, search, search_weight
from bcodec.fixedpoint import snap
from bcodec.networks.context import PriorFusion, Reference, TemporalContexts, conditions, flattened, luma
from bcodec.networks.intra import Analysis, IntraCodec, PictureQStep, Synthesis
from bcodec.networks.latent import Hyperprior, SymbolCoder, lagrangian
from bcodec.networks.layers import LEVELS, MIDDLE, Channels, Contexts
from bcodec.networks.motion.blocks import ALL, BLOCK, CELL, Lattice, mismatch
from bcodec.networks.motion.codec import Motion, MotionCodec, Search, Track, squares_of
from bcodec.networks.motion.prior import Prediction
from bcodec.networks.motion.shift import code_shifts
from bcodec.networks.motion.vectors import QUARTER, usual_precision
from bcodec.networks.prior import SpatialPrior

FLAT_LEAST = 8.0  # bits that prediction by a mean must save
NEVER = -1e6  # and what it saves where it is not to be tried
# About the bits of a coefficient that is not zero, beside those of its size; in steps, which ones will be.
NONZERO, THRIFT = 3.0, 0.6


class BFrameCodec(nn.Module):
    """Codes one frame between two references, or behind one (then both are the same: B*)."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.motion = MotionCodec(channels)
        self.contexts = TemporalContexts(channels)
        self.analysis = Analysis(channels, contexts=True)
        self.synthesis = Synthesis(channels, contexts=True)
        self.hyperprior = Hyperprior(channels.y, channels.z, channels.level3)
        self.temporal = PriorFusion(channels)
        self.prior = SpatialPrior(channels.level3, channels.level3, channels.y)
        self.step = PictureQStep(channels.y, 1.2, 0.053)

    def start_from(self, intra: IntraCodec) -> None:
        """Take over every layer that the intra codec has, too."""
        own = self.state_dict()
        alike = {k: v for k, v in intra.state_dict().items() if k in own and own[k].shape == v.shape}
        self.load_state_dict(alike, strict=False)

    def forward(  # noqa: PLR0917
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        source: Tensor | None = None,
        *,
        chroma_qp: Tensor | None = None,
        effort: Effort = PLAIN,
    ) -> tuple[Tensor, Tensor, Track]:
        """Decoded picture [B, 6, H/2, W/2] (not yet clamped), latent [B, Y, H/16, W/16] and motion.

        distances = (t - past, future - t) in frames, the second negative for B*; qp [B] in 0..63, of chroma
        `qp` if not given; `source` [B, 6, H/2, W/2] when encoding, which is done with `effort`.
        """
        contexts, motion = self.predict(symbols, past, future, distances, qp, source, effort)
        y = None if source is None else self.analysis(source - contexts.predicted, contexts.levels)
        size = (contexts.predicted.shape[2] // 8, contexts.predicted.shape[3] // 8)
        hyper = self.hyperprior(symbols, y, qp, size)
        prior = self.temporal(hyper, contexts.levels[2], (past.latent, future.latent))
        y_hat, sizes = self.prior(symbols, y, prior, self.step(qp, chroma_qp))
        x_hat = self.synthesis(y_hat, sizes, qp, self.step.strengths(qp, chroma_qp), contexts)
        return x_hat, y_hat, Track(motion.past, motion.future, distances)

    def predict(  # noqa: PLR0917
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        source: Tensor | None,
        effort: Effort = PLAIN,
    ) -> tuple[Contexts, Motion]:
        """The prediction P and the contexts, and the motion that is coded on the way."""
        expected = expected_motion(past, future, distances)
        shifts, found = None, None
        if source is not None:
            with torch.autocast(qp.device.type, enabled=False):
                shifts, found = self.find_motion(past, future, expected, qp, source, effort)
        shifts = code_shifts(symbols, shifts, len(qp), qp.device)
        prediction = predict_motion(past, future, expected, shifts)
        motion: Motion = self.motion(symbols, prediction, qp, found)
        condition = conditions(past, future, distances, qp)
        return self.contexts(past, future, motion, condition), motion

    @torch.no_grad()
    def find_motion(  # noqa: PLR0917
        self,
        past: Reference,
        future: Reference,
        expected: Expected,
        qp: Tensor,
        source: Tensor,
        effort: Effort,
    ) -> tuple[Tensor, Search]:
        """The shifts to code, [B, 4, 1, 1], and what the search finds beside them. Encoder only."""
        weight = search_weight(self.step(qp)[0].mean((1, 2, 3)) * LEVELS, qp) * effort.motion_price
        current, target = (
            luma(x) * LEVELS + MIDDLE for x in (source, torch.cat([past.picture, future.picture]))
        )
        quarter_pel = torch.cat([past.quarter_pel, future.quarter_pel])
        field = torch.cat([expected.past, expected.future])
        # Both directions at once: the search is many small operations.
        found, shifts = search(
            current.repeat(2, 1, 1, 1), target, quarter_pel, field, weight.repeat(2), details=effort.details
        )
        cost = weight.view(-1, 1, 1, 1)
        known = snap(field + shifts, QUARTER).chunk(2)
        fields = useful_directions(past, future, found.chunk(2), known, source, cost)
        seen = weigh(past, future, fields, source)
        stakes = lagrangian(qp).view(-1, 1, 1, 1) * seen.energy * (LEVELS**2 * BLOCK**2 / 4)
        targets = [Target(current, plane, cost) for plane in quarter_pel.chunk(2)]
        # Errors count as much as the direction does in the mean of the two.
        shares = [(1 + sign * seen.preference) / (WORTH * cost) for sign in (1, -1)]

        def price(direction: int, field: Tensor, lattice: Lattice) -> Tensor:
            distortion = targets[direction].distortion(field, BLOCK, lattice)
            return F.avg_pool2d(distortion * squares_of(shares[direction], lattice), 2) * 4

        rounding = [price(i, v, ALL) - price(i, torch.round(v), ALL) for i, v in enumerate(fields)]
        full_pel = rounding[0] + rounding[1]
        never = torch.full_like(full_pel, NEVER)
        flat = self.flattening(source, seen.mean, qp) if effort.details else never
        precision = (usual_precision(qp) - effort.coarser).clamp(min=0)
        result = Search(*fields, seen.preference, stakes, torch.cat([full_pel, flat], 1), price, precision)
        return torch.cat(shifts.chunk(2), 1), result

    def flattening(self, source: Tensor, predicted: Tensor, qp: Tensor) -> Tensor:
        """About the bits that blocks of 16x16 save if only their mean is predicted, [B, 1, H/16, W/16]."""
        everywhere = torch.ones_like(predicted[:, :1, :: CELL // 2, :: CELL // 2], dtype=torch.bool)
        one, other = (
            self.texture_bits(source - p, qp) for p in (predicted, flattened(predicted, everywhere))
        )
        # Where little is to be coded either way, what the network would have taken from P is worth more.
        return one - other - FLAT_LEAST

    def texture_bits(self, residual: Tensor, qp: Tensor) -> Tensor:
        """About the bits of each block of a residual, with the worth of what is lost, [B, 1, H/16, W/16]."""
        step, _ = self.step(qp)
        costs = []
        for y in self.prior.sizes.turned(self.analysis.linear(residual)):
            ratio = (y / step).abs()
            symbol = torch.round(torch.where(ratio < THRIFT, 0.0, ratio))
            bits = (symbol > 0) * NONZERO + 2 * torch.log2(1 + symbol) + 4 * (ratio - symbol).square()
            costs.append(bits.sum(1, keepdim=True))
        return torch.cat(costs, 1).amin(1, keepdim=True)


class Expected(NamedTuple):
    """Motion that the decoder expects before anything is coded, as `Prediction` has it."""

    past: Tensor
    future: Tensor
    mirror: float


@torch.no_grad()
def expected_motion(past: Reference, future: Reference, distances: tuple[int, int]) -> Expected:
    """Motion that the decoder, too, can expect: that between the references, as if it had been straight.

    Of two neighbouring references the one that was coded later has motion towards the other, at the same
    places. B* goes on as the frame before it went; between I frames nothing is known, and nothing moves.
    """
    to_past, to_future = distances
    span = to_past + to_future
    batch, _, height, width = past.picture.shape
    # Field, and its share of the way to either reference.
    field = torch.zeros(batch, 2, 2 * height // BLOCK, 2 * width // BLOCK, device=past.picture.device)
    shares = (0.0, 0.0)
    if span == 0 and past.track:
        field, share = past.track.past, to_past / past.track.distances[0]
        shares = (share, share)
    elif future.track and future.track.distances[0] == span:
        field, shares = future.track.past, (to_past / span, -to_future / span)
    elif past.track and past.track.distances[1] == span:
        field, shares = past.track.future, (-to_past / span, to_future / span)
    one, other = (snap(field * share, QUARTER) for share in shares)
    return Expected(one, other, -to_future / to_past)


@torch.no_grad()
def predict_motion(past: Reference, future: Reference, expected: Expected, shifts: Tensor) -> Prediction:
    """What is expected, moved by the decoded shifts, and how far the references differ along it."""
    first, second = (luma(reference.picture).float() * LEVELS for reference in (past, future))
    one, other = (
        snap(field + shift, QUARTER) for field, shift in zip(expected[:2], shifts.chunk(2, 1), strict=True)
    )
    return Prediction(one, other, mismatch(first, second, one, other), expected.mirror)
