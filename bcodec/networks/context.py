"""What a B frame takes from its references: features, warped pictures, selective fusion, implicit alignment.

After https://arxiv.org/abs/2506.07709. Features of a reference are extracted once, when it enters the DPB;
for each frame that uses it they are warped, weighted against the other reference's at every scale, and
refined.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import Reference
from bcodec.fixedpoint import (
    ACTIVATION,
    PICTURE,
    PIXEL,
    Conv2d,
    Grid,
    downsample,
    snap,
    squares_apart,
    upsample,
    warp,
    warp_squares,
)
from bcodec.frame import LEVELS, MIDDLE
from bcodec.networks.layers import PLANES, Channels, Contexts, ResBlock, entering, fuse
from bcodec.networks.motion.blocks import MACROBLOCK, MOTION_BLOCK, sample_blocks, sample_blocks_at
from bcodec.networks.motion.codec import Motion

SIXTEENTH = Grid(frac=4, bits=14)  # motion in samples of a level
CONDITIONS = 5
# The neighbour's share of a block's samples from the common edge inwards, and how far, in luma samples, its
# vector may be from the block's.
OVERLAP = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 0, 0, 0, 0)
NEAR = 4.0


def warp_picture(reference: Reference, field: Tensor) -> Tensor:
    """The reference's samples along a field [B, 2, H/8, W/8] of quarter samples; chroma bilinear."""
    chroma = warp_squares(reference.picture[:, 4:], field * 0.5, PICTURE)
    bright = overlapped_blocks(reference.quarter_pel, field).transpose(2, 3)
    batch, rows, _, columns, _ = bright.shape
    bright = (bright.reshape(batch, 1, rows * MOTION_BLOCK, columns * MOTION_BLOCK) - MIDDLE) / LEVELS
    return torch.cat([squares_apart(snap(bright, PICTURE)), chroma], 1)


def overlapped_blocks(plane: Tensor, field: Tensor) -> Tensor:
    """Luma along a field, [B, h, w, 8, 8]; near edges a block is mixed with what neighbours' motion gives.

    Overlapped block motion compensation with the weights of JEM 7 (JVET-G1001), but only where the two
    vectors are near: where they are not, something ends there.
    """
    own = sample_blocks(plane, field, MOTION_BLOCK)
    rows, columns = field.shape[2:]
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    ramp = torch.tensor(OVERLAP, device=plane.device)
    total = own.clone()
    for down, across, weight in (
        (0, 1, ramp[:, None]),
        (2, 1, ramp.flip(0)[:, None]),
        (1, 0, ramp),
        (1, 2, ramp.flip(0)),
    ):
        other = padded[:, :, down : down + rows, across : across + columns]
        off = (other - field).abs().amax(1)
        near = off <= NEAR
        if torch.is_grad_enabled() or plane.device.type != "cpu":
            mixed = weight * near[..., None, None] * (sample_blocks(plane, other, MOTION_BLOCK) - own)
            total = total + mixed
            continue
        places = (near & (off > 0)).nonzero().unbind(1)  # a GPU would have to be waited for
        total[places] += weight * (sample_blocks_at(plane, other, MOTION_BLOCK, places) - own[places])
    return total


def warp_features(reference: Reference, field: Tensor) -> list[Tensor]:
    """The reference's features along a motion field [B, 2, H/8, W/8], at three levels."""
    fields = (upsample(field) * 0.25, field * 0.125, downsample(field) * 0.0625)
    pairs = zip(reference.features, fields, strict=True)
    return [warp(features, snap(motion, SIXTEENTH), ACTIVATION) for features, motion in pairs]


def flattened(picture: Tensor, where: Tensor) -> Tensor:
    """A picture [B, 6, H/2, W/2] with blocks of 16x16 replaced by their mean, [B, 1, H/16, W/16] bool."""
    means = F.avg_pool2d(picture, MACROBLOCK // 2)
    means = torch.cat([means[:, :4].mean(1, keepdim=True).expand(-1, 4, -1, -1), means[:, 4:]], 1)
    return torch.where(
        upsample(where, MACROBLOCK // 2), upsample(snap(means, PIXEL), MACROBLOCK // 2), picture
    )


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
        self, contexts: tuple[Tensor, Tensor], seen: Sequence[Tensor], preference: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Context [B, C, ..], and the queries of the extra maps asked for.

        `seen` [B, C_seen, ..] together are features of the motion and, where asked for, of what it leads to.
        """
        past, future = contexts
        together = entering(self.mix, [past, future, *seen])
        mixed = self.mix(together, residual=self.condition(condition), to=self.hidden)
        query = self.query(self.hidden(mixed, to=self.query)).add_(2 * preference.to(past.dtype))
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
        """P and the contexts; condition [B, 5, 1, 1]."""
        dtype = motion.features.dtype
        pictures = [warp_picture(r, v) for r, v in ((past, motion.past), (future, motion.future))]
        both = torch.cat(pictures, 1).contiguous(memory_format=torch.channels_last)
        aligned = snap(squares_apart(both))
        seen = (
            (upsample(motion.features, 2), aligned.to(dtype)),
            (motion.features,),
            (snap(downsample(motion.features)),),
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
