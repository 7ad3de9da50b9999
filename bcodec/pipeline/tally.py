"""How far it is: the frames, packets and bytes so far, and the rates that follow from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from bcodec.bitstream import VideoFormat


@dataclass(eq=False)
class Tally:
    """Counts what has been read or written of a video, of which `total` frames (None: unknown) will come.

    `follow` is called with the tally at once, and after each frame: a screen may show how far it is. `began`
    is when the work did, in seconds of time.monotonic.
    """

    video: VideoFormat
    total: int | None
    follow: Follow
    began: float = field(default_factory=time.monotonic)
    frames: int = 0
    packets: int = 0
    bytes: int = 0
    duration: Fraction = Fraction(0)  # seconds

    def __post_init__(self) -> None:
        self.follow(self)

    def count_packet(self, size: int, time: Fraction | None = None) -> None:
        """A packet of `size` bytes has been written or read.

        Its picture is shown at `time`, in seconds since the first, or a period after the one before.
        """
        period = 1 / self.video.frame_rate
        self.packets += 1
        self.bytes += size
        self.duration = max(self.duration, (self.duration if time is None else time) + period)

    def count_frame(self) -> None:
        """A frame is done."""
        self.frames += 1
        self.follow(self)

    def bitrate(self) -> str:
        """Of the packets so far, in words."""
        return readable_rate(self.bits_per_second())

    def bits_per_second(self) -> float:
        """Of the packets so far."""
        return float(self.bytes * 8 / self.duration) if self.packets else 0.0

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.monotonic() - self.began

    def summary(self) -> str:
        """What was done, in how much time."""
        seconds = self.seconds
        size = f"{self.video.width}x{self.video.height}"
        return f"{in_frames(self.frames)} of {size} in {seconds:.1f} s ({self.frames / seconds:.2f} fps)"


Follow: TypeAlias = Callable[[Tally], None]


def unwatched(_: Tally) -> None:
    """Follow nothing."""


def in_frames(count: int) -> str:
    """A number of frames in words."""
    return "1 frame" if count == 1 else f"{count} frames"


def readable_rate(bits: float) -> str:
    """Give bits per second in words, with four digits at least."""
    thousands = bits / 1000
    return f"{thousands:.4g} kbit/s" if thousands < 9999 else f"{thousands:.0f} kbit/s"
