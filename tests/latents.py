"""Random latents, and their way through the range coder with tables that are not fitted."""

import torch
from torch import Tensor

from bcodec.coding import TABLES, Part
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.entropy.distributions import LOGISTIC
from bcodec.entropy.tables import Tables, make_tables, scales

FREQUENCIES = make_tables()
CODER = Tables(FREQUENCIES)
DEVIATIONS = scales().float()

Latent = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]  # y, mean, scale, step, mask


def latent(
    seed: int, *, channels: int = 12, side: int = 6, lowest: int = 0, outliers: float = 0.02
) -> Latent:
    """A latent, logistic with the deviation of its scale but for the outliers; masked if the seed is odd."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, channels, side, side)
    scale = torch.rand(shape, generator=generator) * (TABLES - 1 - lowest) + lowest
    mean = torch.randint(-64, 65, shape, generator=generator) / 64
    step = torch.randint(100, 4000, (1, channels, 1, 1), generator=generator) / 16384
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    sigma = DEVIATIONS[scale.round().long()] * step
    y = mean + (torch.log(uniform / (1 - uniform)) * LOGISTIC).float() * sigma
    wild = torch.rand(shape, generator=generator) < outliers
    y = torch.where(wild, torch.randn(shape, generator=generator) * 1000, y)
    mask = torch.rand(shape, generator=generator) < 0.5 if seed % 2 else None
    return y, mean, scale, step, mask


def written(latents: list[Latent], part: Part = Part.CONTENT) -> tuple[bytes, list[Tensor]]:
    writer = RangeWriter(CODER)
    values = [writer.code(part, *x) for x in latents]
    return writer.payload, values


def read(payload: bytes, latents: list[Latent], part: Part = Part.CONTENT) -> list[Tensor]:
    reader = RangeReader(CODER, payload)
    return [reader.code(part, None, *x[1:]) for x in latents]
