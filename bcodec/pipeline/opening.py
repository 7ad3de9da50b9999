"""Opening a .bcv file: where decoding must begin, what will come, and what lies beside the pictures."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import BinaryIO, Self

from bcodec.bitstream import (
    AuxiliaryPacket,
    BitstreamReader,
    Packet,
    SequenceHeader,
    with_damage,
)
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

    The packets may begin with frames before `start`. `total` of those wanted will come; None if unknown.
    """

    name: str  # in words
    reader: BitstreamReader
    packets: Iterator[Packet | AuxiliaryPacket]
    side_data: SideData
    start: int
    frames: int | None
    total: int | None
    _begin: int | None = None  # poc of the first that is wanted, once it is known
    _origin: Fraction | None = None  # its time
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
            total = _find(reader, start, frames)
        if start and file.seekable():  # it went to an I frame
            packets = reader
        side_data = SideData.of(headers, keep)
        if side_data.extras.chapters and (start or frames):  # they come before the pictures
            side_data.expected = _expected(clock(), side_data.file.start, start, frames)
        for packet in headers:
            side_data.add(packet)
        return cls(shown(path, "input"), reader, packets, side_data, start, frames, total)

    def counted(self, tally: Tally) -> Iterator[Packet | BitstreamError]:
        """Give the frame packets and damage; what lies beside them goes its own way."""
        for packet in self.frame_packets():
            if isinstance(packet, Packet):
                tally.count_packet(self.reader.last_size)
            yield packet

    def frame_packets(self) -> Iterator[Packet | BitstreamError]:
        """Give the frame packets and damage, note times, and put aside what lies beside the pictures."""
        for packet in with_damage(self.packets):
            if isinstance(packet, BitstreamError):
                if self._begin is None:
                    self._begin = self.start
                yield packet
            elif isinstance(packet, Packet):
                self._note_time(packet)
                yield packet
            else:
                self.side_data.add(packet)

    def _note_time(self, packet: Packet) -> None:
        poc, origin = packet.header.poc, self.side_data.file.start
        time = self.header.video.time(poc, packet.delay)
        if self._begin is None:
            self._begin = max(self.start, poc)
        if poc >= self.start:
            self._times[poc] = time
        if poc == self._begin and self.start:
            self.side_data.begin_at(origin + time, back=time)
        if self.frames and poc == self._begin + self.frames:
            self.side_data.end_at(origin + time)

    def time(self, poc: int) -> Fraction:
        """When a wanted picture is shown, in seconds since the first; to be asked for as they come."""
        if self._origin is None:  # nobody knows the time of a first picture that is lost
            begin = poc if self._begin is None else self._begin
            self._origin = self._times.get(begin, self.header.video.time(begin, 0))
        for earlier in [other for other in self._times if other < poc]:
            del self._times[earlier]
        return self._times.pop(poc) - self._origin

    def read_on(self) -> None:
        """Behind the last wanted picture, read the side data of the wanted ones that comes later."""
        if self.frames and self.side_data.streams and self.side_data.time_range.end is None:
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


def _find(reader: BitstreamReader, start: int, frames: int | None) -> int | None:
    """Go to where decoding must begin for frame `start`; how many will come.

    A pipe has no index: there all is read, and how many will come is not known.
    """
    try:
        there = max(reader.index.frame_count - start, 0)
        if start:
            reader.seek(start)
    except io.UnsupportedOperation:
        return frames
    return min(there, frames or there)
