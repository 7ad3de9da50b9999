"""Pans: by how much the whole picture may have moved, found by phase correlation, so at any distance.

C. D. Kuglin, D. C. Hines, "The phase correlation image alignment method", 1975.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.networks.motion.shift import LONGEST

PEAKS = 2  # of the correlation are tried
SEPARATE = 3  # samples of a plane, within which there is one peak
CLEAR = 7.0  # times the correlation's root mean square that a peak must have


def likely_shifts(current: Tensor, reference: Tensor, pitch: int) -> Tensor:
    """Where the picture may have gone in `reference`, or 0: [B, 1, H, W] twice -> [B, PEAKS, 2], best first.

    `pitch`: luma samples between samples of the planes. In float64: no machine finds another peak.
    """
    height, width = current.shape[2:]
    window = torch.hann_window(height, False, dtype=torch.float64, device=current.device)[:, None]
    window = window * torch.hann_window(width, False, dtype=torch.float64, device=current.device)
    one, other = (
        torch.fft.rfft2((p[:, 0].double() - p[:, 0].double().mean((1, 2), keepdim=True)) * window)
        for p in (current, reference)
    )
    cross = other * one.conj()
    surface = torch.fft.irfft2(cross / (cross.abs() + 1e-6), s=(height, width))
    down, across = (centred(side, current.device) for side in (height, width))
    reach = LONGEST // pitch
    inside = (down.abs() <= reach)[:, None] & (across.abs() <= reach)
    least = CLEAR * surface.square().mean((1, 2)).sqrt()
    surface = torch.where(inside, surface, -1.0)
    peaks = []
    for _ in range(PEAKS):
        height_of, best = surface.flatten(1).max(1)
        y, x = down[best // width].view(-1, 1, 1), across[best % width].view(-1, 1, 1)
        peaks.append(torch.cat([x, y], 2)[:, 0] * pitch * (height_of > least)[:, None])
        near = ((down[:, None] - y).abs() <= SEPARATE) & ((across - x).abs() <= SEPARATE)
        surface = torch.where(near, -1.0, surface)
    return torch.stack(peaks, 1).float()


def centred(side: int, device: torch.device) -> Tensor:
    """0, 1, ..., -2, -1: the displacements [side] that the places of a periodic correlation stand for."""
    places = torch.arange(side, device=device)
    return torch.where(places < (side + 1) // 2, places, places - side)


def even(shift: Tensor) -> Tensor:
    """The nearest shifts that can be coded, [..]."""
    return torch.round(shift / 2).clamp(-LONGEST // 2, LONGEST // 2) * 2
