"""Opening a .bcv file: where decoding must begin, what will come, and what lies beside the pictures."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import count
from typing import BinaryIO, Self

from bcodec.bitstream import AuxiliaryPacket, BitstreamReader, Packet, SequenceHeader
from bcodec.bitstream.sidecar import SideData, StreamKind, TimeRange, leading
from bcodec.errors import BitstreamError, Unreadable
from bcodec.pipeline.clock import CodedClock
from bcodec.pipeline.moments import Clock, Part, Steady
from bcodec.pipeline.stdio import shown
from bcodec.pipeline.tally import Tally

WHOLE = Part()


@dataclass
class CodedVideo:
    """A .bcv file or pipe, opened where decoding must begin for `frames` frames (None: all) from `start` on.

    The decoder gives `skip` pictures too many at first. `total` of those wanted will come; None if unknown.
    """

    name: str  # in words
    reader: BitstreamReader
    packets: Iterator[Packet | AuxiliaryPacket]
    side_data: SideData
    start: int
    frames: int | None
    skip: int
    total: int | None
    _begin: int | None = None  # poc of the first that is wanted, once it is known
    _times: dict[int, Fraction] = field(default_factory=dict, repr=False)  # by poc, of what is wanted

    @property
    def header(self) -> SequenceHeader:
        """Of the file."""
        return self.reader.header

    @classmethod
    def open(
        cls,
        file: BinaryIO,
        path: str,
        part: Part = WHOLE,
        *,
        keep: Collection[StreamKind] = (),
    ) -> Self:
        """Read the headers; `keep` the packets of those kinds of streams.

        Raises Unreadable, and UsageError for a part without frames.
        """
        with named(path):
            reader = BitstreamReader(file)
            rate = reader.header.video.frame_rate
            clock = cache(lambda: CodedClock(file) if file.seekable() else Steady(rate))
            start, frames = part.in_frames(clock() if part.in_time else Steady(rate))
            headers, packets = leading(reader)
            skip, total = _find(reader, start, frames)
        if start and file.seekable():  # it went to an I frame
            packets = reader
        side_data = SideData.of(headers, keep)
        if side_data.extras.chapters and (start or frames):  # they come before the pictures
            side_data.expected = _expected(clock(), side_data.file.start, start, frames)
        for packet in headers:
            side_data.add(packet)
        return cls(shown(path, "input"), reader, packets, side_data, start, frames, skip, total)

    def counted(self, tally: Tally) -> Iterator[Packet]:
        """Give the frame packets; what lies beside them goes its own way."""
        for packet in self.frame_packets():
            tally.count_packet(self.reader.last_size)
            yield packet

    def frame_packets(self) -> Iterator[Packet]:
        """Give the frame packets, note their times, and put aside what lies beside them."""
        for packet in self.packets:
            if isinstance(packet, Packet):
                self._note_time(packet)
                yield packet
            else:
                self.side_data.add(packet)

    def _note_time(self, packet: Packet) -> None:
        poc, origin = packet.header.poc, self.side_data.file.start
        time = self.header.video.time(poc, packet.delay)
        if self._begin is None:
            self._begin = poc + self.skip
        if poc >= self._begin:
            self._times[poc] = time
        if poc == self._begin and self.start:
            self.side_data.begin_at(origin + time, back=time)
        if self.frames and poc == self._begin + self.frames:
            self.side_data.end_at(origin + time)

    def times(self) -> Iterator[Fraction]:
        """When the wanted pictures are shown, in seconds since the first; to be asked for as they come."""
        first = self._begin or 0
        origin = self._times[first]
        for poc in count(first):
            yield self._times.pop(poc) - origin

    def read_on(self) -> None:
        """Behind the last wanted picture, read the side data of the wanted ones that comes later."""
        if self.frames and self.side_data.streams and self.side_data.time_range.end is None:
            with suppress(BitstreamError):
                for _ in self.frame_packets():
                    if self.side_data.time_range.end is not None:
                        break

    def unreadable(self, damage: Exception | None, done: int) -> Unreadable:
        """What to raise where `done` frames came and then no more, for some damage or without.

        It names the first frame that is missing; the codec itself says which frame failed.
        """
        frame = self.start + done
        if damage is None:
            return Unreadable(f"{self.name}: has no frame {frame}")
        return Unreadable(
            f"{self.name}: {f'frame {frame}: ' if isinstance(damage, BitstreamError) else ''}{damage}"
        )


@contextmanager
def named(path: str) -> Iterator[None]:
    """Let errors about a bitstream name the file: Unreadable."""
    try:
        yield
    except BitstreamError as error:
        raise Unreadable(f"{shown(path, 'input')}: {error}") from error


def _expected(clock: Clock, origin: Fraction, start: int, frames: int | None) -> TimeRange:
    """The time that is wanted."""
    back = clock.time_of(start)
    end = None if frames is None else origin + clock.time_of(start + frames)
    return TimeRange(origin + back if start else None, end, back)


def _find(reader: BitstreamReader, start: int, frames: int | None) -> tuple[int, int | None]:
    """Go to where decoding must begin for frame `start`; how many to skip from there, and how many will come.

    A pipe has no index: there all is decoded, and how many will come is not known.
    """
    try:
        there = max(reader.index.frame_count - start, 0)
        skip = start - reader.seek(start).poc if start else 0
    except io.UnsupportedOperation:
        return start, frames
    return skip, min(there, frames or there)
