"""Blocks cut out of a picture along vectors: whole rows are copied, where a gather looks up each sample.

Cutting is most of a search. So the samples between samples are laid out such that a block is a window of one
plane, whatever its vector: cutting takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.frame import BRIGHTEST
from bcodec.networks.motion.blocks import MACROBLOCK
from bcodec.networks.reference import BEFORE, BEHIND, TAPS

MARGIN = MACROBLOCK  # samples around a plane: what is farther outside is the same as what is just outside


class Sheet(NamedTuple):
    """Pictures whose samples of one phase, of N x N, lie beside each other, replicated at the borders."""

    phases: Tensor  # [B, N, N, H + 2 MARGIN, W + 2 MARGIN], phases down and across; N is a power of 2

    def halves(self) -> tuple[Sheet, Sheet]:
        """The first and the other half of the batch."""
        one, other = self.phases.chunk(2)
        return Sheet(one), Sheet(other)

    def blocks(self, origins: Tensor, vectors: Tensor, size: int) -> Tensor:
        """Samples along one vector for each of some blocks of size x size, up to MARGIN, as of `origins_of`.

        vectors [.., b, 2, h, w] in samples, multiples of 1/N -> float32 [.., b, h, w, size, size].
        """
        _, fineness, _, height, width = self.phases.shape
        octaves = fineness.bit_length() - 1
        x, y = torch.round(vectors * fineness).to(torch.int32).unbind(-3)
        across, down, place = origins.unbind(-3)
        if octaves:
            place = (((place << octaves) + (y & fineness - 1)) << octaves) + (x & fineness - 1)
        for vector, origin, side in ((y, down, height), (x, across, width)):
            place = place * side + ((vector >> octaves) + origin + MARGIN).clamp_(0, side - MARGIN)
        return self._windows(place.view(-1), size).view(*place.shape, size, size).float()

    def _windows(self, begin: Tensor, size: int) -> Tensor:
        """Windows that begin at some samples [N], counted through all of them: N x size x size values."""
        width, count = self.phases.shape[-1], self.phases.numel()
        starts = count - (size - 1) * (width + 1)
        if begin.device.type != "cpu":
            return self.phases.reshape(-1).as_strided((starts, size, size), (1, width, 1))[begin.long()]
        # NumPy copies a row at once if that is one element, wherever it begins.
        samples, unit = self.phases.numpy(), self.phases.element_size()
        rows = np.ndarray((starts, size), f"V{size * unit}", samples, strides=(unit, width * unit))
        return torch.from_numpy(rows[begin.numpy()].view(samples.dtype))


def origins_of(vectors: Tensor, size: int) -> Tensor:
    """First column, first line and picture of each block of size x size, int32 [B, 3, h, w].

    For vectors [B, 2, h, w] of all blocks of pictures.
    """
    batch, _, rows, columns = vectors.shape
    picture, down, across = (torch.arange(n, device=vectors.device) for n in (batch, rows, columns))
    sides = across * size, down[:, None] * size, picture.view(-1, 1, 1)
    return torch.stack([side.expand(batch, rows, columns) for side in sides], 1).to(torch.int32)


@torch.no_grad()
def spread(fineness: int, *planes: Tensor) -> Sheet:
    """The sheet of planes [b, 1, N H, N W], one behind the other; N is the fineness."""
    batch = sum(map(len, planes))
    height, width = (side // fineness for side in planes[0].shape[2:])
    phases = planes[0].new_empty(batch, fineness, fineness, height + 2 * MARGIN, width + 2 * MARGIN)
    middle = phases[..., MARGIN:-MARGIN, :]
    inside = middle[..., MARGIN:-MARGIN]
    for part, plane in zip(torch.split(inside, [len(plane) for plane in planes]), planes, strict=True):
        part.copy_(plane.view(-1, height, fineness, width, fineness).permute(0, 2, 4, 1, 3))
    middle[..., :MARGIN] = inside[:, :, :1, :, :1]
    middle[..., -MARGIN:] = inside[:, :, -1:, :, -1:]
    phases[..., :MARGIN, :] = middle[:, :1, :, :1]
    phases[..., -MARGIN:, :] = middle[:, -1:, :, -1:]
    return Sheet(phases)


@torch.no_grad()
def interpolated(plane: Tensor) -> Sheet:
    """The sheet of a plane at quarter samples, of 8-bit levels [1, 1, H, W], multiples of 1/4.

    By the taps of `bcodec.networks.reference`, but that the plane, not what lies between its samples, is
    replicated at the borders. All sums are exact there, so here.
    """
    edges = (MARGIN + BEFORE, MARGIN + BEHIND)
    padded = F.pad(plane, edges * 2, mode="replicate")[0, 0]
    height, width = (side + 2 * MARGIN for side in plane.shape[2:])
    phases = torch.empty(1, len(TAPS), len(TAPS), height, width, dtype=torch.float16, device=plane.device)
    for right, taps in enumerate(TAPS):
        across = padded.new_zeros(len(padded), width)
        for place, tap in _used(taps):
            across.add_(padded[:, place : place + width], alpha=tap)
        for down, others in enumerate(TAPS):
            level = padded.new_zeros(height, width)
            for place, tap in _used(others):
                level.add_(across[place : place + height], alpha=tap / 1024)
            phases[0, down, right] = level.round_().clamp_(0, 4 * BRIGHTEST) / 4
    return Sheet(phases)


def _used(taps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Place and value of those that are not zero."""
    return ((place, tap) for place, tap in enumerate(taps) if tap)
