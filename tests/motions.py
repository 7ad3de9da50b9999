"""A texture that moves, fields that say how, and references of which little else matters."""

import math

import torch
from torch import Tensor

from bcodec.coding import CollocatedMotion, Reference


def texture(x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """A random band-limited luma plane in 8-bit units at positions x [W], y [H] in samples: [1, 1, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.zeros(len(y), len(x), dtype=torch.float64)
    for _ in range(200):
        angle, phase, pitch = (torch.rand(3, generator=generator, dtype=torch.float64) * 2 * math.pi).tolist()
        frequency = 0.1 + pitch / 20
        u, v = frequency * math.cos(angle), frequency * math.sin(angle)
        plane += torch.cos(u * x[None, :].double() + v * y[:, None].double() + phase)
    return torch.round(5 * plane).clamp(-128, 127).float()[None, None]


def moved(dx: float, dy: float, width: int = 192, height: int = 128) -> Tensor:
    """The texture after a motion by (dx, dy) luma samples."""
    return texture(torch.arange(width) - dx, torch.arange(height) - dy)


def still(rows: int = 16, columns: int = 24) -> Tensor:
    return torch.zeros(1, 2, rows, columns)


def moving(dx: float, dy: float) -> Tensor:
    return still() + torch.tensor([dx, dy]).view(1, 2, 1, 1)


def typical(field: Tensor) -> list[float]:
    """The median vector but for the borders, where what moves in from outside cannot be found."""
    return [float(x) for x in field[0, :, 4:-4, 4:-4].flatten(1).median(1).values]


def reference(motion: CollocatedMotion | None = None) -> Reference:
    """A reference of which only the picture's size and the motion matter."""
    empty = torch.zeros(1)
    return Reference(
        torch.zeros(1, 6, 64, 96), empty, (empty, empty, empty), empty, torch.tensor([32]), motion
    )
