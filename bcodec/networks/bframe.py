"""The B frame codec: prediction from two references, its residual coded as the intra codec codes a picture.

    past, future ── match ──> predicted motion ──┐
    source ── search ──> fields ── MotionCodec ──┴─> motion ── TemporalContexts ──> P, contexts
    source - P ── Analysis(contexts) ──> y ── code (hyperprior, temporal and spatial prior) ──> y_hat
    y_hat ── Synthesis(contexts) ──> x_hat - P

So y = 0 means "take the prediction". Analysis, Synthesis, Hyperprior and SpatialPrior have the shape of the
intra codec's and start as copies of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.fixedpoint import upsample
from bcodec.networks.context import (
    PriorFusion,
    Reference,
    TemporalContexts,
    conditions,
    luma,
    warp_picture,
)
from bcodec.networks.intra import Analysis, IntraCodec, Synthesis
from bcodec.networks.latent import Hyperprior, QStep, SpatialPrior, SymbolCoder
from bcodec.networks.layers import Channels
from bcodec.networks.matching import bilateral, search, search_weight
from bcodec.networks.motion import Motion, MotionCodec, Prediction, Search

LEVELS = 64  # 8-bit levels in a unit of the pixel grid
RIDGE = 1e-3  # squared difference (4 in 8-bit units) below which either reference will do


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
        self.step = QStep(channels.y, 1.2, 0.053)

    def start_from(self, intra: IntraCodec) -> None:
        """Take over everything that the intra codec has, too."""
        self.load_state_dict(intra.state_dict(), strict=False)

    def forward(  # noqa: PLR0917
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        source: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded picture [B, 6, H/2, W/2] (not yet clamped) and latent [B, Y, H/16, W/16].

        distances = (t - past, future - t) in frames, the second negative for B*; qp [B] in 0..63; `source`
        [B, 6, H/2, W/2] when encoding.
        """
        predicted, contexts = self.predict(symbols, past, future, distances, qp, source)
        y = None if source is None else self.analysis(source - predicted, contexts)
        size = (predicted.shape[2] // 8, predicted.shape[3] // 8)
        hyper = self.hyperprior(symbols, y, qp, size)
        prior = self.temporal(hyper, contexts[2], (past.latent, future.latent))
        y_hat = self.prior(symbols, y, prior, self.step(qp))
        return predicted + self.synthesis(y_hat, contexts), y_hat

    def predict(  # noqa: PLR0917
        self,
        symbols: SymbolCoder,
        past: Reference,
        future: Reference,
        distances: tuple[int, int],
        qp: Tensor,
        source: Tensor | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The prediction P and the contexts, with the motion coded on the way."""
        prediction = predict_motion(past, future, distances)
        found = None if source is None else self.find_motion(past, future, prediction, qp, source)
        motion: Motion = self.motion(symbols, prediction, qp, found)
        condition = conditions(past, future, distances, qp)
        return self.contexts(past, future, motion, condition)  # type: ignore[no-any-return]

    @torch.no_grad()
    def find_motion(
        self, past: Reference, future: Reference, prediction: Prediction, qp: Tensor, source: Tensor
    ) -> Search:
        """Motion found by the search towards both references, and which to prefer. Encoder only."""
        weight = search_weight(self.step(qp)[0].mean((1, 2, 3)) * LEVELS)
        # Both directions at once: the search is many small operations.
        current, target, half_pel, field = (
            torch.cat(pair)
            for pair in (
                (luma(source), luma(source)),
                (luma(past.picture), luma(future.picture)),
                (past.half_pel, future.half_pel),
                (prediction.past, prediction.future),
            )
        )
        found = search(current * LEVELS, target * LEVELS, half_pel * LEVELS, field, weight.repeat(2))
        first, second = found.chunk(2)
        pictures = [warp_picture(r, upsample(v)) for r, v in ((past, first), (future, second))]
        return Search(first, second, preference(pictures[0], pictures[1], source))


def preference(past: Tensor, future: Tensor, source: Tensor) -> Tensor:
    """2 w - 1 for the weight w of `past`, beside `future`, that is nearest to `source`, for blocks of 16x16.

    All [B, 6, H/2, W/2]; returns [B, 1, H/16, W/16] in [-1, 1], near 0 where the two hardly differ.
    """
    weight = torch.tensor([0.1875] * 4 + [0.25] * 2, device=source.device).view(1, -1, 1, 1)

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d((x * weight).sum(1, keepdim=True), 8)

    difference = past - future
    energy = mean(difference.square())
    return ((2 * mean((source - future) * difference) - energy) / (energy + RIDGE)).clamp(-1, 1)


@torch.no_grad()
def predict_motion(past: Reference, future: Reference, distances: tuple[int, int]) -> Prediction:
    """Motion that the decoder, too, can predict from two references; no motion for B*."""
    first, second = (luma(reference.picture).float() * LEVELS for reference in (past, future))
    if min(distances) > 0:
        return Prediction(*bilateral(first, second, *distances))
    batch, _, height, width = first.shape
    still = torch.zeros(batch, 2, height // 8, width // 8, device=first.device)
    return Prediction(still, still.clone(), still[:, :1].clone())
