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

from bcodec.fixedpoint import ACTIVATION, LATENT, Conv2d, Grid, downsample, snap, upsample, warp
from bcodec.networks.layers import PLANES, Channels, Down, ResBlock, fuse
from bcodec.networks.motion import Motion, Track

PIXEL = Grid(frac=6, bits=8)  # (p - 128) / 64 for p in 0..255
SIXTEENTH = Grid(frac=4, bits=14)  # motion in samples of a level
CONDITIONS = 5


class Reference(NamedTuple):
    """A decoded picture with everything that later frames take from it."""

    picture: Tensor  # [B, 6, H/2, W/2], on the pixel grid
    half_pel: Tensor  # [B, 1, 2H, 2W], luma interpolated to half samples, on the pixel grid
    features: tuple[Tensor, Tensor, Tensor]  # [B, C_l, ..] at 1/4, 1/8, 1/16
    latent: Tensor  # [B, C_3, H/16, W/16], of y_hat
    qp: Tensor  # [B]
    track: Track | None = None  # of a B frame


def luma(picture: Tensor) -> Tensor:
    """[B, 6, H/2, W/2] -> [B, 1, H, W]."""
    return F.pixel_shuffle(picture[:, :4], 2)


def interpolate(plane: Tensor) -> Tensor:
    """Luma at half samples by H.264's taps (1, -5, 20, 20, -5, 1) / 32, [B, 1, H, W] -> [B, 1, 2H, 2W]."""
    for dim in (2, 3):
        size = plane.shape[dim]
        first, last = plane.narrow(dim, 0, 1), plane.narrow(dim, size - 1, 1)
        padded = torch.cat([first, first, plane, last, last, last], dim)
        a, b, c, d, e, f = (padded.narrow(dim, k, size) for k in range(6))
        half = snap((20 * (c + d) - 5 * (b + e) + (a + f)) * (1 / 32), PIXEL)
        plane = torch.stack([plane, half], dim + 1).flatten(dim, dim + 1)
    return plane


class ReferenceFeatures(nn.Module):
    """Multi-scale features of a decoded picture, extracted once."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        c1, c2, c3 = channels.level1, channels.level2, channels.level3
        self.level1 = nn.Sequential(Conv2d(4 * PLANES, c1, activation=True), Conv2d(c1, c1, activation=True))
        self.level2 = nn.Sequential(Down(c1, c2), Conv2d(c2, c2, activation=True))
        self.level3 = nn.Sequential(Down(c2, c3), Conv2d(c3, c3, activation=True))
        self.latent = Conv2d(channels.y, c3, kernel=1, activation=True, grid_in=LATENT)

    def forward(self, picture: Tensor, y_hat: Tensor, qp: Tensor, track: Track | None = None) -> Reference:
        """The reference made of a finished picture [B, 6, H/2, W/2], its latent and (of a B frame) motion."""
        one = self.level1(F.pixel_unshuffle(picture, 2))
        two = self.level2(one)
        features = (one, two, self.level3(two))
        return Reference(picture, interpolate(luma(picture)), features, self.latent(y_hat), qp, track)


def warp_picture(reference: Reference, field: Tensor) -> Tensor:
    """The reference's samples along a field [B, 2, H/4, W/4]: luma from half samples, chroma bilinear."""
    fine = upsample(field, 2)
    chroma = warp(reference.picture[:, 4:], snap(fine * 0.5, SIXTEENTH), PIXEL)
    fine = upsample(fine, 2)
    bright = warp(reference.half_pel, fine * 2, PIXEL)
    return torch.cat([F.pixel_unshuffle(bright, 2), chroma], 1)


def warp_features(reference: Reference, field: Tensor) -> list[Tensor]:
    """The reference's features along a motion field [B, 2, H/4, W/4], at three levels."""
    warped = []
    for level, features in enumerate(reference.features):
        if level:
            field = downsample(field)
        warped.append(warp(features, snap(field * 0.25 * 0.5**level, SIXTEENTH), ACTIVATION))
    return warped


def conditions(past: Reference, future: Reference, distances: tuple[int, int], qp: Tensor) -> Tensor:
    """[B, 5, 1, 1]: temporal distances (negative: the reference is on the other side) and qps, over eight."""
    far = torch.tensor(distances, device=qp.device).expand(len(qp), 2)
    values = torch.cat([far, torch.stack([past.qp, future.qp, qp], 1)], 1)
    return snap(values.float() / 8)[:, :, None, None]


class SelectiveFusion(nn.Module):
    """Weights between the two warped contexts of one level, and the refined context they give.

    w = hard_sigmoid(query(C_f, C_b, motion features, conditions) + 2 preference), so that with a query of 0
    the decoded preference decides; context = w C_f + (1 - w) C_b, refined.
    """

    def __init__(self, c: int, c_motion: int, c_extra: int = 0) -> None:
        super().__init__()
        self.c = c
        self.mix = Conv2d(2 * c + c_motion, 32, kernel=1)
        self.condition = Conv2d(CONDITIONS, 32, kernel=1)
        self.hidden = Conv2d(32, 32, activation=True)
        self.query = Conv2d(32, c + c_extra, zero=True)
        self.refine = ResBlock(c)

    def forward(
        self, contexts: tuple[Tensor, Tensor], motion: Tensor, preference: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context [B, C, ..], and the queries of the extra maps asked for."""
        past, future = contexts
        mixed = self.mix(torch.cat([past, future, motion], 1), residual=self.condition(condition))
        query = self.query(self.hidden(mixed)) + 2 * preference.to(mixed.dtype)
        return self.refine(fuse(query[:, : self.c], past, future)), query[:, self.c :]


class TemporalContexts(nn.Module):
    """Prediction P at level 0 and contexts at levels 1, 2, 3 from two references and motion towards them."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        widths = (channels.level1, channels.level2, channels.level3)
        extras = (4, 0, 0)
        self.fusions = nn.ModuleList(
            SelectiveFusion(c, 2 * channels.motion, extra) for c, extra in zip(widths, extras, strict=True)
        )

    def forward(
        self, past: Reference, future: Reference, motion: Motion, condition: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """P [B, 6, H/2, W/2] on the pixel grid and the contexts."""
        features = (
            upsample(motion.features, 2),
            motion.features,
            snap(downsample(motion.features)),
        )
        dtype = motion.features.dtype
        pairs = zip(warp_features(past, motion.past), warp_features(future, motion.future), strict=True)
        contexts, queries = [], []
        for level, (fusion, (first, second)) in enumerate(zip(self.fusions, pairs, strict=True)):
            preference = upsample(motion.preference, 4 >> level)
            pair = first.to(dtype), second.to(dtype)
            context, query = fusion(pair, features[level], preference, condition)
            contexts.append(context)
            queries.append(query)
        weights = F.pixel_shuffle(queries[0], 2).float()
        prediction = fuse(weights, warp_picture(past, motion.past), warp_picture(future, motion.future))
        return snap(prediction, PIXEL), contexts


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
