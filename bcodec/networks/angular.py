"""What a block would be if the edges around it went on: samples around it, carried inwards along angles.

    samples around ── one linear map for each angle ──> samples of the block, so many times
    features ── which angles hold, in each quarter of it ──> weights ── sum ──> one block

A network of a few features can hardly tell a block from its surroundings, since where edges lead is a matter
of their angle; a map for each angle, of which a network has only to choose, can. Maps start as interpolation
between the samples that a line of the angle meets on both sides, as the angular modes of HEVC extrapolate (J.
Lainema et al., "Intra Coding of the HEVC Standard", 2012), and are trained on. The decoder weighs them by
itself: nothing is coded for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bcodec.fixedpoint import FLOAT64, LATENT, PICTURE, Conv2d, drawing, snap
from bcodec.networks.blockdct import COEFFICIENTS, TRANSFORM_SIZES, sized_transform
from bcodec.networks.surroundings import CLOSER, Ring

ANGLES = 16  # evenly over half a turn
QUARTERS = 4  # of a block, in each of which angles have weights of their own
PLANES = (1, 2)  # of luma and of chroma, which have weights of their own, too


def along(ring: Ring, angle: float) -> Tensor:
    """[side^2, R]: each sample of a block by those of the ring that a line through it meets on either side.

    Of both sides, the nearer weighs more; between two samples of the ring it is linear.
    """
    side, depth, window = ring.side, ring.depth, ring.side + 2 * ring.depth
    at = torch.cartesian_prod(*[torch.arange(side, dtype=torch.float64)] * 2)  # [side^2, 2], down and across
    line = torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
    weights = at.new_zeros(side**2, window**2)
    for step in (line, -line):
        distance = (torch.where(step > 0, side - at, at + 1) / step.abs().clamp(min=1e-9)).amin(1)
        end = torch.round((at + step * distance[:, None]) * 1e6) / 1e6
        first = end.floor()
        for corner in itertools.product((0, 1), repeat=2):
            beyond = torch.tensor(corner)
            share = torch.where(beyond > 0, end - first, first + 1 - end).prod(1) / distance
            down, across = (first + beyond + depth).clamp(max=window - 1).long().unbind(1)
            weights.scatter_add_(1, (down * window + across)[:, None], share[:, None])
    weights /= weights.sum(1, keepdim=True)
    return weights[:, ring.inside].float()


def by_quarters(side: int, planes: int) -> Tensor:
    """[QUARTERS, planes side^2 / QUARTERS]: which of a block's samples, plane by plane, each quarter has."""
    samples = torch.arange(planes * side**2).view(planes, 2, side // 2, 2, side // 2)
    return samples.permute(1, 3, 0, 2, 4).reshape(QUARTERS, -1)


class AngularPrediction(nn.Module):
    """The block that edges lead to, as coefficients of the largest transform."""

    def __init__(self, c_hidden: int, c_latent: int, rings: tuple[Ring, Ring]) -> None:
        super().__init__()
        self.seen = [planes * len(ring.inside) for planes, ring in zip(PLANES, rings, strict=True)]
        self.hidden = Conv2d(c_hidden, c_hidden, kernel=1, activation=True)
        self.weights = Conv2d(c_hidden, len(PLANES) * QUARTERS * ANGLES, kernel=1, zero=True)
        orders = [by_quarters(ring.side, planes) for planes, ring in zip(PLANES, rings, strict=True)]
        layers = [
            Conv2d(seen, ANGLES * order.numel(), kernel=1, grid_out=PICTURE)
            for seen, order in zip(self.seen, orders, strict=True)
        ]
        self.maps = nn.ModuleList(layers)
        self.transform = Conv2d(
            COEFFICIENTS, c_latent, kernel=1, grid_in=PICTURE, grid_out=LATENT, sums=FLOAT64
        )
        if drawing():
            self._begin(layers, rings, orders)

    @torch.no_grad()
    def _begin(self, layers: Sequence[Conv2d], rings: Sequence[Ring], orders: Sequence[Tensor]) -> None:
        """Weights to begin training with: those of interpolation, and of the transform."""
        for layer, ring, planes, order in zip(layers, rings, PLANES, orders, strict=True):
            angles = [along(ring, math.pi * number / ANGLES) for number in range(ANGLES)]
            maps = torch.stack([torch.kron(torch.eye(planes), each)[order] for each in angles], 1)
            layer.weight.copy_(maps.flatten(0, 2)[:, :, None, None] / CLOSER)
        luma, chroma = (order.flatten() for order in orders)
        transform = sized_transform(TRANSFORM_SIZES[0])[: len(self.transform.weight)].float()
        transform = transform[:, torch.cat([luma, luma.numel() + chroma])]
        self.transform.weight.copy_(transform[:, :, None, None])
        self.transform.weight[0] /= 2  # as the latent has the mean of luma

    def forward(self, samples: Tensor, features: Tensor) -> Tensor:
        """[B, C, H, W] on the latent grid; samples as of Seen, [B, S, H, W], and features [B, F, H, W]."""
        batch, _, rows, columns = samples.shape
        weights = self.weights(self.hidden(features)).permute(0, 2, 3, 1).chunk(len(PLANES), 3)
        planes = samples[:, : sum(self.seen)].to(features.dtype).split(self.seen, 1)  # type: ignore[no-untyped-call]
        blocks: list[Tensor] = []
        for layer, seen, own in zip(self.maps, planes, weights, strict=True):
            maps = layer(seen).permute(0, 2, 3, 1)
            # For each quarter of a block, a sum below 2^23 units: exact in float32, in any order.
            each = own.reshape(-1, 1, ANGLES)
            sums = each @ maps.reshape(len(each), ANGLES, -1)
            blocks.append(sums.view(batch, rows, columns, -1).permute(0, 3, 1, 2))
        with torch.autocast(samples.device.type, enabled=False):
            return self.transform(snap(torch.cat(blocks, 1).float(), PICTURE))  # type: ignore[no-any-return]
