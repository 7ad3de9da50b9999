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

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from bcodec.coding import FoundMotion, Latents, Prediction, SymbolCoder
from bcodec.fixedpoint import LATENT, SEEN_LATENT, Conv2d, gate, snap, upsample
from bcodec.networks.latent import QStep, as_seen
from bcodec.networks.layers import Channels, Down, Up
from bcodec.networks.motion.prior import MotionEntropyModel
from bcodec.networks.motion.vectors import (
    EXACT,
    FIELD_SCALE,
    FLAT,
    FULL_PEL,
    PREFERENCE,
    PREFERENCES,
    QUARTER,
    code_precision,
    latent_to_preference,
    latent_to_vectors,
    to_latent,
    vectors_to_latent,
    with_fixed_steps,
)


class Motion(NamedTuple):
    """Decoded motion towards both references, and what was learned on the way."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/8, W/8], -1 (take the future) to 1 (take the past), multiples of 1/16
    flat: Tensor  # [B, 1, H/16, W/16] bool, where the prediction is the mean of its block
    features: Tensor  # [B, 2 M, H/8, W/8]


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
        found: FoundMotion | None = None,
    ) -> Motion:
        """Decoded motion, for qp [B]; `found` by the encoder, if any."""
        latents = None if found is None else self.analyse(found, prediction, qp)
        precision = code_precision(symbols, qp, None if found is None else found.precision)
        qsteps = [with_fixed_steps(precision, step(qp)) for step in self.steps]
        # A mantissa of eight bits would blur quarter samples.
        with torch.autocast(qp.device.type, enabled=False):
            m_f, m_b = self.entropy(symbols, latents, prediction, qp, qsteps, found)
        return self.synthesise(m_f, m_b, prediction)

    def analyse(self, found: FoundMotion, prediction: Prediction, qp: Tensor) -> Latents:
        """Latents m_f, m_b [B, C, H/16, W/16] of found motion less what is predicted. Encoder only."""
        f, b = (cast(BranchEncoder, branch) for branch in self.encoders)
        predicted = (prediction.past, prediction.future)
        off = [v - p for v, p in zip((found.past, found.future), predicted, strict=True)]
        inputs = [snap(torch.cat(pair, 1) * FIELD_SCALE) for pair in zip(off, predicted, strict=True)]
        h_f, h_b = f.head(inputs[0]), b.head(inputs[1])
        h_f, h_b = f.interact8(h_f, h_b), b.interact8(h_b, h_f)
        h_f, h_b = f.down(h_f), b.down(h_b)
        h_f, h_b = f.interact16(h_f, h_b), b.interact16(h_b, h_f)
        nothing = torch.zeros_like(found.preference)
        exact = [
            torch.cat([vectors_to_latent(off[0]), to_latent(found.preference) / 2, found.flags], 1),
            torch.cat([vectors_to_latent(off[1]), to_latent(nothing) / 2, torch.zeros_like(found.flags)], 1),
        ]
        learned = [
            branch.tail(h).float() * gain(qp)[0][:, EXACT:]
            for branch, h, gain in zip((f, b), (h_f, h_b), self.gains, strict=True)
        ]
        m_f, m_b = (snap(torch.cat(pair, 1), LATENT) for pair in zip(exact, learned, strict=True))
        return m_f, m_b

    def synthesise(self, m_f: Tensor, m_b: Tensor, prediction: Prediction) -> Motion:
        """Motion fields and features at 1/8 from the decoded latents [B, C, H/16, W/16]."""
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
