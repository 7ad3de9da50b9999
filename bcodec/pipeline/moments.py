"""Places in a video as a user says them: in frames, or in time since the first one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Protocol

from bcodec.errors import UsageError


class Clock(Protocol):
    """When the pictures of a video are shown, in seconds since the first one; there may be fewer of them."""

    def picture_at(self, time: Fraction) -> int:
        """The first picture that is shown at a time or later."""

    def time_of(self, picture: int) -> Fraction:
        """When a picture is shown."""


@dataclass(frozen=True)
class Steady:
    """A constant rate, in Hz."""

    rate: Fraction

    def picture_at(self, time: Fraction) -> int:
        """The first picture that is shown at a time or later."""
        return ceil(time * self.rate)

    def time_of(self, picture: int) -> Fraction:
        """When a picture is shown."""
        return picture / self.rate


@dataclass(frozen=True)
class Seconds:
    """A time since the first picture, or how long something lasts."""

    value: Fraction


@dataclass(frozen=True)
class Part:
    """A part of a video: from `start` on (frames or time), for `length` (None: to the end)."""

    start: int | Seconds = 0
    length: int | Seconds | None = None

    @property
    def in_time(self) -> bool:
        """Whether the times of pictures must be known to find it."""
        return isinstance(self.start, Seconds) or isinstance(self.length, Seconds)

    def in_frames(self, clock: Clock) -> tuple[int, int | None]:
        """The first frame, and how many at most: those shown at the start or later, and before the end.

        A length begins with the first frame. Raises UsageError where it is none.
        """
        start, length = self.start, self.length
        first = clock.picture_at(start.value) if isinstance(start, Seconds) else start
        if isinstance(length, Seconds):
            length = clock.picture_at(clock.time_of(first) + length.value) - first
        if length == 0:
            raise UsageError("--duration is not above 0")
        return first, length
