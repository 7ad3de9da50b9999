"""The networks of one model: intra codec, B frame codec, and what references are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bcodec.errors import InexactWeights, WeightsError
from bcodec.fixedpoint import PIXEL
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.intra import IntraCodec
from bcodec.networks.layers import Channels
from bcodec.networks.reference import ReferenceFeatures
from bcodec.networks.weights import from_arrays, read_weights, write_weights

__all__ = [
    "Channels",
    "Networks",
    "WeightsError",
    "load_networks",
    "save_networks",
]

WEIGHTS_NAME = "bcodec.npz"


class Networks(nn.Module):
    """All networks of a model, and when frozen the frequency tables and the id that files are coded with."""

    def __init__(self, channels: Channels | None = None) -> None:
        super().__init__()
        self.channels = channels or Channels()
        self.intra = IntraCodec(self.channels)
        self.bframe = BFrameCodec(self.channels)
        self.reference = ReferenceFeatures(self.channels)
        self.tables: list[np.ndarray] = []
        self.model_id = bytes(8)

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
    arrays, channels, tables, digest = read_weights(path)
    networks = Networks(channels).eval().requires_grad_(False)
    try:
        from_arrays(networks, arrays)
    except (KeyError, InexactWeights) as error:
        raise WeightsError(f"the weights {path} do not fit this bcodec: {error}") from error
    networks.tables, networks.model_id = tables, digest[:8]
    return networks.to(device)
