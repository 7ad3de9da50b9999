"""What errors are worth in bits: the Lagrangian of a qp, shared out to samples and latents."""

from __future__ import annotations

import torch
from torch import Tensor

from bcodec.bitstream import PacketHeader
from bcodec.codec import FrameCodec
from bcodec.frame import LEVELS
from bcodec.networks.intra import coloured

INHERITED = 7.5  # what an error costs in all where later frames inherit it (measured: E286, E287)
OWN = 1.8  # and where none does: the networks spread it (measured: E288)
# Worth of a squared error of a sample or coefficient: PSNR-YUV averages decibels, and the error of chroma is
# a fraction of luma's.
LUMA, CHROMA = 0.75, 2.0
DOUBLING = 7  # steps of qp over which lambda doubles


def lagrangian(qp: Tensor) -> Tensor:
    """Lambda [..], in bits per pixel for a squared error of 1: 0.0012 at qp 0."""
    return 0.0012 * growth(qp)


def growth(steps: Tensor) -> Tensor:
    """By how much lambda grows over so many steps of qp, [..]."""
    return torch.exp2(steps.float() / DOUBLING)


def steps_of(doublings: float) -> float:
    """The steps of qp over which lambda doubles so often."""
    return doublings * DOUBLING


def sample_worth(qp: int, chroma_qp: int, *, referenced: bool = False) -> tuple[float, float, float]:
    """Bits that a squared error of one 8-bit level is worth in a sample of Y, U and V."""
    share = INHERITED if referenced else OWN
    luma, chroma = (float(lagrangian(torch.tensor(q))) * share for q in (qp, chroma_qp))
    return luma * LUMA, chroma * CHROMA, chroma * CHROMA


def frame_worth(codec: FrameCodec, header: PacketHeader, beyond: int) -> Tensor:
    """What errors of a frame's latent are worth, [1, Y, 1, 1], at qps so far beyond those of its header."""
    qp, chroma_qp = (each + beyond for each in codec.qps(header))
    return latent_worth(qp, chroma_qp, codec.networks.channels.y, referenced=header.referenced)


def latent_worth(qp: Tensor, chroma_qp: Tensor, c_y: int, *, referenced: bool) -> Tensor:
    """Bits that a squared error of 1 in each channel of y is worth, [B, Y, 1, 1], for qps [B].

    The block transform is orthonormal, but for the mean of luma, which is halved, and a unit of the latent is
    LEVELS.
    """
    share = INHERITED if referenced else OWN
    luma, chroma = share * lagrangian(qp)[:, None] * LUMA, share * lagrangian(chroma_qp)[:, None] * CHROMA
    each = torch.where(coloured(c_y, qp.device), chroma, luma)
    each[:, 0] *= 4
    return (LEVELS**2 * each)[:, :, None, None]
