"""The B frame codec: prediction from two references, its residual coded as the intra codec codes a picture.

    past, future ── their motion ─> prediction ──┐
    encoder ── found motion ────── MotionCodec ──┴─> motion ── TemporalContexts ──> P, contexts
    source - P ── Analysis(contexts) ──> y ── code (hyperprior, temporal and spatial prior) ──> y_hat
    y_hat, P ── Synthesis(contexts) ──> x_hat

So y = 0 means "take the prediction". Analysis, Synthesis, Hyperprior and SpatialPrior have the shape of the
intra codec's and start as copies of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bcodec.coding import CollocatedMotion, Encoder, ExpectedMotion, Prediction, Reference, SymbolCoder
from bcodec.fixedpoint import snap
from bcodec.networks.context import PriorFusion, TemporalContexts, conditions
from bcodec.networks.intra import Analysis, Begun, IntraCodec, PictureQStep, Synthesis
from bcodec.networks.latent import Hyperprior
from bcodec.networks.layers import Channels, Contexts
from bcodec.networks.motion.blocks import MOTION_BLOCK, mismatch
from bcodec.networks.motion.codec import Motion, MotionCodec
from bcodec.networks.motion.shift import code_shifts
from bcodec.networks.motion.vectors import QUARTER
from bcodec.networks.prior import SpatialPrior


class BFrameCodec(nn.Module):
    """Codes one frame between two references, or behind one (then both are the same: B*)."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.motion = MotionCodec(channels)
        self.contexts = TemporalContexts(channels)
        self.analysis = Analysis(channels, contexts=True)
        self.synthesis = Synthesis(channels, contexts=True)
        self.hyperprior = Hyperprior(channels.y, channels.z, channels.level3, c_known=3 * channels.level3)
        self.temporal = PriorFusion(channels)
        self.prior = SpatialPrior(channels.level3, channels.level3, channels.y)
        self.step = PictureQStep(channels.y, 1.2, 0.053)

    def start_from(self, intra: IntraCodec) -> None:
        """Take over every layer that the intra codec has, too."""
        own = self.state_dict()
        alike = {k: v for k, v in intra.state_dict().items() if k in own and own[k].shape == v.shape}
        self.load_state_dict(alike, strict=False)

    def forward(
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        encoder: Encoder | None = None,
        *,
        chroma_qp: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, CollocatedMotion]:
        """Decoded picture [B, 6, H/2, W/2] (not yet clamped), latent [B, Y, H/16, W/16] and motion.

        distances = (t - past, future - t) in frames, the second negative for B*; qp [B] in 0..63, of chroma
        `qp` if not given.
        """
        begun = self.begin(symbols, past, future, distances, qp, encoder)
        x_hat, y_hat = self.complete(symbols, begun, qp, encoder, chroma_qp=chroma_qp)
        assert begun.motion
        return x_hat, y_hat, begun.motion

    def begin(
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        encoder: Encoder | None,
    ) -> Begun:
        """Code motion and the hyper-latent; qp [B] in 0..63."""
        contexts, motion = self.predict(symbols, past, future, distances, qp, encoder)
        y = None
        if encoder is not None:
            y = self.analysis(encoder.source - contexts.predicted, contexts.levels)
        size = (contexts.predicted.shape[2] // 8, contexts.predicted.shape[3] // 8)
        context, latents = contexts.levels[2], (past.latent, future.latent)
        hyper = self.hyperprior(symbols, y, qp, size, (context, *latents))
        prior = self.temporal(hyper, context, latents)
        return Begun(y, prior, contexts, CollocatedMotion(motion.past, motion.future, distances))

    def complete(
        self,
        symbols: SymbolCoder,
        begun: Begun,
        qp: Tensor,
        encoder: Encoder | None,
        *,
        chroma_qp: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Code the latent; picture [B, 6, H/2, W/2] and latent [B, Y, H/16, W/16], as of `forward`."""
        y_hat, _ = self.prior(symbols, begun.y, begun.prior, self.step(qp, chroma_qp), encoder)
        x_hat, _ = self.synthesis(y_hat, qp, begun.contexts)
        return x_hat, y_hat

    def predict(
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        encoder: Encoder | None,
    ) -> tuple[Contexts, Motion]:
        """The prediction P and the contexts, and the motion that is coded on the way; qp [B]."""
        expected = expected_motion(past, future, distances)
        shifts, found = None, None
        if encoder is not None:
            shifts, found = encoder.find_motion(past, future, expected, qp)
        shifts = code_shifts(symbols, shifts, len(qp), qp.device)
        prediction = predict_motion(past, future, expected, shifts)
        with torch.set_grad_enabled(self._motion_learns()):
            motion: Motion = self.motion(symbols, prediction, qp, found)
        condition = conditions(past, future, distances, qp)
        return self.contexts(past, future, motion, condition), motion

    def _motion_learns(self) -> bool:
        """Whether gradients are wanted in motion: what is not trained needs none (E724, E726)."""
        return torch.is_grad_enabled() and any(p.requires_grad for p in self.motion.parameters())


@torch.no_grad()
def expected_motion(past: Reference, future: Reference, distances: tuple[int, int]) -> ExpectedMotion:
    """Motion that the decoder, too, can expect: that between the references, as if it had been straight.

    Of two neighbouring references the one that was coded later has motion towards the other, at the same
    places. B* goes on as the frame before it went; between I frames nothing is known, and nothing moves.
    """
    to_past, to_future = distances
    span = to_past + to_future
    batch, _, height, width = past.picture.shape
    # Field, and its share of the way to either reference.
    field = torch.zeros(
        batch, 2, 2 * height // MOTION_BLOCK, 2 * width // MOTION_BLOCK, device=past.picture.device
    )
    shares = (0.0, 0.0)
    if span == 0 and past.motion:
        field, share = past.motion.past, to_past / past.motion.distances[0]
        shares = (share, share)
    elif future.motion and future.motion.distances[0] == span:
        field, shares = future.motion.past, (to_past / span, -to_future / span)
    elif past.motion and past.motion.distances[1] == span:
        field, shares = past.motion.future, (-to_past / span, to_future / span)
    one, other = (snap(field * share, QUARTER) for share in shares)
    return ExpectedMotion(one, other, -to_future / to_past)


@torch.no_grad()
def predict_motion(
    past: Reference, future: Reference, expected: ExpectedMotion, shifts: Tensor
) -> Prediction:
    """What is expected, moved by the decoded shifts [B, 4, 1, 1]; how far the references differ along it."""
    # Every fourth of the quarter samples is a sample, in 8-bit levels.
    first, second = (reference.quarter_pel[:, :, ::4, ::4].float() for reference in (past, future))
    one, other = (
        snap(field + shift, QUARTER) for field, shift in zip(expected[:2], shifts.chunk(2, 1), strict=True)
    )
    return Prediction(one, other, mismatch(first, second, one, other), expected.mirror)
