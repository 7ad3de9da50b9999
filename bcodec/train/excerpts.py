"""Batches from packed data, cut where the data lie: on a GPU nothing is sent to it but a few numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bcodec.networks.latent import QPS
from bcodec.train.batch import Batch, to_planes
from bcodec.train.pack import Pack
from bcodec.train.recorded import Record

ALIGNMENT = 16  # luma samples between the places of crops: recorded motion is cut along blocks


class Excerpts:
    """Random crops of random excerpts: `frames` frames, at a spacing drawn anew for each batch.

    Fewer frames than an excerpt has are taken where a GOP has them, so that the recorded motion is theirs;
    those that end with B* reach from its first frame to its last.
    """

    def __init__(
        self, pack: Pack, crop: int, frames: int, spacings: dict[int, float], tails: float = 0.0
    ) -> None:
        self.pack, self.crop, self.frames, self.tails = pack, crop, frames, tails
        self.spacings = spacings
        self.length, self.side = pack.y.shape[1:3]
        if crop > self.side or frames > self.length:
            raise ValueError(f"excerpts of {self.length} frames of {self.side} are too small for the stage")

    def sample(self, generator: np.random.Generator, count: int) -> Batch:
        """So many samples, flipped and reversed at random; a share of `tails` of the batches end with B*."""
        tail = bool(generator.random() < self.tails) and self._reach_tails() and any(self.pack.tails)
        spacing, stride, fitting = self._draw(generator, tail)
        chosen = generator.choice(fitting, count)
        qp = generator.integers(0, QPS, count)
        reach = stride * max(self.frames - 1, 1)
        first = reach * generator.integers(0, max((self.length - 1) // reach, 1), count)
        if self.frames == 1:
            first = generator.integers(0, self.length, count)
        top, left = generator.integers(0, (self.side - self.crop) // ALIGNMENT + 1, (2, count)) * ALIGNMENT
        flips = generator.random((2, count)) < 0.5
        index, times, rows, columns = (
            self._to_device(start[:, None] + step * np.arange(size))
            for start, step, size in (
                (chosen, 0, 1),
                (first, stride, self.frames),
                (top, 1, self.crop),
                (left, 1, self.crop),
            )
        )
        mirror, reverse = (self._to_device(flip) for flip in (flips[0], flips[1] & (not tail)))
        frames = self._pictures(index, times, rows, columns)
        frames = torch.where(_wide(mirror, frames), mirrored(frames), frames)
        frames = torch.where(_wide(reverse, frames), frames.flip(1), frames)
        motion = None
        if self.pack.motion is not None and self.frames > 1:
            places = np.abs(self.pack.qps[chosen].numpy() - qp[:, None]).argmin(1)
            motion = self._motion(
                self.pack.motion, index, self._to_device(places[:, None]), times, rows, columns
            )
            motion = _either(mirror, motion.mirrored(), motion)
            backwards = Record(*(part.flip(1) for part in motion.reversed()))
            motion = _either(reverse, backwards, motion)
        return Batch(frames, self._to_device(qp), spacing, tail, motion)

    def _reach_tails(self) -> bool:
        """Whether some stride takes the frames from the first of an excerpt to its last."""
        return self.frames > 1 and (self.length - 1) % (self.frames - 1) == 0

    def _draw(self, generator: np.random.Generator, tail: bool) -> tuple[int, int, Sequence[int]]:
        """The spacing of a batch, how many frames of an excerpt that is, and of which excerpts."""
        choices: dict[tuple[int, int], list[int]] = {}
        strides = [s for s in (1, 2, 4, 8, 16) if s * (self.frames - 1) <= self.length - 1]
        if tail:
            strides = [(self.length - 1) // (self.frames - 1)]
        for number, (spacing, ends) in enumerate(zip(self.pack.spacings, self.pack.tails, strict=True)):
            # What ends with B* was recorded so; of fewer frames the last may be like all references.
            if ends == tail or (self.frames < self.length and not tail):
                for stride in strides if self.frames > 1 else [1]:
                    choices.setdefault((spacing * stride, stride), []).append(number)
        odds = np.array([self.spacings.get(spacing, 0.0) * len(n) for (spacing, _), n in choices.items()])
        if not odds.any():
            odds = np.array([float(len(numbers)) for numbers in choices.values()])
        (spacing, stride), numbers = list(choices.items())[generator.choice(len(odds), p=odds / odds.sum())]
        return spacing, stride, numbers

    def _pictures(self, index: Tensor, times: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """[B, T, 6, C/2, C/2]"""
        which, when = index[:, :, None, None], times[:, :, None, None]
        y = self.pack.y[which, when, rows[:, None, :, None], columns[:, None, None, :]]
        plane = torch.arange(2, device=y.device)[:, None, None]
        down, across = (places[:, ::2] // 2 for places in (rows, columns))
        uv = self.pack.uv[
            which[..., None],
            when[..., None],
            plane,
            down[:, None, None, :, None],
            across[:, None, None, None],
        ]
        return to_planes(y, uv)

    def _motion(
        self, motion: Record, index: Tensor, places: Tensor, times: Tensor, rows: Tensor, columns: Tensor
    ) -> Record:
        """[B, T, ...]"""

        def cut(part: Tensor, pitch: int) -> Tensor:
            down, across = (places[:, ::pitch] // pitch for places in (rows, columns))
            channel = torch.arange(part.shape[3], device=part.device)[:, None, None]
            which, where, when = (x[:, :, None, None, None] for x in (index, places, times))
            return part[
                which, where, when, channel, down[:, None, None, :, None], across[:, None, None, None]
            ]

        return Record(cut(motion.blocks, 8), cut(motion.flags, 16), motion.whole[index, places, times])

    def _to_device(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.pack.y.device)


def mirrored(frames: Tensor) -> Tensor:
    """Pictures [.., 6, H/2, W/2] whose left is right: the phases of luma change places, too."""
    return frames.flip(-1)[..., [1, 0, 3, 2, 4, 5], :, :]


def _either(which: Tensor, one: Record, other: Record) -> Record:
    pairs = zip(one, other, strict=True)
    return Record(*(torch.where(_wide(which, a), a, b) for a, b in pairs))


def _wide(which: Tensor, like: Tensor) -> Tensor:
    return which.view(-1, *[1] * (like.ndim - 1))
