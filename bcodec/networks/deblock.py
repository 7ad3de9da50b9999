"""The deblocking filter: smooths the edges between transform blocks where they are no edges of the picture.

The decisions and filters are those of HEVC (A. Norkin et al., "HEVC Deblocking Filter", 2012, sections III to
V), but for each line instead of each four, with thresholds in proportion to the quantization step, and
between all blocks of which one has a residual. Dyadic arithmetic, the same on every machine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import PIXEL_RESIDUAL, Grid, one_plane, snap, squares_apart, upsample
from bcodec.networks.blockdct import DCT_BLOCK

EDGE_PITCH = 8  # samples between edges; what is filtered of one edge does not reach the next
THRESHOLD = Grid(frac=8, bits=12)
# In quantization steps, the largest change of a sample, and the roughness beyond which an edge is left alone,
# beside what any qp leaves alone (by trial).
CHANGE, ROUGHNESS, SMOOTHEST = 9 / 128, 13 / 16, 48 / 64


def deblock(picture: Tensor, residual: Tensor, size: Tensor, step: Tensor) -> Tensor:
    """The picture [B, 6, H/2, W/2] with its block edges smoothed, on its grid.

    `residual` [B, 6, H/2, W/2] is what of it was coded; `size` [B, 1, H/16, W/16] are the block sizes (0 for
    16x16, more for smaller); `step` [B, 2, 1, 1] are the quantization steps of luma and chroma. The gradient
    is that of the identity: few samples change, and those little.
    """
    with torch.no_grad():
        smoothed = _smoothed(picture, residual, size, step)
    return picture + (smoothed - picture).detach() if picture.requires_grad else smoothed


def _smoothed(picture: Tensor, residual: Tensor, size: Tensor, step: Tensor) -> Tensor:
    coded = F.max_pool2d(residual.abs().amax(1, keepdim=True), DCT_BLOCK) > 0
    change = snap(step * CHANGE, THRESHOLD)
    roughness = snap(step * ROUGHNESS, THRESHOLD) + SMOOTHEST
    luma, chroma = one_plane(picture[:, :4]), picture[:, 4:]
    for _ in range(2):
        # Along rows, then, with all transposed, along columns; both planes of chroma, beside luma, at once.
        edges = coded[..., :-1] | coded[..., 1:]
        inner = torch.stack([(size > 0) & coded, F.pad(edges, (0, 1))], -1).flatten(3)
        width, wide = luma.shape[-1], edges.shape[-1] + inner.shape[-1]
        where = torch.cat(
            [upsample(inner, 2 * DCT_BLOCK, 1), upsample(edges, DCT_BLOCK, 1).repeat(1, 1, 2, 1)], -1
        )
        which = (torch.arange(wide, device=luma.device) >= inner.shape[-1]).long()
        beside = torch.cat([luma, chroma.reshape(len(chroma), 1, -1, chroma.shape[-1])], -1)
        limits = (limit[:, :, 0].mT[..., which] for limit in (change, roughness))
        beside = smooth(beside, where, *(limit[:, :, None] for limit in limits))
        luma, chroma = beside[..., :width].mT, beside[..., width:].reshape(chroma.shape).mT
        coded, size = coded.mT, size.mT
    return torch.cat([squares_apart(luma), chroma], 1)


def smooth(plane: Tensor, edges: Tensor, change: Tensor, roughness: Tensor) -> Tensor:
    """A plane [B, C, H, W] filtered across its vertical edges, every eight samples.

    `edges` [B, 1, H, W/8 - 1]: which of them to filter.
    """
    plane = plane.clamp(PIXEL_RESIDUAL.low, PIXEL_RESIDUAL.high)
    # From edge to edge, and from the last one of a row to the next row, where nothing is filtered.
    lines = plane.view(-1)[EDGE_PITCH // 2 : -EDGE_PITCH // 2].view(-1, EDGE_PITCH)
    shape = *plane.shape[:3], plane.shape[3] // EDGE_PITCH
    edges, change, roughness = (
        F.pad(each.expand(*shape[:3], -1), (0, shape[3] - each.shape[-1])).reshape(-1)[:-1]
        for each in (edges, change, roughness)
    )
    if plane.device.type == "cpu":
        places = edges.nonzero().view(-1)
        limits = change[places], roughness[places]
        smoothed = _filtered(lines.index_select(0, places).T.contiguous(), edges[places], *limits)
        lines.index_copy_(0, places, smoothed.T.contiguous())
    else:  # it would have to be waited for
        lines.copy_(_filtered(lines.T, edges, change, roughness).T)
    return plane


def _filtered(lines: Tensor, edges: Tensor, change: Tensor, roughness: Tensor) -> Tensor:
    """Lines of eight samples across edges, [8, N], filtered where `edges` [N]; limits [N]."""
    p3, p2, p1, p0, q0, q1, q2, q3 = lines
    bend_p, bend_q = (p2 - 2 * p1 + p0).abs(), (q2 - 2 * q1 + q0).abs()
    bend = bend_p + bend_q
    filtered = edges & (bend < roughness / 2)
    flat = (p3 - p0).abs() + (q3 - q0).abs() < roughness / 8
    strong = filtered & flat & (bend < roughness / 8) & ((p0 - q0).abs() < 2.5 * change)
    delta = (9 * (q0 - p0) - 3 * (q1 - p1)) / 16
    weak = filtered & ~strong & (delta.abs() < 10 * change)
    delta = bounded(delta, change)
    sides = []
    for one, (a3, a2, a1, a0, b0, b1), bent in (
        (1, (p3, p2, p1, p0, q0, q1), bend_p),
        (-1, (q3, q2, q1, q0, p0, p1), bend_q),
    ):
        second = bounded(((a2 + a0) / 2 - a1 + one * delta) / 2, change / 2)
        weak1 = weak & (bent < roughness * 3 / 32)
        changes = (
            torch.where(strong, (2 * a3 - 5 * a2 + a1 + a0 + b0) / 8, 0.0),
            torch.where(strong, (a2 - 3 * a1 + a0 + b0) / 4, torch.where(weak1, second, 0.0)),
            torch.where(
                strong, (a2 + 2 * a1 - 6 * a0 + 2 * b0 + b1) / 8, torch.where(weak, one * delta, 0.0)
            ),
        )
        sides.append([bounded(c, 2 * change) for c in changes])
    past, following = sides
    zero = torch.zeros_like(p0)
    return snap(lines + torch.stack([zero, *past, *following[::-1], zero]), PIXEL_RESIDUAL)


def bounded(x: Tensor, limit: Tensor) -> Tensor:
    """x clamped to [-limit, limit]."""
    return torch.minimum(torch.maximum(x, -limit), limit)
