"""Segments: the positions of a motion latent in the order in which they are coded, from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import upsample

SEGMENTS = 5


@cache
def segment_mask(part: int, size: tuple[int, ...], device: torch.device) -> Tensor:
    """[1, 1, H, W] bool: where a segment lies.

    0 1 2 3 4 are 1/16, 1/16, 1/8, 1/4 and 1/2 of the positions, each in the middle of four of those before:

        0 4 2 4
        4 3 4 3
        2 4 1 4
        4 3 4 3
    """
    down, right = (torch.arange(side, device=device) for side in size)
    down, right = down[:, None], right[None, :]
    coarse = torch.where((down - right) % 4 == 0, down % 4 // 2, 2)
    fine = torch.where((down - right) % 2 == 0, 3, 4)
    number = torch.where((down % 2 == 0) & (right % 2 == 0), coarse, fine)
    return (number == part)[None, None]


def interpolate_segments(decoded: Tensor, part: int) -> Tensor:
    """What the four nearest decoded positions let expect at those of a segment, [B, C, H, W]; first 0.

    It is their median: across the edge of what moves, three outvote one.
    """
    _, low, high, _ = nearest_four(decoded, part)
    return (low + high) * 0.5


def nearest_four(decoded: Tensor, part: int) -> Sequence[Tensor]:
    """The four nearest decoded positions to each, [B, C, H, W] from least to greatest; first 0."""
    if part == 0:
        return (torch.zeros_like(decoded),) * 4
    pitch = 2 if part <= 2 else 1
    lattice = decoded[:, :, ::pitch, ::pitch]
    rows, columns = lattice.shape[2:]
    padded = F.pad(lattice, (1, 1, 1, 1), mode="reflect")
    offsets = ((0, 0), (0, 2), (2, 0), (2, 2)) if part % 2 else ((0, 1), (1, 0), (1, 2), (2, 1))
    around = [padded[:, :, y : y + rows, x : x + columns] for y, x in offsets]
    # A sorting network: elementwise, it takes a fraction of the time of a sort.
    (a, b), (c, d) = (_sorted(*around[:2]), _sorted(*around[2:]))
    (least, c), (b, greatest) = _sorted(a, c), _sorted(b, d)
    return upsample(torch.cat([least, *_sorted(b, c), greatest], 1), pitch).chunk(4, 1)


def _sorted(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(one, other), torch.maximum(one, other)
