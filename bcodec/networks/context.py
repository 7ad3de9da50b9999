"""What a B frame takes from its references: features, warped pictures, selective fusion, implicit alignment.

After https://arxiv.org/abs/2506.07709. Features of a reference are extracted once, when it enters the DPB;
for each frame that uses it they are warped, weighted against the other reference's at every scale, and
refined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.fixedpoint import ACTIVATION, PICTURE, SEEN_LATENT, Conv2d, Grid, downsample, snap, upsample, warp
from bcodec.networks.latent import as_seen
from bcodec.networks.layers import LEVELS, MIDDLE, PLANES, Channels, Contexts, Down, ResBlock, fuse
from bcodec.networks.motion.blocks import BLOCK, CELL, sample_blocks
from bcodec.networks.motion.codec import Motion, Track

PIXEL = Grid(frac=6, bits=8)  # (p - 128) / 64 for p in 0..255
STRIP = 256  # rows that are interpolated at once: large pictures take little memory beside the result
SIXTEENTH = Grid(frac=4, bits=14)  # motion in samples of a level
CONDITIONS = 5
# Interpolation of samples at 0, 1/4, 1/2 and 3/4, in 1/64: H.265, table 8-11.
BEFORE, BEHIND = 3, 4
TAPS = (
    (0, 0, 0, 64, 0, 0, 0, 0),
    (-1, 4, -10, 58, 17, -5, 1, 0),
    (-1, 4, -11, 40, 40, -11, 4, -1),
    (0, 1, -5, 17, 58, -10, 4, -1),
)
# The neighbour's share of a block's samples from the common edge inwards, and how far, in luma samples, its
# vector may be from the block's.
OVERLAP = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 0, 0, 0, 0)
NEAR = 4.0


class Reference(NamedTuple):
    """A decoded picture with everything that later frames take from it."""

    picture: Tensor  # [B, 6, H/2, W/2], on the pixel grid
    quarter_pel: Tensor  # [B, 1, 4H, 4W], luma interpolated to quarter samples, 0..255 by 1/4
    features: tuple[Tensor, Tensor, Tensor]  # [B, C_l, ..] at 1/4, 1/8, 1/16
    latent: Tensor  # [B, C_3, H/16, W/16], of y_hat
    qp: Tensor  # [B]
    track: Track | None = None  # of a B frame


def luma(picture: Tensor) -> Tensor:
    """[B, 6, H/2, W/2] -> [B, 1, H, W]."""
    return F.pixel_shuffle(picture[:, :4], 2)


def interpolate(plane: Tensor) -> Tensor:
    """Luma at quarter samples by HEVC's taps, [B, 1, H, W] on the pixel grid -> [B, 1, 4 H, 4 W], 0..255.

    Multiples of 1/4 in float16 (exact), or in float32 with a gradient if the plane has one. Sums stay below
    2^22: exact.
    """
    padded = F.pad(plane * LEVELS + MIDDLE, (BEFORE, BEHIND, BEFORE, BEHIND), mode="replicate")
    strips = [padded[:, :, top : top + STRIP + BEFORE + BEHIND] for top in range(0, plane.shape[2], STRIP)]
    with torch.autocast(plane.device.type, enabled=False):  # on CPUs it knows no float16
        return torch.cat([_quarters(strip) for strip in strips], 2)


def _quarters(strip: Tensor) -> Tensor:
    """The samples and what lies between them, without those that were only padding."""
    across = torch.stack([_filter(strip, 3, taps) for taps in TAPS], 4).flatten(3)
    levels = []
    for taps in TAPS:
        level = _filter(across, 2, taps) / 4096
        rounded = (torch.round(level.detach() * 4) / 4).clamp(0, 255)
        levels.append(
            level + (rounded - level).detach() if level.requires_grad else rounded.to(torch.float16)
        )
    return torch.stack(levels, 3).flatten(2, 3)


def _filter(x: Tensor, dim: int, taps: Sequence[int]) -> Tensor:
    """Weighted sums along a dimension."""
    size = x.shape[dim] - BEFORE - BEHIND
    total = torch.zeros_like(x.narrow(dim, 0, size))
    for place, tap in enumerate(taps):
        if tap:
            total = total.add(x.narrow(dim, place, size), alpha=tap)
    return total


class ReferenceFeatures(nn.Module):
    """Multi-scale features of a decoded picture, extracted once."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c1, c2, c3 = channels.level1, channels.level2, channels.level3
        self.level1 = nn.Sequential(Conv2d(4 * PLANES, c1, activation=True), Conv2d(c1, c1, activation=True))
        self.level2 = nn.Sequential(Down(c1, c2), Conv2d(c2, c2, activation=True))
        self.level3 = nn.Sequential(Down(c2, c3), Conv2d(c3, c3, activation=True))
        self.latent = Conv2d(channels.y, c3, kernel=1, activation=True, grid_in=SEEN_LATENT)

    def forward(self, picture: Tensor, y_hat: Tensor, qp: Tensor, track: Track | None = None) -> Reference:
        """The reference made of a finished picture [B, 6, H/2, W/2], its latent and (of a B frame) motion."""
        one = self.level1(F.pixel_unshuffle(picture, 2))
        two = self.level2(one)
        features = (one, two, self.level3(two))
        return Reference(
            picture, interpolate(luma(picture).float()), features, self.latent(as_seen(y_hat)), qp, track
        )


def warp_picture(reference: Reference, field: Tensor) -> Tensor:
    """The reference's samples along a field [B, 2, H/8, W/8] of quarter samples; chroma bilinear."""
    chroma = warp(reference.picture[:, 4:], snap(upsample(field, 4) * 0.5, SIXTEENTH), PICTURE)
    bright = overlapped_blocks(reference.quarter_pel, field).transpose(2, 3)
    batch, rows, _, columns, _ = bright.shape
    bright = (bright.reshape(batch, 1, rows * BLOCK, columns * BLOCK) - MIDDLE) / LEVELS
    return torch.cat([F.pixel_unshuffle(snap(bright, PICTURE), 2), chroma], 1)


def overlapped_blocks(plane: Tensor, field: Tensor) -> Tensor:
    """Luma along a field, [B, h, w, 8, 8]; near edges a block is mixed with what neighbours' motion gives.

    Overlapped block motion compensation with the weights of JEM 7 (JVET-G1001), but only where the two
    vectors are near: where they are not, something ends there.
    """
    own = sample_blocks(plane, field, BLOCK)
    rows, columns = field.shape[2:]
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    ramp = torch.tensor(OVERLAP, device=plane.device)
    total = own
    for down, across, weight in (
        (0, 1, ramp[:, None]),
        (2, 1, ramp.flip(0)[:, None]),
        (1, 0, ramp),
        (1, 2, ramp.flip(0)),
    ):
        other = padded[:, :, down : down + rows, across : across + columns]
        near = ((other - field).abs().amax(1) <= NEAR)[..., None, None]
        total = total + weight * near * (sample_blocks(plane, other, BLOCK) - own)
    return total


def warp_features(reference: Reference, field: Tensor) -> list[Tensor]:
    """The reference's features along a motion field [B, 2, H/8, W/8], at three levels."""
    fields = (upsample(field) * 0.25, field * 0.125, downsample(field) * 0.0625)
    pairs = zip(reference.features, fields, strict=True)
    return [warp(features, snap(motion, SIXTEENTH), ACTIVATION) for features, motion in pairs]


def flattened(picture: Tensor, where: Tensor) -> Tensor:
    """A picture [B, 6, H/2, W/2] with blocks of 16x16 replaced by their mean, [B, 1, H/16, W/16] bool."""
    means = F.avg_pool2d(picture, CELL // 2)
    means = torch.cat([means[:, :4].mean(1, keepdim=True).expand(-1, 4, -1, -1), means[:, 4:]], 1)
    return torch.where(upsample(where, CELL // 2), upsample(snap(means, PIXEL), CELL // 2), picture)


def conditions(past: Reference, future: Reference, distances: tuple[int, int], qp: Tensor) -> Tensor:
    """[B, 5, 1, 1]: temporal distances (negative: the reference is on the other side) and qps, over eight."""
    far = torch.tensor(distances, device=qp.device).expand(len(qp), 2)
    values = torch.cat([far, torch.stack([past.qp, future.qp, qp], 1)], 1)
    return snap(values.float() / 8)[:, :, None, None]


class SelectiveFusion(nn.Module):
    """Weights between the two warped contexts of one level, and the refined context they give.

    w = hard_sigmoid(query(C_f, C_b, seen, conditions) + 2 preference), so that with a query of 0
    the decoded preference decides; context = w C_f + (1 - w) C_b, refined.
    """

    def __init__(self, c: int, c_seen: int, c_extra: int = 0) -> None:
        super().__init__()
        self.c = c
        self.mix = Conv2d(2 * c + c_seen, 32, kernel=1)
        self.condition = Conv2d(CONDITIONS, 32, kernel=1)
        self.hidden = Conv2d(32, 32, activation=True)
        self.query = Conv2d(32, c + c_extra, zero=True)
        self.refine = ResBlock(c)

    def forward(
        self, contexts: tuple[Tensor, Tensor], seen: Tensor, preference: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context [B, C, ..], and the queries of the extra maps asked for.

        `seen` [B, C_seen, ..] are features of the motion and, where asked for, of what it leads to.
        """
        past, future = contexts
        mixed = self.mix(torch.cat([past, future, seen], 1), residual=self.condition(condition))
        query = self.query(self.hidden(mixed)) + 2 * preference.to(mixed.dtype)
        return self.refine(fuse(query[:, : self.c], past, future)), query[:, self.c :]


class TemporalContexts(nn.Module):
    """Prediction P at level 0 and contexts at levels 1, 2, 3 from two references and motion towards them."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        widths = (channels.level1, channels.level2, channels.level3)
        motion = 2 * channels.motion
        seen, extras = (motion + 8 * PLANES, motion, motion), (4, 0, 0)
        self.fusions = nn.ModuleList(
            SelectiveFusion(*kinds) for kinds in zip(widths, seen, extras, strict=True)
        )

    def forward(self, past: Reference, future: Reference, motion: Motion, condition: Tensor) -> Contexts:
        """P and the contexts."""
        dtype = motion.features.dtype
        pictures = [warp_picture(r, v) for r, v in ((past, motion.past), (future, motion.future))]
        aligned = snap(F.pixel_unshuffle(torch.cat(pictures, 1), 2))
        seen = (
            torch.cat([upsample(motion.features, 2), aligned.to(dtype)], 1),
            motion.features,
            snap(downsample(motion.features)),
        )
        pairs = zip(warp_features(past, motion.past), warp_features(future, motion.future), strict=True)
        preferences = (upsample(motion.preference), motion.preference, downsample(motion.preference))
        contexts, queries = [], []
        for level, (fusion, (first, second)) in enumerate(zip(self.fusions, pairs, strict=True)):
            pair = first.to(dtype), second.to(dtype)
            context, query = fusion(pair, seen[level], preferences[level], condition)
            contexts.append(context)
            queries.append(query)
        weights = F.pixel_shuffle(queries[0], 2).float()
        predicted = flattened(fuse(weights, pictures[0], pictures[1], PICTURE), motion.flat)
        return Contexts(predicted, aligned, contexts)


class ImplicitAlignment(nn.Module):
    """An aligned temporal prior from the references' latents, without motion.

    The decoded hyperprior stands in for the unknown latent: with it, weights between y_f and y_b are
    predicted.
    """

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.level3
        self.hidden = Conv2d(3 * c, c, kernel=1, activation=True)
        self.query = Conv2d(c, c, kernel=1, zero=True)
        self.align = Conv2d(2 * c, c, activation=True)

    def forward(self, hyper: Tensor, past: Tensor, future: Tensor) -> Tensor:
        """[B, C, H/16, W/16] three times -> the same."""
        past, future = past.to(hyper.dtype), future.to(hyper.dtype)
        query = self.query(self.hidden(torch.cat([hyper, past, future], 1)))
        return self.align(torch.cat([hyper, fuse(query, past, future)], 1))  # type: ignore[no-any-return]


class PriorFusion(nn.Module):
    """The prior of a B frame's latent: hyperprior features plus temporal ones, which start at zero."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c = channels.level3
        self.alignment = ImplicitAlignment(channels)
        self.hidden = Conv2d(2 * c, c, kernel=1, activation=True)
        self.merge = Conv2d(c, c, kernel=1, zero=True)

    def forward(self, hyper: Tensor, context: Tensor, references: Sequence[Tensor]) -> Tensor:
        """[B, C, H/16, W/16]."""
        aligned = self.alignment(hyper, *references)
        return self.merge(self.hidden(torch.cat([context, aligned], 1)), residual=hyper)  # type: ignore[no-any-return]
