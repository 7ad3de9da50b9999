"""The interactive entropy model of motion: what is expected of either direction's latent, segment by segment.

After https://arxiv.org/abs/2506.07709 (partitioned latent segments as directional priors).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import FoundMotion, Latents, Part, Prediction, SymbolCoder
from bcodec.fixedpoint import LATENT, POSITIVE, Conv2d, hard_sigmoid, on_grid, snap
from bcodec.networks.latent import Hyperprior, table_index
from bcodec.networks.layers import Channels, Depthwise, Pointwise, in_turn
from bcodec.networks.motion.segments import SEGMENTS, nearest_four, segment_mask
from bcodec.networks.motion.vectors import EXACT, FIELD_SCALE, FLAGS, MEANS, PREFERENCE, QUARTERS, VECTORS

SURPRISE = 4.0  # largest distance from what was expected, in steps, that the entropy model tells from others
NEAR = 4.0  # decoded values are seen so many times larger, and then within 16 luma samples
EXACTS = (EXACT, VECTORS)  # channels of either direction that carry what was found, without a network
SHARED = 48  # features of what all segments know
HIDDEN = 48


class Segment(nn.Module):
    """What is known [B, F, H, W] -> what is expected of a segment, in bytes."""

    def __init__(self, c_in: int, c_latent: int, *, second: bool) -> None:
        super().__init__()
        self.hidden = nn.Sequential(Pointwise(c_in, HIDDEN, grid_out=POSITIVE), Depthwise(HIDDEN))
        self.mean = Pointwise(HIDDEN, c_latent - VECTORS, zero=True, grid_in=POSITIVE, grid_out=LATENT)
        self.scale = Pointwise(HIDDEN, c_latent + second, zero=True, grid_in=POSITIVE)
        with torch.no_grad():
            # Channels that carry nothing yet cost nothing; Haar details are smaller than means.
            bias = self.scale.bias
            bias[:c_latent] = -7.0
            bias[:MEANS], bias[MEANS:VECTORS] = -0.4, -0.5
            if not second:
                bias[PREFERENCE], bias[FLAGS] = 1.0, 1.0

    def forward(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """The mean [B, C - VECTORS, H, W], less what neighbours let expect, and the scale [B, C, H, W].

        The mean is on the latent grid, the scale on the activation grid (see `table_index`). In branch b the
        scale has one channel more: how much a vector goes on straight from f (see `hard_sigmoid`).
        """
        alike = self.mean.grid_in == self.scale.grid_in
        hidden = in_turn(self.hidden, known, to=self.mean if alike else None)
        return self.mean(hidden), self.scale(hidden)


class MotionEntropyModel(nn.Module):
    """Interactive entropy model: segments in the order f0, b0, f1, b1, ..., each with all before as prior.

    The segments of a direction are positions, from coarse to fine. So a vector is expected as the median of
    four decoded neighbours of its own direction; for b also as what goes on straight from f at the same place
    (the directional prior), and a network weighs the two. Beside the vectors the networks see how far off
    decoded ones were, and how far apart neighbours are: most are just as expected where others were. They see
    only the channels that say what was found, each so many times larger that a quarter of a sample shows.
    """

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.motion
        self.hyperprior = Hyperprior(2 * c, c, 2 * c, Part.MOTION_HYPER, c_known=c)
        self.embed = Conv2d(20, c, activation=True)
        self.shared = nn.Sequential(Pointwise(3 * c + 1, SHARED, grid_out=POSITIVE), Depthwise(SHARED))
        # Of both: decoded values and surprise; of its own neighbours: expected ones, surprise and spread.
        seen = [SHARED + 2 * sum(EXACTS) + 2 * own + MEANS for own in EXACTS]
        first, second = seen[0], seen[1] + VECTORS
        pairs = ((Segment(first, c, second=False), Segment(second, c, second=True)) for _ in range(SEGMENTS))
        self.segments = nn.ModuleList(segment for pair in pairs for segment in pair)

    def forward(
        self,
        symbols: SymbolCoder,
        latents: Latents | None,
        prediction: Prediction,
        qp: Tensor,
        qsteps: Sequence[tuple[Tensor, Tensor]],
        found: FoundMotion | None = None,
    ) -> Latents:
        """Decoded m_f and m_b, [B, C, H/16, W/16] on the latent grid.

        `latents` and `found` are given when encoding.
        """
        size = (prediction.mismatch.shape[2] // 2, prediction.mismatch.shape[3] // 2)
        both = None if latents is None else torch.cat(latents, 1)
        predicted = self.embed(prediction_features(prediction))
        hyper = self.hyperprior(symbols, both, qp, size, (predicted,))
        shared = self._shared(hyper, predicted, qp)
        blank = torch.zeros(len(qp), *size, qsteps[0][0].shape[1], device=qp.device).permute(0, 3, 1, 2)
        decoded = [blank, blank]
        surprise = [torch.zeros_like(each[:, :count]) for each, count in zip(decoded, EXACTS, strict=True)]
        unit = torch.tensor(QUARTERS, device=qp.device).view(1, -1, 1, 1)
        for index, segment in enumerate(self.segments):
            part, direction = divmod(index, 2)
            exact = slice(0, EXACTS[direction])
            neighbours = [decoded[direction], surprise[direction]]
            if direction:
                straight = snap(decoded[0][:, :VECTORS] * prediction.mirror, LATENT)
                neighbours.append(decoded[1][:, :VECTORS] - straight)
            least, low, high, greatest = nearest_four(torch.cat(neighbours, 1), part)
            c = decoded[direction].shape[1]
            expected = (low[:, :c] + high[:, :c]) * 0.5
            spread = (greatest - least)[:, :MEANS].detach() / (2 * QUARTERS[0])
            around = greatest[:, c : c + exact.stop]
            near = [decoded[0][:, :EXACT], decoded[1][:, :VECTORS], expected[:, exact]]
            if direction:
                ahead = straight + (low[:, -VECTORS:] + high[:, -VECTORS:]) * 0.5
                ahead = ahead - expected[:, :VECTORS]
                near.append(ahead)
            counts = [*surprise, around, spread.clamp(max=SURPRISE)]
            mean, scale = segment(torch.cat([shared, torch.cat(near, 1) * NEAR, *counts], 1))
            vectors = expected[:, :VECTORS]
            if direction:
                scale, weight = scale[:, :-1], hard_sigmoid(scale[:, -1:])
                vectors = vectors + weight * ahead
            # Vectors are expected exactly: what a network adds would be noise beside a quarter of a sample.
            mean = torch.cat([on_grid(vectors, unit), snap(mean + expected[:, VECTORS:], LATENT)], 1)
            step, offset = qsteps[direction]
            scale = table_index(scale, offset)
            y = None
            if found is not None and latents is not None:
                y = found.choose(latents, prediction, direction, part, mean, scale, step)
            mask = segment_mask(part, size, qp.device).expand(1, mean.shape[1], *size)
            coded = symbols.code(Part.MOTION, y, mean, scale, step, mask, heavy=VECTORS)
            decoded[direction] = decoded[direction] + coded
            off = torch.round((coded - mean)[:, exact] / step[:, exact]).detach().abs()
            surprise[direction] = surprise[direction] + mask[:, exact] * off.clamp(max=SURPRISE)
        return decoded[0], decoded[1]

    def _shared(self, hyper: Tensor, predicted: Tensor, qp: Tensor) -> Tensor:
        """Features [B, SHARED, H/16, W/16] of what all segments know."""
        quality = (qp.float() / 8).view(-1, 1, 1, 1).expand(-1, 1, *hyper.shape[2:])
        known = torch.cat([hyper, predicted, quality], 1)
        return in_turn(self.shared, known)


def prediction_features(prediction: Prediction) -> Tensor:
    """Predicted fields and their mismatch at 1/16, [B, 20, H/16, W/16]."""
    fields = torch.cat([prediction.past, prediction.future], 1) * FIELD_SCALE
    return F.pixel_unshuffle(torch.cat([snap(fields), snap(prediction.mismatch * FIELD_SCALE)], 1), 2)
