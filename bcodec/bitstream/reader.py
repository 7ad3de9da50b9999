"""Reads a .bcv file, packet by packet, or from an I frame on."""

import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import BinaryIO

from bcodec.bitstream.layout import (
    ByteSource,
    PacketKind,
    footer_to_bytes,
    index_from_trailer,
    index_to_bytes,
    parse,
    read_auxiliary,
    read_frame,
    read_header,
    read_packet,
)
from bcodec.bitstream.records import AuxiliaryPacket, FrameType, Index, IndexEntry, Packet, SequenceHeader
from bcodec.errors import BitstreamError, Corrupt, Truncated


class BitstreamReader:
    """Reads a .bcv file; iterating yields its packets in coding order.

    `header` is read at once: raises NotBcv, UnsupportedVersion, Truncated or Corrupt. Iteration raises
    Truncated after the last whole packet of a file without a trailer, and Corrupt at a damaged packet; asked
    again, it goes on at the next sound packet. `file` begins with the header, and may be a pipe, but for
    `index` and `seek`.
    `last_size`: the size in bytes of what was read last: of the header, then of each packet with its framing,
    at the end of the trailer with the footer. Together they are the file.
    """

    header: SequenceHeader
    last_size: int

    def __init__(self, file: BinaryIO) -> None:
        self._source = ByteSource(file)
        self.header = read_header(self._source)
        self.last_size = self._source.position
        self._seen: Index | None = Index()  # None once seek has passed over packets
        self._ended = False
        self._damaged: int | None = None  # byte offset of the packet that was read last, where it is

    def __iter__(self) -> Iterator[Packet | AuxiliaryPacket]:
        return self

    def __next__(self) -> Packet | AuxiliaryPacket:
        if self._damaged is not None:
            if self._source.file.seekable():  # the index may have been read since
                self._source.move(self._damaged)
            self._damaged, self._seen = None, None
            self._ended = not self._source.find_packet()
        if self._ended:
            raise StopIteration
        offset = self._source.position
        self._source.mark()
        try:
            packet = self._read(offset)
        except Truncated:
            self._damaged = offset
            raise Truncated(
                f"the file is cut short: no whole packet at byte {offset}, and no trailer"
            ) from None
        except BitstreamError as error:
            self._damaged = offset
            raise Corrupt(f"damaged packet at byte {offset}: {error}") from error
        self.last_size = self._source.position - offset
        if packet is None:
            self._ended = True
            raise StopIteration
        return packet

    def frames(self) -> Iterator[Packet]:
        """Yield the frame packets only."""
        return (packet for packet in self if isinstance(packet, Packet))

    @cached_property
    def index(self) -> Index:
        """The index from the trailer or, without a sound one, from a scan over all whole packets.

        The reading position stays. Raises io.UnsupportedOperation on a pipe.
        """
        if not self._source.file.seekable():
            raise io.UnsupportedOperation("a bitstream that comes through a pipe has no index")
        position = self._source.position
        try:
            return self.trailer or self._index_from_scan()
        finally:
            self._source.move(position)

    @cached_property
    def trailer(self) -> Index | None:
        """The index from the trailer, None without a sound one, and on a pipe. The reading position stays."""
        if not self._source.file.seekable():
            return None
        position = self._source.position
        try:
            return index_from_trailer(self._source)
        except BitstreamError:
            return None
        finally:
            self._source.move(position)

    def seek(self, poc: int) -> IndexEntry:
        """Go to the packet of the last I frame at or before `poc` in display order, and return its entry.

        The B frames that follow it with a lower poc cannot be decoded from there: drop them. Raises
        BitstreamError where there is no such I frame, Corrupt where the index lies, and
        io.UnsupportedOperation on a pipe.
        """
        place = bisect_right(self.index.entries, poc, key=lambda entry: entry.poc)
        if place == 0:
            raise BitstreamError(f"there is no I frame at or before frame {poc}")
        entry = self.index.entries[place - 1]
        self._seen, self._ended, self._damaged = None, False, None
        self._source.move(entry.offset)
        packet = next(self, None)
        header = packet.header if isinstance(packet, Packet) else None
        if header is None or (header.poc, header.frame_type) != (entry.poc, FrameType.I):
            raise Corrupt(f"the index says that I frame {entry.poc} is at byte {entry.offset}, and it is not")
        self._source.move(entry.offset)
        return entry

    def _read(self, offset: int) -> Packet | AuxiliaryPacket | None:
        kind, body = read_packet(self._source)
        if kind is PacketKind.TRAILER:
            self._check_end(body, self._source.position - offset)
            return None
        if kind is PacketKind.AUXILIARY:
            return parse(read_auxiliary, body)
        packet = parse(read_frame, body)
        if self._seen is not None:
            self._seen.add(packet.header, offset)
        return packet

    def _check_end(self, trailer: bytes, length: int) -> None:
        footer = footer_to_bytes(length)
        if self._source.take(len(footer)) != footer:
            raise Corrupt("the footer does not fit the trailer")
        if self._seen is not None and trailer != index_to_bytes(self._seen):
            raise Corrupt("the trailer does not name the frames that the file holds")
        if not self._source.at_end():
            raise Corrupt("there is something behind the end")

    def _index_from_scan(self) -> Index:
        self._source.move(0)
        scan, index = BitstreamReader(self._source.file), Index()
        scan._seen = index
        with suppress(BitstreamError):
            for _ in scan:
                pass
        return index


def with_damage(
    packets: Iterable[Packet | AuxiliaryPacket | BitstreamError],
) -> Iterator[Packet | AuxiliaryPacket | BitstreamError]:
    """The packets, with the errors that reading them raises among them, as long as that goes on."""
    source = iter(packets)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            return
        except BitstreamError as error:
            packet = error
        yield packet
