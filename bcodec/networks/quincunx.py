"""How the latent of an I frame is coded: in four turns, expected by the samples decoded around its blocks.

    turn 0   2   0   2   samples around ──────────────────┐
         3   1   3   1   magnitudes of coefficients there ─┼─> hidden ─┬─> group 0 ─> 1 ─> 2 ─> 3
         0   2   0   2   prior, size, q_step, turn ────────┘           │   of the block's coefficients
                                                                       └─> angles ─> means

A quarter of the blocks are coded first, then those between their corners, then the rest, which have decoded
blocks on all four sides. What a picture is like beside a block says more of it than the coefficients there:
how bright it is, and where edges go on (angular.py). Within a block each group, every fourth channel, sees
those before, and how far they are from what was expected.

That a decoder need not go on block by block if every other one is coded first is from D. He et al.,
"Checkerboard Context Model for Efficient Learned Image Compression" (https://arxiv.org/abs/2103.15306); here
the first half is coded in such turns, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bcodec.cells import Cells
from bcodec.coding import PRIOR_STEPS, Encoder, Part, Picked, SymbolCoder
from bcodec.fixedpoint import ACTIVATION, FLOAT64, LATENT, PIXEL_RESIDUAL, Conv2d, snap
from bcodec.networks.angular import AngularPrediction
from bcodec.networks.blockdct import COEFFICIENTS, TRANSFORM_SIZES, block_transform
from bcodec.networks.latent import table_index
from bcodec.networks.prior import BlockSizes, Guesser, one_hot
from bcodec.networks.surroundings import AROUND, SIDES, TURNS, Decoded, Seen, Surroundings, interleaved

FLAT = 8.0  # the first coefficient, of any plane, of a block whose samples are all 1
FIRST_AC = 1  # the channel of y whose scale offset tells of the quantization step
PARTS = 4  # of a step, that logarithms are of


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
# Gives, of features of blocks, the coefficients [B, C, H, W] of their sizes that edges around them lead to.
Edges = Callable[[Tensor], Tensor]


class QuincunxModel(nn.Module):
    """What coefficients are expected by: each group of a block's by those before, and by what is seen."""

    table: Tensor  # logarithms of 1, 1 + 1 / PARTS and so on, on the activation grid

    def __init__(self, c_prior: int, c_latent: int, surroundings: Surroundings) -> None:
        super().__init__()
        c_seen = len(surroundings.plane)
        c_hidden = 8 * c_prior // 3
        kinds, c_small, c_group = len(TRANSFORM_SIZES), c_hidden // 2, c_latent // PRIOR_STEPS
        groups, c_there = range(PRIOR_STEPS), len(AROUND) + len(TURNS)
        self.known = Conv2d(c_prior + kinds + c_there + 1, c_hidden, kernel=1, activation=True)
        self.samples = Conv2d(c_seen, c_hidden, kernel=1, activation=True)
        self.magnitudes = Conv2d(2 * c_latent, c_small, kernel=1, activation=True)
        self.merge = Conv2d(2 * c_hidden + c_small, c_hidden, kernel=1, activation=True)
        self.blocks = nn.Sequential(PointBlock(c_hidden), PointBlock(c_hidden))
        self.angular = AngularPrediction(c_hidden, c_latent, surroundings.pair())
        self.expected = Conv2d(c_latent, c_small, kernel=1, activation=True)
        self.before = nn.ModuleList(
            Conv2d(2 * number * c_group, c_small, kernel=1, activation=True) for number in groups[1:]
        )
        self.hidden = nn.ModuleList(
            Conv2d(c_hidden + (2 if number else 1) * c_small, c_hidden, kernel=1, activation=True)
            for number in groups
        )
        # By how far the groups before are from what was expected, in blocks of each size.
        self.missed = nn.ModuleList(
            Conv2d(kinds * number * c_group, c_group, kernel=1, zero=True, grid_out=LATENT)
            for number in groups[1:]
        )
        # Means and scales are sums: by the prior alone, means by the samples alone and by angles, and by all.
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
        logarithms = torch.log1p(torch.arange(PARTS * largest, dtype=torch.float64) / PARTS).float()
        self.register_buffer("table", snap(logarithms), persistent=False)

    def forward(
        self,
        seen: Seen,
        prior: Tensor,
        kinds: Tensor,
        qstep: tuple[Tensor, Tensor],
        edges: Edges,
        code: GroupCoder,
    ) -> tuple[Tensor, Tensor]:
        """Coefficients and magnitudes [B, C, H, W] of blocks, group by group what `code` makes of them."""
        step, offset = qstep
        hidden, mean = self.around(seen, prior, kinds, offset)
        expected = edges(hidden)
        mean, scale = mean + expected, self.prior_scale(prior).float()
        signed = self.logarithms(expected.detach(), step, PARTS)
        hidden = torch.cat([hidden, self.expected(signed.to(prior.dtype))], 1)
        groups: list[Tensor] = []
        logarithms: list[Tensor] = []
        for number in range(PRIOR_STEPS):
            own = mean[:, number::PRIOR_STEPS]
            inner = hidden
            if number:
                before, missed = self._before(number, groups, logarithms, mean, kinds)
                inner, own = torch.cat([hidden, before], 1), own + missed
            inner = torch.cat([self.hidden[number](inner), kinds], 1)
            own_mean = snap(own + self.mean[number](inner).float(), LATENT)
            own_scale = snap(scale[:, number::PRIOR_STEPS] + self.scale[number](inner).float())
            index = table_index(own_scale, offset[:, number::PRIOR_STEPS])
            groups.append(code(number, own_mean, index))
            logarithms.append(self.logarithms(groups[-1].detach(), step[:, number::PRIOR_STEPS]))
        coefficients, signed = (torch.stack(each, 2).flatten(1, 2) for each in (groups, logarithms))
        return coefficients, signed.abs()

    def around(self, seen: Seen, prior: Tensor, kinds: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Features of blocks by what is known before they are, and means [B, C, H, W]."""
        fineness = snap(offset[:, FIRST_AC : FIRST_AC + 1] / 16).expand(-1, -1, *prior.shape[2:])
        known = [prior, kinds, *(each.to(prior.dtype) for each in (seen.there, fineness))]
        samples, magnitudes = seen.samples.to(prior.dtype), seen.magnitudes.to(prior.dtype)
        features = self.samples(samples), self.magnitudes(magnitudes), self.known(torch.cat(known, 1))
        mean = self.prior_mean(prior).float() + self.samples_mean(samples).float()
        mean = torch.cat([mean[:, : len(SIDES)] + FLAT * seen.means, mean[:, len(SIDES) :]], 1)
        return self.blocks(self.merge(torch.cat(features, 1))), mean

    def _before(
        self,
        number: int,
        groups: Sequence[Tensor],
        logarithms: Sequence[Tensor],
        mean: Tensor,
        kinds: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """What the groups before one tell it: features, and what to add to its means [B, C / 4, H, W]."""
        decoded = [group.detach() for group in groups]
        before = torch.cat([*(snap(each.clone()) for each in decoded), *logarithms], 1).to(kinds.dtype)
        off = snap(torch.cat([each - mean[:, group::PRIOR_STEPS] for group, each in enumerate(decoded)], 1))
        by_size = torch.cat([off * kinds[:, kind : kind + 1] for kind in range(kinds.shape[1])], 1)
        return self.before[number - 1](before), self.missed[number - 1](by_size.to(kinds.dtype)).float()

    def logarithms(self, coefficients: Tensor, step: Tensor, parts: int = 1) -> Tensor:
        """Of one more than the magnitudes [B, C, H, W] in steps, with the signs of the coefficients.

        Magnitudes are rounded to so many parts of a step, 1 or PARTS.
        """
        size = torch.round(coefficients.abs() * parts / step) * (PARTS // parts)
        return self.table[size.clamp_(max=len(self.table) - 1).int()] * torch.sign(coefficients)


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
        self.model = QuincunxModel(c_prior, c_latent, self.surroundings)

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

            def edges(features: Tensor) -> Tensor:
                return self.sizes.forth(self.model.angular(seen.samples, features), turn.of(size))  # noqa: B023

            with torch.no_grad():
                seen = self.surroundings(decoded, turn)
            coefficients, magnitudes = self.model(seen, turn.of(prior), turn.of(kinds), qstep, edges, code)
            own = self.sizes.back(coefficients, turn.of(size))
            decoded.put(turn, self._samples(own.detach()), magnitudes)
            latent[:, :, turn.rows, turn.columns] = own
        return latent

    @torch.no_grad()
    def guesser(self, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> Guesser:
        """What is expected if all around, of y [B, C, H, W], were decoded, of the largest transforms.

        Edges are led on as into blocks of these, whatever size is asked for: it would take twice as long.
        """
        y = y.float()
        decoded = Decoded.nothing(y)
        every = torch.round(y / qstep[0]) * qstep[0]
        samples = self._samples(snap(every.clone(), LATENT))
        magnitudes = self.model.logarithms(every, qstep[0]).abs()
        for turn in TURNS:
            decoded.put(turn, turn.of(samples), turn.of(magnitudes))
        turns = [self.surroundings(decoded, turn) for turn in TURNS]
        seen, led = interleaved(turns), torch.zeros_like(y)
        large = one_hot(torch.zeros_like(y[:, :1])).to(prior.dtype)
        for turn, own in zip(TURNS, turns, strict=True):
            features, _ = self.model.around(own, turn.of(prior), turn.of(large), qstep[1])
            led[:, :, turn.rows, turn.columns] = self.model.angular(own.samples, features)

        def guess(number: int, some: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
            own = Seen(*(cells.of(each) for each in seen))
            features, steps = cells.of(prior), [cells.of(each.expand_as(y)) for each in qstep]
            size = torch.full_like(features[:, :1], number)
            kinds = one_hot(size).to(prior.dtype)
            expected: list[tuple[Tensor, Tensor]] = []

            def code(group: int, mean: Tensor, index: Tensor) -> Tensor:
                expected.append((mean, index))
                coefficients, step = (x[:, group::PRIOR_STEPS] for x in (some.float(), steps[0]))
                return snap(torch.round(coefficients / step) * step, LATENT)

            edges = self.sizes.forth(cells.of(led), size)
            self.model(own, features, kinds, (steps[0], steps[1]), lambda _: edges, code)
            mean, index = (torch.stack(each, 2).flatten(1, 2) for each in zip(*expected, strict=True))
            return mean, index

        return guess

    @torch.no_grad()
    def _samples(self, latent: Tensor) -> Tensor:
        """What the inverse transform makes of a latent, [B, 384, H, W]."""
        with torch.autocast(latent.device.type, enabled=False):
            return self.transform(latent)  # type: ignore[no-any-return]
