"""Opening a .bcv file: where decoding must begin, what will come, and what lies beside the pictures."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Self

from bcodec.bitstream import AuxiliaryPacket, BitstreamReader, Packet, SequenceHeader
from bcodec.bitstream.sidecar import SideData, StreamKind, TimeRange, leading
from bcodec.errors import BitstreamError, Unreadable
from bcodec.pipeline.moments import Part
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
            start, frames = part.in_frames(reader.header.video.frame_rate)
            headers, packets = leading(reader)
            skip, total = _find(reader, start, frames)
        if start and file.seekable():  # it went to an I frame
            packets = reader
        side_data = SideData.of(headers, keep)
        side_data.time_range = TimeRange.of_frames(
            side_data.file.start, reader.header.video.time_base, start, frames
        )
        for packet in headers:
            side_data.add(packet)
        return cls(shown(path, "input"), reader, packets, side_data, start, frames, skip, total)

    def counted(self, tally: Tally) -> Iterator[Packet]:
        """Give the frame packets; what lies beside them goes its own way."""
        for packet in self.packets:
            if isinstance(packet, Packet):
                tally.count_packet(self.reader.last_size)
                yield packet
            else:
                self.side_data.add(packet)

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
