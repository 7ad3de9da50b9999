"""The intra codec: a block transform with a convolutional network beside it.

    x ─ unshuffle ─ 1x1 (starts as the DCT) ─┬─> y ── code ──> y_hat ─┬─ 1x1 (inverse DCT) ─ shuffle ┬─> x_hat
    └── Analysis (starts at zero) ───────────┘                        │              └───────┐       │
                                                                      └─ Synthesis (starts at zero) ─┘

So it codes like a transform codec before any training, and high rates never saturate. Synthesis sees what the
inverse DCT gives, too, and the qp; behind both stands a deblocking filter (deblock.py). The same two
networks, with temporal contexts injected at every level, code the residual of a B frame (context.py); there
no filter stands behind them, for it would cost more than it gives (measured: E812, E813).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.coding import CollocatedMotion, Encoder, SymbolCoder
from bcodec.fixedpoint import (
    ACTIVATION,
    FINE,
    FLOAT64,
    LATENT,
    PICTURE,
    PIXEL_RESIDUAL,
    SEEN_LATENT,
    Conv2d,
    Grid,
    snap,
    squares_apart,
)
from bcodec.networks.blockdct import COEFFICIENTS, DCT_BLOCK, block_transform, channel_planes
from bcodec.networks.deblock import deblock
from bcodec.networks.latent import Hyperprior, QStep, as_seen
from bcodec.networks.layers import PLANES, Channels, Contexts, Down, ResBlock, Up
from bcodec.networks.quincunx import QuincunxPrior

FIRST_AC = 1  # the channel of y whose step is a picture's


class PictureQStep(QStep):
    """The adaptive quantization steps of y, in which chroma may have a qp of its own."""

    def forward(self, qp: Tensor, chroma_qp: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Steps and scale offsets, both [B, Y, 1, 1], for qps [B]."""
        luma = super().forward(qp)
        if chroma_qp is None:
            return luma
        of_chroma = coloured(luma[0].shape[1], qp.device).view(1, -1, 1, 1)
        step, offset = (
            torch.where(of_chroma, c, y) for c, y in zip(super().forward(chroma_qp), luma, strict=True)
        )
        return step, offset

    def strengths(self, qp: Tensor, chroma_qp: Tensor | None = None) -> Tensor:
        """The steps that filters of luma and of chroma go by, [B, 2, 1, 1]: those of luma at either qp."""
        steps = [
            super(PictureQStep, self).forward(q)[0] for q in (qp, qp if chroma_qp is None else chroma_qp)
        ]
        return torch.cat([step[:, FIRST_AC : FIRST_AC + 1] for step in steps], 1)


def coloured(c_y: int, device: torch.device) -> Tensor:
    """Which channels of y are of chroma, [Y] bool."""
    return torch.tensor([plane > 0 for plane, _ in channel_planes()[:c_y]], device=device)


class Analysis(nn.Module):
    """Picture or residual to latent: [B, 6, H/2, W/2] -> [B, Y, H/16, W/16] on the latent grid. Encoder only.

    `contexts`, if the network is built for them, are [B, C_l, ..] at levels 1, 2, 3, added through 1x1
    convolutions that start at zero.
    """

    def __init__(self, channels: Channels, *, contexts: bool = False) -> None:
        super().__init__()
        c1, c2, c3 = channels.level1, channels.level2, channels.level3
        self.transform = Conv2d(
            COEFFICIENTS, channels.y, kernel=1, grid_in=PICTURE, grid_out=LATENT, sums=FLOAT64
        )
        with torch.no_grad():
            self.transform.weight.copy_(block_transform(channels.y)[:, :, None, None])
            self.transform.weight[0] /= 2  # the mean of a luma block would leave the latent's range
        self.head = Conv2d(4 * PLANES, c1, activation=True, grid_in=PICTURE)
        self.level1 = ResBlock(c1)
        self.down2 = Down(c1, c2)
        self.level2 = ResBlock(c2)
        self.down3 = Down(c2, c3)
        self.level3 = nn.Sequential(ResBlock(c3), ResBlock(c3))
        self.tail = Conv2d(c3, channels.y, kernel=1, zero=True, grid_out=LATENT)
        self.inject = injections(channels) if contexts else None

    def linear(self, x: Tensor) -> Tensor:
        """What the transform alone makes of it."""
        with torch.autocast(x.device.type, enabled=False):
            return self.transform(F.pixel_unshuffle(x, DCT_BLOCK))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, contexts: Sequence[Tensor] = ()) -> Tensor:
        """The latent y."""
        linear = self.linear(x)
        h = inject(self.inject, 0, self.head(squares_apart(x)), contexts)
        h = inject(self.inject, 1, self.down2(self.level1(h)), contexts)
        h = inject(self.inject, 2, self.down3(self.level2(h)), contexts)
        return snap(linear + self.tail(self.level3(h)).float(), LATENT)


class Synthesis(nn.Module):
    """Latent to picture: [B, Y, H/16, W/16] -> [B, 6, H/2, W/2], multiples of 2^-8, |x| <= 16.

    At level 1 it filters the picture that the inverse transform gives: sixteen times finer than the latent,
    it shows the edges between blocks. Of a B frame it sees the pictures behind the prediction, too.
    """

    def __init__(self, channels: Channels, *, contexts: bool = False) -> None:
        super().__init__()
        c1, c2, c3 = channels.level1, channels.level2, channels.level3
        depth = 2 if contexts else 3  # what the contexts took is left here
        self.transform = Conv2d(
            channels.y, COEFFICIENTS, kernel=1, grid_in=LATENT, grid_out=PIXEL_RESIDUAL, sums=FLOAT64
        )
        with torch.no_grad():
            self.transform.weight.copy_(block_transform(channels.y).t()[:, :, None, None])
            self.transform.weight[:, 0] *= 2
        self.head = Conv2d(channels.y, c3, kernel=1, activation=True, grid_in=SEEN_LATENT, grid_out=FINE)
        self.level3 = nn.Sequential(ResBlock(c3, FINE), ResBlock(c3, FINE))
        self.up2 = Up(c3, c2, FINE)
        self.level2 = nn.Sequential(*(ResBlock(c2, FINE) for _ in range(depth)))
        self.up1 = Up(c2, c1, FINE)
        self.picture = Conv2d(4 * PLANES + 1, c1, zero=True, grid_in=FINE, grid_out=FINE)
        self.aligned = Conv2d(8 * PLANES, c1, zero=True, grid_out=FINE) if contexts else None
        self.level1 = nn.Sequential(*(ResBlock(c1, FINE) for _ in range(depth)))
        self.tail = Conv2d(c1, 4 * PLANES, zero=True, grid_in=FINE, grid_out=PIXEL_RESIDUAL)
        self.inject = injections(channels, FINE) if contexts else None

    def forward(self, y_hat: Tensor, qp: Tensor, contexts: Contexts | None = None) -> tuple[Tensor, Tensor]:
        """The picture, of what is predicted, if anything, and of a residual; and what of that is coded.

        Both [B, 6, H/2, W/2], for qp [B].
        """
        with torch.autocast(y_hat.device.type, enabled=False):
            residual = F.pixel_shuffle(self.transform(y_hat), DCT_BLOCK)
        picture = contexts.predicted + residual if contexts else residual
        known = snap(squares_apart(picture), FINE)
        fine = snap(qp.float() / 16).view(-1, 1, 1, 1).expand(-1, *known.shape[2:], 1).contiguous()
        levels = contexts.levels if contexts else ()
        h = inject(self.inject, 2, self.head(as_seen(y_hat)), levels)
        h = inject(self.inject, 1, self.up2(self.level3(h)), levels)
        h = inject(self.inject, 0, self.up1(self.level2(h)), levels)
        h = self.picture(torch.cat([known, fine.permute(0, 3, 1, 2)], 1).to(h.dtype), residual=h)
        if self.aligned and contexts:
            h = self.aligned(contexts.aligned.to(h.dtype), residual=h)
        return picture + F.pixel_shuffle(self.tail(self.level1(h)), 2).float(), residual


def injections(channels: Channels, grid: Grid = ACTIVATION) -> nn.ModuleList:
    """One 1x1 convolution a level, starting at zero, through which a context enters features on `grid`."""
    widths = (channels.level1, channels.level2, channels.level3)
    return nn.ModuleList(Conv2d(c, c, kernel=1, zero=True, grid_out=grid) for c in widths)


def inject(layers: nn.ModuleList | None, level: int, h: Tensor, contexts: Sequence[Tensor]) -> Tensor:
    """Add the context of a level to the features [B, C_l, ..], or leave them as they are."""
    return h if layers is None else layers[level](contexts[level], residual=h)


class Begun(NamedTuple):
    """A frame of which everything is coded but the latent itself.

    `y` is what an encoder makes of it, `prior` [B, F, H/16, W/16] what its symbols are expected by; a B frame
    has a prediction and motion.
    """

    y: Tensor | None
    prior: Tensor
    contexts: Contexts | None = None
    motion: CollocatedMotion | None = None


class IntraCodec(nn.Module):
    """Image codec: hyperprior, quincunx prior, transform and network in both directions."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.analysis = Analysis(channels)
        self.synthesis = Synthesis(channels)
        self.hyperprior = Hyperprior(channels.y, channels.z, channels.level3)
        self.prior = QuincunxPrior(channels.level3, channels.y)
        self.step = PictureQStep(channels.y, 1.2, 0.053)
        with torch.no_grad():
            self.step.channel[0] = -math.log(2)

    def forward(
        self,
        symbols: SymbolCoder,
        qp: Tensor,
        size: tuple[int, int],
        encoder: Encoder | None = None,
        *,
        chroma_qp: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded picture [B, 6, H/2, W/2] (not yet clamped) and latent [B, Y, H/16, W/16].

        qp [B] in 0..63, of chroma `qp` if not given; `size` = (H/16, W/16), multiples of 4.
        """
        begun = self.begin(symbols, qp, size, encoder)
        return self.complete(symbols, begun, qp, encoder, chroma_qp=chroma_qp)

    def begin(
        self, symbols: SymbolCoder, qp: Tensor, size: tuple[int, int], encoder: Encoder | None
    ) -> Begun:
        """Code the hyper-latent; qp [B] in 0..63, `size` = (H/16, W/16)."""
        y = None if encoder is None else self.analysis(encoder.source)
        return Begun(y, self.hyperprior(symbols, y, qp, size))

    def complete(
        self,
        symbols: SymbolCoder,
        begun: Begun,
        qp: Tensor,
        encoder: Encoder | None,
        *,
        chroma_qp: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Code the latent; picture [B, 6, H/2, W/2] and latent [B, Y, H/16, W/16], as of `forward`."""
        y_hat, sizes = self.prior(symbols, begun.y, begun.prior, self.step(qp, chroma_qp), encoder)
        picture, residual = self.synthesis(y_hat, qp)
        return deblock(picture, residual, sizes, self.step.strengths(qp, chroma_qp)), y_hat
