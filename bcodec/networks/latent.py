"""Latents: quantization steps, hyperprior, and the means and scales that networks give symbols."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.bitstream import MAX_QP
from bcodec.coding import Part, SymbolCoder, scale_index
from bcodec.fixedpoint import ACTIVATION, LATENT, SEEN_LATENT, Conv2d, on_grid, snap
from bcodec.networks.layers import Down, ResBlock, Up

UNIT_SCALE = 0.26  # the latent's scale that a network output of 0 stands for
STEP_GRID = 1 / 16384  # quantization steps are multiples of this, below 4
LARGEST_STEP = 65535  # in its units
QPS = MAX_QP + 1
SEEN = 48  # features of a hyper-latent's surroundings
MEAN_UNIT = torch.tensor(math.ldexp(1.0, -ACTIVATION.frac))  # of hyper-latents' means
KNOTS = 8  # of the piecewise linear logarithm of the global step over qp 0, 9, ..., 63


def as_seen(latent: Tensor) -> Tensor:
    """A latent [B, C, H, W] as networks see it, on a coarser grid; a new tensor."""
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
        table = torch.round(logarithm.exp() / STEP_GRID).clamp(1, LARGEST_STEP)
        return table, torch.round(16 * scale_offset(logarithm))

    def freeze(self, table: Tensor, offsets: Tensor) -> None:
        """Fix the steps and offsets to integers [64, C]; the parameters follow, for training to go on."""
        self.table, self.offsets = table.float(), offsets.float()
        at_knots = self.table[:: (QPS - 1) // (KNOTS - 1)]
        logarithm, known = torch.log(at_knots * STEP_GRID), (at_knots > 1) & (at_knots < LARGEST_STEP)
        whole = known.all(0)  # of other channels steps were cut off: they say nothing of the knots
        with torch.no_grad():
            self.knots.copy_((logarithm[:, whole] if whole.any() else logarithm).mean(1))
            off = logarithm - self.knots[:, None]
            mean = (off * known).sum(0) / known.sum(0)
            self.channel.copy_(torch.where(known.any(0), mean, off.amax(0)))

    def forward(self, qp: Tensor) -> tuple[Tensor, Tensor]:
        """Steps and scale offsets, both [B, C, 1, 1], for qp [B]."""
        if self.table is not None and self.offsets is not None:
            step, offset = self.table[qp] * STEP_GRID, self.offsets[qp] / 16
        else:
            logarithm = self.logarithm(qp)
            step, offset = logarithm.exp(), scale_offset(logarithm)
        return step[:, :, None, None], offset[:, :, None, None]


def scale_offset(log_step: Tensor) -> Tensor:
    """Index [..] of the table for a latent of UNIT_SCALE quantized with a step of the given logarithm."""
    return scale_index(math.log(UNIT_SCALE) - log_step)


FLAG_OFFSET = round(16 * float(scale_offset(torch.zeros(())))) / 16  # for a step of 1


def table_index(output: Tensor, offset: Tensor) -> Tensor:
    """Scale index [B, C, H, W] for a network's output: four tables a unit, moved by the step's offset."""
    return output.float() * 4 + offset


class Quartered(Conv2d):
    """A 1x1 convolution of which a quarter of the channels can be asked for, others at other positions."""

    def quarter(self, x: Tensor, own: Tensor) -> Tensor:
        """Of x [4, N, C_in] the output [4, N, C_out / 4]: channels own[k], own[k] + 4, ... for x[k]."""
        weight, bias = self.operands(x)
        weight = weight.reshape(-1, 4, x.shape[2]).index_select(1, own)
        bias = bias.view(-1, 4).index_select(1, own)
        x = x.double() if weight.dtype is torch.float64 else x
        y = torch.baddbmm(bias.mT[:, None], x, weight.permute(1, 2, 0))
        return snap(y.float() if y.dtype is torch.float64 else y, self.grid_out)


class Parameters(nn.Module):
    """Two convolutions from features to the mean and scale of a latent: [B, F, H, W] -> twice [B, C, H, W].

    The mean is on the latent grid; the scale on the activation grid (see `table_index`). `extra` features [B,
    c_extra, H, W] go to the second convolutions alone.
    """

    def __init__(self, c_in: int, c_hidden: int, c_latent: int, c_extra: int = 0) -> None:
        super().__init__()
        self.hidden = Conv2d(c_in, c_hidden, activation=True)
        self.mean = Quartered(c_hidden + c_extra, c_latent, kernel=1, zero=True, grid_out=LATENT)
        self.scale = Quartered(c_hidden + c_extra, c_latent, kernel=1, zero=True)

    def forward(self, features: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and scale."""
        hidden = self._seen(features, extra)
        return self.mean(hidden).float(), self.scale(hidden).float()

    def quarter(self, features: Tensor, extra: Tensor | None, own: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A quarter of the mean and of the scale, [B, C / 4, H, W], for even H and W.

        At the k-th position of each 2x2 square, row by row, it is that of channels own[k], own[k] + 4, ...
        """
        hidden = self._seen(features, extra)
        batch, _, height, width = hidden.shape
        squares = hidden.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, -1)
        rows = squares.permute(2, 4, 0, 1, 3, 5).reshape(4, -1, squares.shape[-1])
        channels = torch.tensor(own, device=hidden.device)
        one, other = (
            layer.quarter(rows, channels)
            .view(2, 2, batch, height // 2, width // 2, -1)
            .permute(2, 3, 0, 4, 1, 5)
            .reshape(batch, height, width, -1)
            .permute(0, 3, 1, 2)
            for layer in (self.mean, self.scale)
        )
        return one.float(), other.float()

    def _seen(self, features: Tensor, extra: Tensor | None) -> Tensor:
        hidden: Tensor = self.hidden(features)
        return hidden if extra is None else torch.cat([hidden, extra], 1)


def checkerboard(like: Tensor) -> Tensor:
    """[1, 1, H, W] bool: one of the colours."""
    down, across = (torch.arange(side, device=like.device) for side in like.shape[2:])
    return ((down[:, None] + across[None, :]) % 2 == 0)[None, None]


class HyperEntropyModel(nn.Module):
    """What is expected of a hyper-latent z [B, Z, h, w]: by what is known, and half of it by the other half.

    Coded in the two colours of a checkerboard, of which the second sees the first (D. He et al.,
    https://arxiv.org/abs/2103.15306). `c_known` features and the qp are known to both. What is decoded lies,
    in each channel, whole steps from a learned mean, as the networks that read it have learned it to
    (measured: E995): so what is expected does, too.
    """

    def __init__(self, c_known: int, c_z: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(c_z))
        self.embed = Conv2d(c_z, SEEN, activation=True, grid_in=SEEN_LATENT)
        widths = (c_known + 1, c_known + 1 + SEEN)
        self.colours = nn.ModuleList(Parameters(width, SEEN, c_z) for width in widths)

    def expect(
        self, number: int, known: Tensor, offset: Tensor, first: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of a colour: steps from the means, indices of tables, [B, Z, h, w], and where it is, [1, Z, h, w].

        The second colour has seen the `first`.
        """
        seen = [] if first is None else [self.embed(as_seen(first)).to(known.dtype)]
        steps, scale = self.colours[number](torch.cat([known, *seen], 1))
        mask = checkerboard(known).expand(1, *steps.shape[1:]) == (number == 0)
        index = table_index(scale, offset).clamp(min=1)  # table 0 could not tell what is otherwise
        return steps, index, mask

    def means(self) -> Tensor:
        """Of the channels, [Z, 1, 1], on their grid."""
        return on_grid(self.mean, MEAN_UNIT.to(self.mean.device))[:, None, None]

    def forward(
        self,
        symbols: SymbolCoder,
        part: Part,
        z: Tensor | None,
        known: Tensor,
        qstep: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Decoded z; known [B, c_known + 1, h, w], steps and scale offsets [B, Z, 1, 1]."""
        step, offset = qstep
        decoded: list[Tensor] = []
        for number in range(len(self.colours)):
            steps, index, mask = self.expect(number, known, offset, *decoded)
            mean = self.means() + on_grid(steps, torch.ones_like(step)) * step
            decoded.append(symbols.code(part, z, mean, index, step, mask))
        return decoded[0] + decoded[1]


class Hyperprior(nn.Module):
    """Hyper-latent z at 1/4 of the latent's resolution and the features it gives to the entropy model.

    y [B, C, H, W] -> z [B, Z, H/4, W/4], coded by what is expected of it -> [B, F, H, W]. `c_known` features
    are known before.
    """

    def __init__(self, c_in: int, c_z: int, c_out: int, part: Part = Part.HYPER, c_known: int = 0) -> None:
        super().__init__()
        self.part = part
        self.analysis = nn.Sequential(
            Conv2d(c_in, c_out, kernel=1, activation=True, grid_in=SEEN_LATENT),
            Down(c_out, c_out),
            Down(c_out, c_out),
            Conv2d(c_out, c_z, grid_out=LATENT),
        )
        self.entropy = HyperEntropyModel(c_known, c_z)
        self.synthesis = nn.Sequential(
            Conv2d(c_z, c_out, kernel=1, activation=True, grid_in=SEEN_LATENT),
            Up(c_out, c_out),
            ResBlock(c_out),
            Up(c_out, c_out),
        )
        self.step = QStep(c_z, 0.25, 0.25)

    def forward(
        self,
        symbols: SymbolCoder,
        y: Tensor | None,
        qp: Tensor,
        size: tuple[int, int],
        known: Sequence[Tensor] = (),
    ) -> Tensor:
        """Features [B, F, H, W] of the decoded z, for latents of `size` = (H, W), multiples of 4.

        `known` together are [B, c_known, H, W].
        """
        z = None if y is None else self.analysis(as_seen(y))
        quality = (qp.float() / 8).view(-1, 1, 1, 1).expand(-1, 1, size[0] // 4, size[1] // 4)
        means = [snap(F.avg_pool2d(each.float(), 4)) for each in known]
        z_hat = self.entropy(symbols, self.part, z, torch.cat([quality, *means], 1), self.step(qp))
        return self.synthesis(as_seen(z_hat))  # type: ignore[no-any-return]
