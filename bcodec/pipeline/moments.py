"""Places in a video as a user says them: in frames, or in time since the first one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from bcodec.errors import UsageError


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
        """Whether the frame rate must be known to find it."""
        return isinstance(self.start, Seconds) or isinstance(self.length, Seconds)

    def in_frames(self, rate: Fraction) -> tuple[int, int | None]:
        """The first frame, and how many at most: those shown at the start or later, and before the end.

        `rate` in frames per second. Raises UsageError where that is none.
        """
        start = _frames(self.start, rate)
        count = None if self.length is None else _frames(self.length, rate)
        if count == 0:
            raise UsageError("--duration is not above 0")
        return start, count


def _frames(moment: int | Seconds, rate: Fraction) -> int:
    return ceil(moment.value * rate) if isinstance(moment, Seconds) else moment
