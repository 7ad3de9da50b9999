"""Latents: quantization steps, hyperprior, and the call by which networks hand symbols to a coder.

The networks know no bitstream. They call `symbols.code(y, mean, scale, step)`, and the coder that answers
(writer, reader or rate meter) decides whether that encodes, decodes or measures.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from bcodec.fixedpoint import ACTIVATION, LATENT, SEEN_LATENT, Conv2d, snap
from bcodec.networks.layers import Down, ResBlock, Up

SCALE_RATIO = 1.1355  # between the scales of neighbouring tables
SMALLEST_SCALE = 0.1  # of table 0, in quantization steps: what has this scale is not coded but zero
UNIT_SCALE = 0.26  # the latent's scale that a network output of 0 stands for
STEP_GRID = 1 / 16384  # quantization steps are multiples of this, below 4
QPS = 64
KNOTS = 8  # of the piecewise linear logarithm of the global step over qp 0, 9, ..., 63


def lagrangian(qp: Tensor) -> Tensor:
    """Lambda, in bits per pixel for a squared error of 1: 0.0012 at qp 0, doubled every seven steps."""
    return 0.0012 * growth(qp)


def growth(steps: Tensor) -> Tensor:
    """By how much lambda grows over so many steps of qp."""
    return torch.exp2(steps.float() / 7)


class SymbolCoder(Protocol):
    """What a network asks of a symbol coder; see bcodec.entropy.coder for the three that answer."""

    def code(
        self,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
    ) -> Tensor:
        """Code (y - mean) / step, rounded, with the table of index `scale`; return the dequantized value.

        y (None when decoding), mean [B, C, H, W] on the latent grid; scale [B, C, H, W] = index 0..63, not
        yet rounded; step [B, C, 1, 1]; mask, if given, [1, C, H, W] bool: where to code, 0 is returned
        elsewhere. The symbols of the first `heavy` channels are mostly zero, and far from it otherwise.
        """
        ...


class Rounder:
    """A symbol coder that writes and measures nothing: it rounds; without a latent it takes the mean."""

    def code(
        self,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
    ) -> Tensor:
        """See SymbolCoder."""
        y_hat = mean.clone() if y is None else mean + torch.round((y.float() - mean) / step) * step
        y_hat = snap(y_hat, LATENT)
        return y_hat if mask is None else y_hat * mask


def as_seen(latent: Tensor) -> Tensor:
    """A latent as networks see it, on a coarser grid; a new tensor."""
    return snap(latent.clone(), SEEN_LATENT)


class QStep(nn.Module):
    """Adaptive quantization steps: one by qp times one for each channel, multiples of 2^-14 below 4.

    The global step is log-linear between eight knots, hence smooth and (as trained) monotone over qp.
    `freeze` makes the table of integers with which files are coded.
    """

    table: Tensor | None  # [64, C], as `integers` gives them
    offsets: Tensor | None

    def __init__(self, channels: int, first: float, last: float) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.linspace(math.log(first), math.log(last), KNOTS))
        self.channel = nn.Parameter(torch.zeros(channels))
        self.register_buffer("table", None, persistent=False)
        self.register_buffer("offsets", None, persistent=False)

    def logarithm(self, qp: Tensor) -> Tensor:
        """Natural logarithm of the steps, [B, C], for qp [B]."""
        position = qp.float() * ((KNOTS - 1) / (QPS - 1))
        index = position.floor().clamp(max=KNOTS - 2)
        low = self.knots[index.long()]
        return (low + (position - index) * (self.knots[index.long() + 1] - low))[:, None] + self.channel

    def integers(self) -> tuple[Tensor, Tensor]:
        """Steps in units of 2^-14 and scale offsets in sixteenths of a table index, [64, C], as exported."""
        if self.table is not None and self.offsets is not None:
            return self.table, self.offsets
        with torch.no_grad():
            logarithm = self.logarithm(torch.arange(QPS, device=self.knots.device))
        table = torch.round(logarithm.exp() / STEP_GRID).clamp(1, 65535)
        return table, torch.round(16 * scale_offset(logarithm))

    def freeze(self, table: Tensor, offsets: Tensor) -> None:
        """Fix the steps and offsets to integers; the parameters follow, for training to go on from them."""
        self.table, self.offsets = table.float(), offsets.float()
        with torch.no_grad():
            logarithm = torch.log(self.table[:: (QPS - 1) // (KNOTS - 1)] * STEP_GRID)
            self.knots.copy_(logarithm.mean(1))
            self.channel.copy_((logarithm - self.knots[:, None]).mean(0))

    def forward(self, qp: Tensor) -> tuple[Tensor, Tensor]:
        """Steps and scale offsets, both [B, C, 1, 1], for qp [B]."""
        if self.table is not None and self.offsets is not None:
            step, offset = self.table[qp] * STEP_GRID, self.offsets[qp] / 16
        else:
            logarithm = self.logarithm(qp)
            step, offset = logarithm.exp(), scale_offset(logarithm)
        return step[:, :, None, None], offset[:, :, None, None]


def scale_offset(log_step: Tensor) -> Tensor:
    """Index of the table for a latent of UNIT_SCALE quantized with a step of the given logarithm."""
    return (math.log(UNIT_SCALE / SMALLEST_SCALE) - log_step) / math.log(SCALE_RATIO)


FLAG_OFFSET = round(16 * float(scale_offset(torch.zeros(())))) / 16  # for a step of 1


def table_index(output: Tensor, offset: Tensor) -> Tensor:
    """Scale index for a network's output: four tables a unit, moved by the quantization step's offset."""
    return output.float() * 4 + offset


def deviation(index: Tensor) -> Tensor:
    """Deviation of a table's symbols, for scale indices as a coder takes them."""
    return SMALLEST_SCALE * torch.exp(math.log(SCALE_RATIO) * index.clamp(0, QPS - 1))


class Hyperprior(nn.Module):
    """Hyper-latent z at 1/4 of the latent's resolution and the features it gives to the entropy model.

    y [B, C, H, W] -> z [B, Z, H/4, W/4], coded with a learned mean and scale for each channel -> [B, F, H,
    W].
    """

    def __init__(self, c_in: int, c_z: int, c_out: int) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            Conv2d(c_in, c_out, kernel=1, activation=True, grid_in=SEEN_LATENT),
            Down(c_out, c_out),
            Down(c_out, c_out),
            Conv2d(c_out, c_z, grid_out=LATENT),
        )
        self.synthesis = nn.Sequential(
            Conv2d(c_z, c_out, kernel=1, activation=True, grid_in=SEEN_LATENT),
            Up(c_out, c_out),
            ResBlock(c_out),
            Up(c_out, c_out),
        )
        self.mean = nn.Parameter(torch.zeros(c_z))
        self.scale = nn.Parameter(torch.zeros(c_z))
        self.step = QStep(c_z, 0.25, 0.25)

    def forward(self, symbols: SymbolCoder, y: Tensor | None, qp: Tensor, size: tuple[int, int]) -> Tensor:
        """Features [B, F, H, W] of the decoded z, for latents of `size` = (H, W), multiples of 4."""
        step, offset = self.step(qp)
        z = None if y is None else self.analysis(as_seen(y))
        shape = (qp.shape[0], self.mean.shape[0], size[0] // 4, size[1] // 4)
        mean = channel_grid(self.mean, ACTIVATION.frac)[None, :, None, None].expand(shape)
        scale = channel_grid(self.scale, ACTIVATION.frac)[None, :, None, None].expand(shape)
        z_hat = symbols.code(z, mean, table_index(scale, offset), step)
        return self.synthesis(as_seen(z_hat))  # type: ignore[no-any-return]


def channel_grid(x: Tensor, frac: int) -> Tensor:
    """A parameter rounded to multiples of 2^-frac, with the gradient of the identity."""
    unit = math.ldexp(1.0, -frac)
    return x + (torch.round(x / unit) * unit - x).detach()


class Parameters(nn.Module):
    """Two convolutions from features to the mean and scale of a latent: [B, F, H, W] -> twice [B, C, H, W].

    The mean is on the latent grid; the scale on the activation grid (see `table_index`). `extra` features [B,
    c_extra, H, W] go to the second convolutions alone.
    """

    def __init__(self, c_in: int, c_hidden: int, c_latent: int, c_extra: int = 0) -> None:
        super().__init__()
        self.hidden = Conv2d(c_in, c_hidden, activation=True)
        self.mean = Conv2d(c_hidden + c_extra, c_latent, kernel=1, zero=True, grid_out=LATENT)
        self.scale = Conv2d(c_hidden + c_extra, c_latent, kernel=1, zero=True)

    def forward(self, features: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and scale."""
        hidden = self.hidden(features)
        hidden = hidden if extra is None else torch.cat([hidden, extra], 1)
        return self.mean(hidden).float(), self.scale(hidden).float()
