"""The interactive entropy model of motion: what is expected of either direction's latent, segment by segment.

After https://arxiv.org/abs/2506.07709 (partitioned latent segments as directional priors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import FoundMotion, Latents, Part, Prediction, SymbolCoder
from bcodec.fixedpoint import LATENT, Conv2d, hard_sigmoid, on_grid, snap
from bcodec.networks.latent import Hyperprior, Parameters, table_index
from bcodec.networks.layers import Channels
from bcodec.networks.motion.segments import SEGMENTS, nearest_four, segment_mask
from bcodec.networks.motion.vectors import EXACT, FIELD_SCALE, FLAGS, MEANS, PREFERENCE, QUARTERS, VECTORS

SURPRISE = 4.0  # largest distance from what was expected, in steps, that the entropy model tells from others


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
        self.hyperprior = Hyperprior(2 * c, c, 2 * c, Part.MOTION_HYPER)
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
        hyper = self.hyperprior(symbols, both, qp, size)
        prior = torch.cat([hyper, self.embed(prediction_features(prediction)).to(hyper.dtype)], 1)
        decoded = [torch.zeros(len(qp), qsteps[0][0].shape[1], *size, device=prior.device) for _ in range(2)]
        surprise = torch.zeros(len(qp), 2 * EXACT, *size, device=prior.device)
        unit = torch.tensor(QUARTERS, device=prior.device).view(1, -1, 1, 1)
        for index, parameters in enumerate(self.segments):
            part, direction = divmod(index, 2)
            neighbours = decoded[direction]
            if direction:
                straight = snap(decoded[0][:, :VECTORS] * prediction.mirror, LATENT)
                neighbours = torch.cat([neighbours, decoded[1][:, :VECTORS] - straight], 1)
            least, low, high, greatest = nearest_four(neighbours, part)
            between = (low + high) * 0.5
            expected = between[:, : decoded[direction].shape[1]]
            spread = (greatest - least)[:, :MEANS].detach() / (2 * QUARTERS[0])
            # Latents reach twice as far as activations: halved, which is exact but for the last bit.
            seen = [snap(torch.cat(decoded, 1) * 0.5), surprise, spread.clamp(max=SURPRISE)]
            known = torch.cat([prior, *(x.to(prior.dtype) for x in seen)], 1)
            if direction:
                ahead = straight + between[:, -VECTORS:]
                weight = hard_sigmoid(self.straight[part](known).float())
                vectors = expected[:, :VECTORS] + weight * (ahead - expected[:, :VECTORS])
                expected = torch.cat([vectors, expected[:, VECTORS:]], 1)
            mean, scale = parameters(known)
            # Vectors are expected exactly: what a network adds would be noise beside a quarter of a sample.
            rest = snap(mean[:, VECTORS:] + expected[:, VECTORS:], LATENT)
            mean = torch.cat([on_grid(expected[:, :VECTORS], unit), rest], 1)
            step, offset = qsteps[direction]
            scale = table_index(scale, offset)
            y = None
            if found is not None and latents is not None:
                y = found.choose(latents, prediction, direction, part, mean, scale, step)
            mask = segment_mask(part, size, prior.device).expand(1, mean.shape[1], *size)
            coded = symbols.code(Part.MOTION, y, mean, scale, step, mask, heavy=VECTORS)
            decoded[direction] = decoded[direction] + coded
            symbols_seen = torch.round((coded - mean)[:, :EXACT].detach() / step[:, :EXACT]).abs()
            own = slice(direction * EXACT, (direction + 1) * EXACT)
            surprise[:, own] += mask[:, :EXACT] * symbols_seen.clamp(max=SURPRISE)
        return decoded[0], decoded[1]


def prediction_features(prediction: Prediction) -> Tensor:
    """Predicted fields and their mismatch at 1/16, [B, 20, H/16, W/16]."""
    fields = torch.cat([prediction.past, prediction.future], 1) * FIELD_SCALE
    return F.pixel_unshuffle(torch.cat([snap(fields), snap(prediction.mismatch * FIELD_SCALE)], 1), 2)
