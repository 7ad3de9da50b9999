"""Motion that was searched once and is used again: steps of training need not search.

The search is thousands of small operations, and it answers alike as long as pictures and weights are nearly
the same. A `Recorder` searches and writes down what it found and what of it paid (a `Record`); with that, a
`Recorded` answers the networks at once. Of the same pictures and weights, loss and gradients are the same to
the bit.

Fields are absolute, not differences from what is predicted: with other weights or references they still say
where things went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bcodec.coding import ExpectedMotion, FoundMotion, Latents, Prediction, Reference
from bcodec.encoder.analyst import Analyst
from bcodec.fixedpoint import LATENT, snap
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.motion.segments import segment_mask
from bcodec.networks.motion.vectors import (
    EXACT,
    FLAGS,
    PREFERENCE,
    VECTORS,
    from_latent,
    latent_to_preference,
    latent_to_vectors,
    to_latent,
    vectors_to_latent,
)

QUARTERS = 4  # units of a vector in a luma sample
PREFERENCE_UNITS = 1 << LATENT.frac  # of a preference of 1
# Channels of `Record.blocks`: vectors (x, y) towards past and future, and the preference; found, then chosen.
PAST, FUTURE, WEIGHED = slice(0, 2), slice(2, 4), slice(4, 5)
KIND = 5
UNITS = (QUARTERS,) * 4 + (PREFERENCE_UNITS,)


class Record(NamedTuple):
    """What was found, and chosen, of the motion of frames: integers, [..] being frames, samples or both."""

    blocks: Tensor  # int16 [.., 2 KIND, H/8, W/8], in units of UNITS
    flags: Tensor  # int8 [.., 4, H/16, W/16], those found, those chosen
    whole: Tensor  # int16 [.., 5], shifts in luma samples, precision

    def at(self, *index: int | slice | Tensor | None) -> Record:
        """Those of an index into [..]."""
        return Record(*(part[index] for part in self))

    def mirrored(self) -> Record:
        """Of pictures whose left is right."""
        signs = [-1, 1, -1, 1, 1]
        return Record(
            self.blocks.flip(-1) * _signs(signs * 2, self.blocks)[:, None, None],
            self.flags.flip(-1),
            self.whole * _signs(signs, self.whole),
        )

    def reversed(self) -> Record:
        """Of a video that runs backwards; the frames, [.., T, ...], stay in their places."""
        order = [2, 3, 0, 1]
        blocks = self.blocks[..., [*order, 4, *(KIND + i for i in order), KIND + 4], :, :]
        return Record(
            blocks * _signs([1, 1, 1, 1, -1] * 2, blocks)[:, None, None],
            self.flags,
            self.whole[..., [*order, 4]],
        )


def _signs(signs: list[int], like: Tensor) -> Tensor:
    return torch.tensor(signs, dtype=like.dtype, device=like.device)


@dataclass(eq=False)
class _Watched:
    """Found motion that notes what is chosen of it; see bcodec.coding.FoundMotion."""

    found: FoundMotion

    def __post_init__(self) -> None:
        self.past, self.future = self.found.past, self.found.future
        self.preference, self.flags = self.found.preference, self.found.flags
        self.precision = self.found.precision
        self.chosen: dict[int, Tensor] = {}  # of each direction, [B, EXACT, H/16, W/16]
        self.predicted: dict[int, Tensor] = {}

    def choose(
        self,
        latents: Latents,
        prediction: Prediction,
        direction: int,
        segment: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """The latent that the found motion chooses."""
        y = self.found.choose(latents, prediction, direction, segment, mean, scale, step)
        own = segment_mask(segment, y.shape[2:], y.device)
        exact = y[:, :EXACT].detach()
        self.chosen[direction] = torch.where(own, exact, self.chosen.get(direction, exact))
        self.predicted[direction] = prediction.future if direction else prediction.past
        return y


class Recorder(Analyst):
    """An analyst that writes down the motion of the frame that it analyses."""

    def find_motion(  # type: ignore[override]
        self, past: Reference, future: Reference, expected: ExpectedMotion, qp: Tensor
    ) -> tuple[Tensor, _Watched]:
        """The shifts that the search finds, [B, 4, 1, 1], and the motion beside them."""
        self.shifts, found = super().find_motion(past, future, expected, qp)
        self.watched = _Watched(found)
        return self.shifts, self.watched

    @property
    def record(self) -> Record:
        """What was found and chosen, once the frame is coded; [B] samples."""
        seen = self.watched
        one, other = (seen.chosen[direction] for direction in (0, 1))
        fields = [latent_to_vectors(m) + seen.predicted[i] for i, m in enumerate((one, other))]
        found = from_latent(2 * snap(to_latent(seen.preference) / 2, LATENT))  # as the latent has it
        chosen = latent_to_preference(snap(one[:, PREFERENCE], LATENT))
        blocks = torch.cat([seen.past, seen.future, found, *fields, chosen], 1)
        units = torch.tensor(UNITS * 2, device=blocks.device).view(-1, 1, 1)
        whole = torch.cat([self.shifts.flatten(1), seen.precision[:, None].float()], 1)
        flags = torch.cat([seen.flags, one[:, FLAGS]], 1)
        return Record(
            torch.round(blocks * units).to(torch.int16),
            torch.round(flags).to(torch.int8),
            torch.round(whole).to(torch.int16),
        )


class _Kept:
    """Motion as it was found and chosen; see bcodec.coding.FoundMotion."""

    def __init__(self, record: Record) -> None:
        fields = record.blocks.float() / torch.tensor(UNITS * 2, device=record.blocks.device).view(-1, 1, 1)
        found, self.chosen = fields.chunk(2, 1)
        self.past, self.future, self.preference = (found[:, part] for part in (PAST, FUTURE, WEIGHED))
        self.flags, self.chosen_flags = record.flags.float().chunk(2, 1)
        self.precision = record.whole[:, 4].long()

    def choose(
        self,
        latents: Latents,
        prediction: Prediction,
        direction: int,
        segment: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """A direction's latent [B, C, H/16, W/16] with the symbols that say what was chosen."""
        predicted, part = (prediction.future, FUTURE) if direction else (prediction.past, PAST)
        wanted = vectors_to_latent(self.chosen[:, part] - predicted)
        rest = latents[direction][:, VECTORS:]
        if direction == 0:
            wanted = torch.cat([wanted, to_latent(self.chosen[:, WEIGHED]) / 2], 1)
            rest = torch.cat([self.chosen_flags, latents[direction][:, EXACT:]], 1)
        count = wanted.shape[1]
        expected, steps = mean[:, :count], step[:, :count]
        symbols = torch.round((wanted - expected.detach()) / steps) * (torch.round(scale[:, :count]) > 0)
        return torch.cat([expected + symbols.detach() * steps, rest], 1)


class Recorded(Analyst):
    """An analyst of a frame whose motion is known from a record [B] of it."""

    def __init__(self, codec: BFrameCodec, source: Tensor, record: Record) -> None:
        super().__init__(codec, source)
        self.record = record

    def find_motion(  # type: ignore[override]
        self, past: Reference, future: Reference, expected: ExpectedMotion, qp: Tensor
    ) -> tuple[Tensor, _Kept]:
        """The shifts recorded, [B, 4, 1, 1], and the motion beside them."""
        shifts = self.record.whole[:, :4].float()[:, :, None, None]
        return shifts, _Kept(self.record)
