"""What every video is to its reader and its writer, open as an input or output; and what several say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

import av

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData, StreamKind
from bcodec.errors import BitstreamError, VideoError
from bcodec.frame import Frame

FALLBACK_RATE = Fraction(25)  # Hz; what FFmpeg takes when a file does not say
NO_RATE = f"the input does not say its frame rate: taken as {FALLBACK_RATE} fps"
INTERLACED = "is interlaced, which is not supported; --deinterlace makes frames of its fields"

LIMITED, FULL = 1, 2  # colour ranges, in FFmpeg's numbers
UNKNOWN_COLOUR = 2  # in numbers of H.273

av.logging.set_level(None)  # what matters is said by VideoError; FFmpeg says more, on stderr


@dataclass(frozen=True)
class Selection:
    """What is wanted of a video: `frames` pictures (None: all) from `start` on.

    keep: the kinds of streams that are kept as side data (None: none of them, and a notice). deinterlace: a
    frame is made of two fields. frame_rate: in Hz, instead of the times that the video has. video: which
    video stream, from 0 (None: the film). strict: damage ends it. autoscale: pictures of another size
    are scaled to that of the first. bit_depth: of the pictures, 8 or 10 (None: that of the video, where it
    has more than 10 bits 10).
    """

    start: int = 0
    frames: int | None = None
    keep: Collection[StreamKind] | None = None
    deinterlace: bool = False
    frame_rate: Fraction | None = None
    video: int | None = None
    strict: bool = True
    autoscale: bool = False
    bit_depth: int | None = None


@dataclass
class Damage:
    """What could not be read as it should: packets, the first at a time in seconds, and more in words.

    broken: where the file itself hangs together no longer; cut: what is cut off.
    """

    packets: int = 0
    first: Fraction | None = None
    broken: str = ""
    cut: str = ""

    def count(self, time: Fraction | None = None) -> None:
        """Note one more packet, shown at `time` where that is known."""
        self.first = time if self.packets == 0 else self.first
        self.packets += 1

    def __bool__(self) -> bool:
        return bool(self.packets or self.broken or self.cut)

    def __str__(self) -> str:
        where = "" if self.first is None else f", the first at {float(self.first):.2f} s"
        packets = f"{self.packets} damaged packet{'s' * (self.packets > 1)}{where}" if self.packets else ""
        return "; ".join(filter(None, (packets, self.broken, self.cut)))


class TimedFrame(NamedTuple):
    """A picture, and when it is shown, in seconds since the first one of its video."""

    frame: Frame
    time: Fraction


def steadily(frames: Iterable[Frame], rate: Fraction) -> Iterator[TimedFrame]:
    """The pictures at a constant rate, in Hz."""
    return (TimedFrame(frame, count / rate) for count, frame in enumerate(frames))


class PictureClock(Protocol):
    """When pictures are shown, in seconds since the first; None where nothing tells."""

    def time_of(self, picture: int) -> Fraction | None:
        """When a picture is shown."""

    def picture_at(self, time: Fraction) -> int | None:
        """The first picture that is shown at a time or later."""


class OpenInput(Protocol):
    """A video being read: all its pictures, once, in display order.

    clock: when they are shown; None at a constant rate, and where only reading tells. frame_count: how many
    they are, exactly or nearly; None if unknown. damage: what was passed over so far.
    passed: how many pictures before the wanted ones are not among them after all, since it went behind them.
    """

    damage: Damage
    passed: int
    format: VideoFormat
    frames: Iterator[TimedFrame]
    frame_count: int | None
    notices: list[str]
    side_data: SideData

    @property
    def clock(self) -> PictureClock | None:
        """See above."""

    def check_ahead(self) -> None:
        """See what can be known of all wanted pictures before they are decoded; raises VideoError."""

    def read_on(self) -> None:
        """Behind the last wanted picture, read the side data of the wanted ones that comes later."""

    def close(self) -> None:
        """Let the file go."""


class OpenOutput(Protocol):
    """A video being written."""

    notices: list[str]

    def write(self, frame: Frame, time: Fraction) -> None:
        """Add one picture, shown `time` seconds after the first."""

    def finish(self) -> None:
        """Write what is held back."""

    def close(self) -> None:
        """Let the file go."""


class Halted(Exception):
    """A signal came while FFmpeg waited for a pipe; PyAV lets Exceptions through, and `reason` is none."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def as_video_errors(name: str) -> Iterator[None]:
    """Turn what FFmpeg and the system raise into VideoError, which names the video; let signals through."""
    try:
        yield
    except Halted as halted:
        raise halted.reason from None
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except OverflowError as error:
        raise VideoError(f"{name}: a rate, ratio or time is beyond what FFmpeg can hold") from error
    except (av.FFmpegError, OSError, UnicodeError, BitstreamError) as error:
        raise VideoError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
