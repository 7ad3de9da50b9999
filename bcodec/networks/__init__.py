"""The networks of one model: intra codec, B frame codec, and what references are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bcodec.errors import InexactWeights, WeightsError
from bcodec.fixedpoint import PIXEL, undrawn
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.intra import IntraCodec
from bcodec.networks.layers import Channels
from bcodec.networks.reference import ReferenceFeatures
from bcodec.networks.weights import from_arrays, parsed, read_weights, write_weights

__all__ = [
    "Channels",
    "Networks",
    "WeightsError",
    "load_networks",
    "save_networks",
]

WEIGHTS_NAME = "bcodec.npz"


class Networks(nn.Module):
    """All networks of a model, and when frozen the frequency tables and the id that files are coded with.

    file: the weights file that they come from, if they do; as that they are pickled, until they are trained.
    """

    def __init__(self, channels: Channels | None = None) -> None:
        super().__init__()
        self.channels = channels or Channels()
        self.intra = IntraCodec(self.channels)
        self.bframe = BFrameCodec(self.channels)
        self.reference = ReferenceFeatures(self.channels)
        self.tables: list[np.ndarray] = []
        self.model_id = bytes(8)
        self.file = b""

    def __reduce__(self) -> str | tuple[Any, ...]:
        """What is pickled: the file takes an eighth of what comes of it."""
        if self.file and not any(parameter.requires_grad for parameter in self.parameters()):
            return _networks, (self.file, str(self.device))
        return super().__reduce__()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.reference.latent.weight.device

    def level_steps(self, qp: int, chroma_qp: int, *, intra: bool) -> tuple[float, float, float]:
        """The quantization steps that filters of Y, U and V go by, in ten-bit levels."""
        step = (self.intra if intra else self.bframe).step
        qps = (torch.tensor([q], device=self.device) for q in (qp, chroma_qp))
        luma, chroma = (step.strengths(*qps) * (1 << PIXEL.frac)).view(-1).tolist()
        return luma, chroma, chroma


def shipped_weights() -> Path:
    """The released weights: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / WEIGHTS_NAME).exists():
            return folder / WEIGHTS_NAME
    raise WeightsError(f"the weights {WEIGHTS_NAME} are missing from this installation of bcodec")


def save_networks(path: Path, networks: Networks, tables: Sequence[np.ndarray]) -> None:
    """Export weights and frequency tables as integers, with the SHA-256 beside them."""
    write_weights(path, networks, networks.channels, tables)


def load_networks(path: Path | None = None, device: str = "cpu") -> Networks:
    """The networks of a weights file (by default the released one), frozen, on a device.

    Raises WeightsError, and InexactDevice for a device that cannot compute exactly.
    """
    path = path or shipped_weights()
    data = read_weights(path)
    try:
        return _networks(data, device)
    except WeightsError as error:
        raise WeightsError(f"the weights {path} {error}") from error


def _networks(data: bytes, device: str) -> Networks:
    arrays, channels, tables = parsed(data)
    with undrawn():
        networks = Networks(channels).eval().requires_grad_(False)
    try:
        from_arrays(networks, arrays)
    except (KeyError, InexactWeights) as error:
        raise WeightsError(f"do not fit this bcodec: {error}") from error
    networks.tables, networks.model_id = tables, hashlib.sha256(data).digest()[:8]
    networks.file = data
    return networks if device == "cpu" else networks.to(device)  # which would fix all layers once more
