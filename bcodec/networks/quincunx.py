"""How the latent of an I frame is coded: in four turns, expected by the samples decoded around its blocks.

    turn 0   2   0   2   samples around ──────────────────┐
         3   1   3   1   magnitudes of coefficients there ─┼─> hidden ─> group 0 ─> 1 ─> 2 ─> 3
         0   2   0   2   prior, size, q_step, turn ────────┘             of the block's coefficients

A quarter of the blocks are coded first, then those between their corners, then the rest, which have decoded
blocks on all four sides. What a picture is like beside a block says more of it than the coefficients there:
how bright it is, and where edges go on. Within a block each group, every fourth channel, sees those before.

That a decoder need not go on block by block if every other one is coded first is from D. He et al.,
"Checkerboard Context Model for Efficient Learned Image Compression" (https://arxiv.org/abs/2103.15306); here
the first half is coded in such turns, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bcodec.cells import Cells
from bcodec.coding import PRIOR_STEPS, Encoder, Part, Picked, SymbolCoder
from bcodec.fixedpoint import ACTIVATION, FLOAT64, LATENT, PIXEL_RESIDUAL, Conv2d, snap
from bcodec.networks.blockdct import COEFFICIENTS, TRANSFORM_SIZES, block_transform
from bcodec.networks.latent import table_index
from bcodec.networks.prior import BlockSizes, Guesser, one_hot
from bcodec.networks.surroundings import AROUND, SIDES, TURNS, Decoded, Seen, Surroundings, interleaved

FLAT = 8.0  # the first coefficient, of any plane, of a block whose samples are all 1
FIRST_AC = 1  # the channel of y whose scale offset tells of the quantization step


class PointBlock(nn.Module):
    """x + conv(leaky(conv(x))), 1x1 convolutions; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, kernel=1, activation=True)
        self.conv2 = Conv2d(channels, channels, kernel=1, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        return self.conv2(self.conv1(x), residual=x)  # type: ignore[no-any-return]


# Gives a group of coefficients [B, C / 4, H, W] for its number, means and scale indices, of the same shape.
GroupCoder = Callable[[int, Tensor, Tensor], Tensor]


class QuincunxModel(nn.Module):
    """What coefficients are expected by: each group of a block's by those before, and by what is seen."""

    table: Tensor  # logarithms of whole numbers from 1 on, on the activation grid

    def __init__(self, c_prior: int, c_latent: int, c_seen: int) -> None:
        super().__init__()
        c_hidden = 8 * c_prior // 3
        kinds, c_small, c_group = len(TRANSFORM_SIZES), c_hidden // 2, c_latent // PRIOR_STEPS
        groups, c_there = range(PRIOR_STEPS), len(AROUND) + len(TURNS)
        self.known = Conv2d(c_prior + kinds + c_there + 1, c_hidden, kernel=1, activation=True)
        self.samples = Conv2d(c_seen, c_hidden, kernel=1, activation=True)
        self.magnitudes = Conv2d(2 * c_latent, c_small, kernel=1, activation=True)
        self.merge = Conv2d(2 * c_hidden + c_small, c_hidden, kernel=1, activation=True)
        self.blocks = nn.Sequential(PointBlock(c_hidden), PointBlock(c_hidden))
        self.before = nn.ModuleList(
            Conv2d(2 * number * c_group, c_small, kernel=1, activation=True) for number in groups[1:]
        )
        self.hidden = nn.ModuleList(
            Conv2d(c_hidden + (c_small if number else 0), c_hidden, kernel=1, activation=True)
            for number in groups
        )
        # Means and scales are sums: by the prior alone, means by the samples alone, and by all.
        self.mean, self.scale = (
            nn.ModuleList(
                Conv2d(c_hidden + kinds, c_group, kernel=1, zero=True, grid_out=grid) for _ in groups
            )
            for grid in (LATENT, ACTIVATION)
        )
        self.prior_mean = Conv2d(c_prior, c_latent, kernel=1, zero=True, grid_out=LATENT)
        self.prior_scale = Conv2d(c_prior, c_latent, kernel=1, zero=True)
        self.samples_mean = Conv2d(c_seen, c_latent, kernel=1, zero=True, grid_out=LATENT)
        largest = math.floor(math.exp(ACTIVATION.high)) - 1
        logarithms = torch.log1p(torch.arange(largest, dtype=torch.float64)).float()
        self.register_buffer("table", snap(logarithms), persistent=False)

    def forward(
        self, seen: Seen, prior: Tensor, kinds: Tensor, qstep: tuple[Tensor, Tensor], code: GroupCoder
    ) -> tuple[Tensor, Tensor]:
        """Coefficients and magnitudes [B, C, H, W] of blocks, group by group what `code` makes of them."""
        step, offset = qstep
        fineness = snap(offset[:, FIRST_AC : FIRST_AC + 1] / 16).expand(-1, -1, *prior.shape[2:])
        known = [prior, kinds, *(each.to(prior.dtype) for each in (seen.there, fineness))]
        samples, magnitudes = seen.samples.to(prior.dtype), seen.magnitudes.to(prior.dtype)
        features = self.samples(samples), self.magnitudes(magnitudes), self.known(torch.cat(known, 1))
        hidden = self.blocks(self.merge(torch.cat(features, 1)))
        mean = self.prior_mean(prior).float() + self.samples_mean(samples).float()
        mean = torch.cat([mean[:, : len(SIDES)] + FLAT * seen.means, mean[:, len(SIDES) :]], 1)
        scale = self.prior_scale(prior).float()
        groups: list[Tensor] = []
        logarithms: list[Tensor] = []
        for number in range(PRIOR_STEPS):
            inner = hidden
            if number:
                before = [*(snap(group.detach().clone()) for group in groups), *logarithms]
                before_it = self.before[number - 1](torch.cat(before, 1).to(prior.dtype))
                inner = torch.cat([hidden, before_it], 1)
            inner = torch.cat([self.hidden[number](inner), kinds], 1)
            own_mean = snap(mean[:, number::PRIOR_STEPS] + self.mean[number](inner).float(), LATENT)
            own_scale = snap(scale[:, number::PRIOR_STEPS] + self.scale[number](inner).float())
            index = table_index(own_scale, offset[:, number::PRIOR_STEPS])
            groups.append(code(number, own_mean, index))
            logarithms.append(self.logarithms(groups[-1].detach(), step[:, number::PRIOR_STEPS]))
        coefficients, signed = (torch.stack(each, 2).flatten(1, 2) for each in (groups, logarithms))
        return coefficients, signed.abs()

    def logarithms(self, coefficients: Tensor, step: Tensor) -> Tensor:
        """Of one more than the magnitudes [B, C, H, W] in steps, with the signs of the coefficients."""
        size = torch.round(coefficients.abs() / step).clamp_(max=len(self.table) - 1)
        return self.table[size.int()] * torch.sign(coefficients)


class QuincunxPrior(nn.Module):
    """Codes the latent of an I frame: the size of each block, then coefficients in four turns."""

    def __init__(self, c_prior: int, c_latent: int) -> None:
        super().__init__()
        self.sizes = BlockSizes(c_prior, c_latent)
        self.surroundings = Surroundings()
        self.transform = Conv2d(
            c_latent, COEFFICIENTS, kernel=1, grid_in=LATENT, grid_out=PIXEL_RESIDUAL, sums=FLOAT64
        )
        with torch.no_grad():
            self.transform.weight.copy_(block_transform(c_latent).t()[:, :, None, None])
            self.transform.weight[:, 0] *= 2  # as the latent has the mean of luma
        self.model = QuincunxModel(c_prior, c_latent, len(self.surroundings.plane))

    def forward(
        self,
        symbols: SymbolCoder,
        y: Tensor | None,
        prior: Tensor,
        qstep: tuple[Tensor, Tensor],
        encoder: Encoder | None,
    ) -> tuple[Tensor, Tensor]:
        """Decoded latent [B, C, H, W] on the latent grid and block sizes, for prior features [B, F, H, W]."""
        size, y = self.sizes.coded(symbols, y, prior, qstep, encoder)
        return self.coefficients(symbols, y, prior, size, qstep), size

    def coefficients(
        self,
        symbols: SymbolCoder,
        y: Tensor | None,
        prior: Tensor,
        size: Tensor,
        qstep: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The decoded latent [B, C, H, W], of blocks of sizes [B, 1, H, W]; `y` has coefficients of these."""
        batch, _, rows, columns = prior.shape
        latent = torch.zeros(batch, qstep[0].shape[1], rows, columns, device=prior.device)
        latent = latent.contiguous(memory_format=torch.channels_last)
        decoded = Decoded.nothing(latent)
        kinds = one_hot(size).to(prior.dtype)
        for turn in TURNS:

            def code(number: int, mean: Tensor, index: Tensor) -> Tensor:
                picked = Picked(slice(number, None, PRIOR_STEPS), turn.rows, turn.columns)  # noqa: B023
                given = None if y is None else picked.of(y)
                return symbols.code(Part.CONTENT, given, mean, index, picked.of(qstep[0]), picked=picked)

            with torch.no_grad():
                seen = self.surroundings(decoded, turn)
            coefficients, magnitudes = self.model(seen, turn.of(prior), turn.of(kinds), qstep, code)
            own = self.sizes.back(coefficients, turn.of(size))
            decoded.put(turn, self._samples(own.detach()), magnitudes)
            latent[:, :, turn.rows, turn.columns] = own
        return latent

    @torch.no_grad()
    def guesser(self, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> Guesser:
        """What is expected if all around, of y [B, C, H, W], were decoded, of the largest transforms."""
        y = y.float()
        decoded = Decoded.nothing(y)
        every = torch.round(y / qstep[0]) * qstep[0]
        samples = self._samples(snap(every.clone(), LATENT))
        magnitudes = self.model.logarithms(every, qstep[0]).abs()
        for turn in TURNS:
            decoded.put(turn, turn.of(samples), turn.of(magnitudes))
        seen = interleaved([self.surroundings(decoded, turn) for turn in TURNS])

        def guess(number: int, some: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
            own = Seen(*(cells.of(each) for each in seen))
            features, steps = cells.of(prior), [cells.of(each.expand_as(y)) for each in qstep]
            kinds = one_hot(torch.full_like(features[:, :1], number)).to(prior.dtype)
            expected: list[tuple[Tensor, Tensor]] = []

            def code(group: int, mean: Tensor, index: Tensor) -> Tensor:
                expected.append((mean, index))
                coefficients, step = (x[:, group::PRIOR_STEPS] for x in (some.float(), steps[0]))
                return snap(torch.round(coefficients / step) * step, LATENT)

            self.model(own, features, kinds, (steps[0], steps[1]), code)
            mean, index = (torch.stack(each, 2).flatten(1, 2) for each in zip(*expected, strict=True))
            return mean, index

        return guess

    @torch.no_grad()
    def _samples(self, latent: Tensor) -> Tensor:
        """What the inverse transform makes of a latent, [B, 384, H, W]."""
        with torch.autocast(latent.device.type, enabled=False):
            return self.transform(latent)  # type: ignore[no-any-return]
