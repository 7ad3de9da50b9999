"""How the latent of a B frame is coded: block sizes, as of an I frame, then four steps that see one another.

    y ── size of each block (16, 8 or 4) ── turn ──> coefficients of that size
    prior, sizes ─> step 0 ─> step 1 ─> step 2 ─> step 3 ─> coefficients ── turn back ──> y_hat

Each step codes a quarter of the channels at every position, so that both the neighbours of a coefficient in
space and those in frequency are known to the later ones: the quadtree partition of DCVC-FM
(https://arxiv.org/abs/2402.17414), with channels interleaved since they are ordered by frequency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.cells import Cells
from bcodec.coding import PRIOR_STEPS, ChosenSizes, Encoder, Part, SymbolCoder
from bcodec.fixedpoint import FLOAT64, LATENT, SEEN_LATENT, Conv2d
from bcodec.networks.blockdct import TRANSFORM_SIZES, turn
from bcodec.networks.latent import FLAG_OFFSET, Parameters, as_seen, checkerboard, table_index

# The step in which the positions of a 2x2 square, row by row, code channels 0, 4, 8, ...; channel c takes
# them in the order of that number xor c % 4.
PLACES = (0, 2, 3, 1)

# What blocks would about be expected by: for the number of a size, their coefficients of it [1, C, 1, N], and
# which blocks these are, means and scale indices of that shape.
Guesser = Callable[[int, Tensor, Cells], tuple[Tensor, Tensor]]


class BlockSizes(nn.Module):
    """Which transform each block is coded with, and the way there and back.

    Latents are [B, C, H, W] on the latent grid, sizes [B, 1, H, W] numbers of TRANSFORM_SIZES.
    """

    def __init__(self, c_prior: int, c_latent: int) -> None:
        super().__init__()
        forth = [turn(c_latent, size)[:, :, None, None] for size in TRANSFORM_SIZES[1:]]
        kwargs = {"kernel": 1, "grid_in": LATENT, "grid_out": LATENT, "sums": FLOAT64}
        self.transform = nn.ModuleDict(
            {
                way: nn.ModuleList(Conv2d(c_latent, c_latent, **kwargs) for _ in forth)  # type: ignore[arg-type]
                for way in ("forth", "back")
            }
        )
        with torch.no_grad():
            for one, other, weight in zip(self.layers("forth"), self.layers("back"), forth, strict=True):
                one.weight.copy_(weight)
                other.weight.copy_(weight.transpose(0, 1))
        # Whether a block is divided, on the two colours of a checkerboard, and whether into sixteen.
        self.flags = nn.ModuleList(Parameters(c_prior + 1, 32, 1) for _ in range(3))

    def layers(self, way: str) -> list[Conv2d]:
        """The layers that turn a latent to each smaller size, "forth" or "back"."""
        return list(cast("nn.ModuleList", self.transform[way]))  # type: ignore[arg-type]

    def back(self, y: Tensor, size: Tensor) -> Tensor:
        """The latent whose coefficients of the given sizes are `y`."""
        return self._turned("back", y, size)

    def forth(self, y: Tensor, size: Tensor) -> Tensor:
        """The coefficients, of the given sizes, of a latent `y`."""
        return self._turned("forth", y, size)

    def _turned(self, way: str, y: Tensor, size: Tensor) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            for number, layer in enumerate(self.layers(way), 1):
                where = size == number
                y = torch.where(where, layer.at(y, where), y)
        return y

    def coded(
        self,
        symbols: SymbolCoder,
        y: Tensor | None,
        prior: Tensor,
        qstep: tuple[Tensor, Tensor],
        encoder: Encoder | None,
    ) -> tuple[Tensor, Tensor | None]:
        """The decoded sizes [B, 1, H, W] and, when encoding, the coefficients [B, C, H, W] of y in them."""
        chosen = None if encoder is None or y is None else encoder.choose_sizes(y, prior, qstep)
        size = self.code(symbols, prior, chosen)
        return size, None if chosen is None else chosen.turned(size)

    def code(self, symbols: SymbolCoder, prior: Tensor, chosen: ChosenSizes | None) -> Tensor:
        """The decoded sizes, for features [B, F, H, W]; when encoding, of those chosen."""
        black = checkerboard(prior)
        known = torch.zeros_like(prior[:, :1])
        for number, mask in enumerate((black, ~black)):
            known = known + self._flag(symbols, prior, known, number, mask, chosen)
        finest = self._flag(symbols, prior, known, 2, known > 0, chosen)
        return (known > 0).float() + (finest > 0)

    def _flag(
        self,
        symbols: SymbolCoder,
        prior: Tensor,
        known: Tensor,
        number: int,
        mask: Tensor,
        chosen: ChosenSizes | None,
    ) -> Tensor:
        """Code a flag where the mask is: -1 or 1, else 0."""
        mean, scale = self.flags[number](torch.cat([prior, known], 1))
        index = table_index(scale, torch.full_like(scale, FLAG_OFFSET))
        flag = None if chosen is None else chosen.flag(number, mean, index)
        step = torch.ones(len(mean), 1, 1, 1, device=mean.device)
        decoded = symbols.code(Part.SIZES, flag, mean, index, step, mask).detach()
        return (2 * (decoded > 0.5).float() - 1) * mask


class SpatialPrior(nn.Module):
    """Codes the latent of a B frame: the size of each block, then its coefficients in four steps."""

    def __init__(self, c_prior: int, c_hidden: int, c_latent: int) -> None:
        super().__init__()
        kinds, later = len(TRANSFORM_SIZES), range(PRIOR_STEPS - 1)
        self.sizes = BlockSizes(c_prior, c_latent)
        self.spread = Conv2d(kinds, c_prior, zero=True)
        self.embed = Conv2d(c_latent, c_hidden, kernel=1, activation=True, grid_in=SEEN_LATENT)
        self.merge = nn.ModuleList(Conv2d(c_prior + c_hidden, c_hidden, activation=True) for _ in later)
        widths = (c_prior, *(c_hidden for _ in later))
        self.steps = nn.ModuleList(Parameters(width, c_hidden, c_latent, kinds) for width in widths)

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
        return self.sizes.back(self.coefficients(symbols, y, prior, size, qstep), size), size

    def guesser(self, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> Guesser:
        """What the first step would expect of all channels of y [B, C, H, W]."""

        def guess(number: int, some: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
            kinds = one_hot(torch.full_like(prior[:, :1], number)).to(prior.dtype)
            parameters = cast(Parameters, self.steps[0])
            hidden = parameters.hidden(self.spread(kinds, residual=prior))
            seen = cells.of(torch.cat([hidden, kinds], 1))
            offset = cells.of(qstep[1].expand_as(y))
            return parameters.mean(seen).float(), table_index(parameters.scale(seen), offset)

        return guess

    def coefficients(
        self,
        symbols: SymbolCoder,
        y: Tensor | None,
        prior: Tensor,
        size: Tensor,
        qstep: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The decoded coefficients [B, C, H, W] of blocks of known sizes [B, 1, H, W]."""
        kinds = one_hot(size).to(prior.dtype)
        prior = self.spread(kinds, residual=prior)
        decoded = torch.zeros(len(prior), *prior.shape[2:], qstep[0].shape[1], device=prior.device)
        decoded = decoded.permute(0, 3, 1, 2)
        for number, parameters in enumerate(self.steps):
            known = prior
            if number:
                before = self.embed(as_seen(decoded)).to(prior.dtype)
                known = self.merge[number - 1](torch.cat([prior, before], 1))
            own = [place ^ number for place in PLACES]
            mean, scale = cast(Parameters, parameters).quarter(known, kinds, own)
            mask = step_mask(number, decoded)
            steps, offsets = (of_their_places(each, own, size.shape) for each in qstep)
            quarter = symbols.code(Part.CONTENT, y, mean, table_index(scale, offsets), steps, mask)
            decoded = with_quarter(decoded, quarter, own)
        return decoded


def one_hot(size: Tensor) -> Tensor:
    """Sizes [B, 1, H, W] as [B, TRANSFORM_SIZES, H, W], 1 where they are."""
    return F.one_hot(size[:, 0].long(), len(TRANSFORM_SIZES)).permute(0, 3, 1, 2).float()


def step_mask(number: int, like: Tensor) -> Tensor:
    """[1, C, H, W] bool: what a step codes, one of each four channels at every position; H and W even."""
    return _step_mask(number, *like.shape[1:]).to(like.device)


@lru_cache(maxsize=2 * PRIOR_STEPS)
def _step_mask(number: int, channels: int, height: int, width: int) -> Tensor:
    place = torch.tensor(PLACES).view(2, 2).repeat(height // 2, width // 2)
    own = place[:, :, None] ^ (torch.arange(channels) % PRIOR_STEPS)
    return (own == number).permute(2, 0, 1)[None]


def of_their_places(values: Tensor, own: Sequence[int], size: Sequence[int]) -> Tensor:
    """Of values [B, C, 1, 1] those of the channels that `Parameters.quarter` is of, [B, C / 4, H, W]."""
    *_, height, width = size
    by_number = values.view(len(values), -1, PRIOR_STEPS).unbind(2)
    each = torch.stack([by_number[number] for number in own], 1).view(len(values), 1, 2, 1, 2, -1)
    everywhere = each.expand(-1, height // 2, -1, width // 2, -1, -1)
    return everywhere.reshape(len(values), height, width, -1).permute(0, 3, 1, 2)


def with_quarter(latent: Tensor, quarter: Tensor, own: Sequence[int]) -> Tensor:
    """A latent [B, C, H, W] with what `Parameters.quarter` is of, [B, C / 4, H, W], in its channels.

    There it was 0. Without gradients it is overwritten.
    """
    if torch.is_grad_enabled():
        return latent + in_their_channels(quarter, own)
    for place, number in enumerate(own):
        down, across = divmod(place, 2)
        latent[:, number::PRIOR_STEPS, down::2, across::2] = quarter[:, :, down::2, across::2]
    return latent


def in_their_channels(quarter: Tensor, own: Sequence[int]) -> Tensor:
    """What `Parameters.quarter` gives, in the channels it is of: [B, C / 4, H, W] -> [B, C, H, W], else 0."""
    each = quarter.permute(0, 2, 3, 1)[..., None]  # in the order in which it is coded
    batch, height, width, channels, _ = each.shape
    place = torch.tensor(own, device=each.device).view(2, 2).repeat(height // 2, width // 2)
    everything = each.new_zeros(batch, height, width, channels, PRIOR_STEPS)
    everything = everything.scatter(4, place[None, :, :, None, None].expand(each.shape), each)
    return everything.flatten(3).permute(0, 3, 1, 2)
