"""Crops and motion in few bytes, without a video codec: packed data is read where there is no PyAV.

Pictures are coded as the difference from the decoded one before, transformed in blocks of 8x8 (DCT) and
rounded to multiples of a step: of 6, nine frames of 256x256 take 61 kB at 47.8 dB (the mean of 15 clips),
where HEVC takes 26 kB and no loss 192 kB.
"""

from __future__ import annotations

import lzma
import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bcodec.frame import MIDDLE

BLOCK = 8
ROUNDING = 0.4  # of a step is rounded up from here less: zeros are cheap


def squeeze_integers(values: Tensor) -> bytes:
    """16-bit integers [..] as bytes, small magnitudes in few."""
    wide = values.to(torch.int32)
    positive = (wide << 1) ^ (wide >> 31)  # 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    places = torch.stack([positive & 255, positive >> 8]).to(torch.uint8)
    return lzma.compress(places.numpy().tobytes(), preset=6)


def restore_integers(data: bytes, shape: tuple[int, ...]) -> Tensor:
    """What `squeeze_integers` was given, int16 of the shape [..]."""
    places = torch.from_numpy(np.frombuffer(lzma.decompress(data), np.uint8).reshape(2, *shape).copy())
    positive = places[0].to(torch.int32) | places[1].to(torch.int32) << 8
    return ((positive >> 1) ^ -(positive & 1)).to(torch.int16)


def squeeze_planes(planes: Tensor, step: float) -> tuple[bytes, Tensor]:
    """Planes uint8 [T, .., H, W], of sides that are multiples of 8, as bytes; and as they will be decoded.

    `step` is in 8-bit levels.
    """
    before = torch.full(planes.shape[1:], float(MIDDLE))
    symbols, decoded = [], []
    for plane in planes:
        ratio = _transformed(plane - before) / step
        symbols.append(torch.sign(ratio) * torch.floor(ratio.abs() + ROUNDING))
        before = _decoded(symbols[-1] * step, before)
        decoded.append(before.to(torch.uint8))
    # All symbols of one frequency, then all of the next: they are alike.
    order = torch.stack(symbols).movedim((-3, -1), (0, 1)).contiguous()
    return squeeze_integers(order), torch.stack(decoded)


def restore_planes(data: bytes, shape: tuple[int, ...], step: float) -> Tensor:
    """The decoded planes, uint8 of the shape [T, .., H, W]."""
    *outer, height, width = shape
    blocks = (BLOCK, BLOCK, *outer, height // BLOCK, width // BLOCK)
    symbols = restore_integers(data, blocks).float().movedim((0, 1), (-3, -1))
    before = torch.full(shape[1:], float(MIDDLE))
    decoded = torch.empty(shape, dtype=torch.uint8)
    for time, each in enumerate(symbols):
        before = _decoded(each * step, before)
        decoded[time] = before.to(torch.uint8)
    return decoded


@cache
def _cosines() -> Tensor:
    """The orthonormal DCT, [frequency, place]."""
    frequency, place = torch.arange(float(BLOCK))[:, None], torch.arange(float(BLOCK))
    cosines = torch.cos(math.pi / BLOCK * (place + 0.5) * frequency) * math.sqrt(2 / BLOCK)
    cosines[0] *= math.sqrt(0.5)
    return cosines


def _transformed(planes: Tensor) -> Tensor:
    """[.., H, W] -> [.., H/8, frequency, W/8, frequency]."""
    *outer, height, width = planes.shape
    blocks = planes.view(*outer, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return torch.einsum("fy,...hywx,gx->...hfwg", _cosines(), blocks, _cosines())


def _decoded(coefficients: Tensor, before: Tensor) -> Tensor:
    """The planes [.., H, W] of what was added to those before, whole levels."""
    blocks = torch.einsum("fy,...hfwg,gx->...hywx", _cosines(), coefficients, _cosines())
    return torch.round(before + blocks.flatten(-4, -3).flatten(-2)).clamp_(0, 255)
