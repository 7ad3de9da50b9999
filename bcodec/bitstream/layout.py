"""The bytes of headers, packets and index, to write and to read: what the table of bcodec.bitstream says."""

import io
import os
import re
import struct
from collections.abc import Callable
from enum import IntEnum
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import BinaryIO, TypeVar
from zlib import crc32

from bcodec.bitstream.records import (
    CHROMA_OFFSETS,
    MAX_FRAMES,
    AuxiliaryPacket,
    FrameType,
    Index,
    IndexEntry,
    Packet,
    PacketHeader,
    SequenceHeader,
    VideoFormat,
    check,
)
from bcodec.bitstream.versions import FORMAT_VERSION, decoder_of
from bcodec.errors import BitstreamError, Corrupt, NotBcv, Truncated, UnsupportedVersion

_MAGIC = b"\x89BCV"
_FOOTER_MAGIC = b"BCVE"
_CHROMA_420 = 1

_VERSION = struct.Struct("<H")
_HEADER = struct.Struct("<4sHH8sHH8BH6I")
_CRC = struct.Struct("<I")
_SHORT_CRC = struct.Struct("<H")
_FRAME = struct.Struct("<BBH")
_AUXILIARY = struct.Struct("<BBqqQ")
_FOOTER = struct.Struct("<I4s")

_MAX_BODY = 1 << 27  # bytes; a trailer with MAX_FRAMES I frames is the longest
_DELAYED = 1 << 6  # a flag beside the qp
_CHUNK = 1 << 20  # of a length that is false, no more than this is allocated
_MIN_FRAME = 9  # bytes in a frame packet without payload

_PLAUSIBLE = 1 << 24  # bytes of a body that is looked for behind damage
_LONGEST_START = 10  # bytes of a packet before its body

_BEFORE_FIRST = IndexEntry(-1, 0)

_T = TypeVar("_T")


class PacketKind(IntEnum):
    """The first byte of a packet."""

    FRAME = 0xBC
    AUXILIARY = 0xBD
    TRAILER = 0xBE


_KINDS = re.compile(b"[%b]" % bytes(PacketKind))


class ByteSource:
    """Bytes from a file or a pipe, with the position counted here: a pipe cannot tell.

    What has been read since the last mark is kept: `find_packet` goes back to it, in a pipe, too.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0
        self._kept = bytearray()
        self._place = 0  # in what is kept, of the byte at the position

    def move(self, offset: int) -> None:
        """Go to a byte of the file."""
        self.position = self.file.seek(offset)
        self._kept, self._place = bytearray(), 0

    def mark(self) -> None:
        """Forget what lies before the position."""
        del self._kept[: self._place]
        self._place = 0

    def take(self, size: int) -> bytes:
        """Read exactly `size` bytes, however few the file gives at a time; raises Truncated."""
        begin, end = self._place, self._place + size
        if not self._has(end):
            raise Truncated("unexpected end")
        self._go(end)
        return bytes(self._kept[begin:end])

    def rest(self) -> bytes:
        """Read all that is left of it, in memory."""
        data = bytes(self._kept[self._place :]) + self.file.read()
        self.position += len(data)
        return data

    def at_end(self) -> bool:
        """Whether nothing is left; it may wait for more."""
        return not self._has(self._place + 1)

    def find_packet(self) -> bool:
        """Go from behind the mark to the next sound packet, which another one or the end follows, if any."""
        self._go(1)
        while self._has(self._place + 1):
            found = _KINDS.search(self._kept, self._place)
            self._go(found.start() if found else len(self._kept))
            self.mark()
            if found:
                end = self._end_of_packet(0)
                if end and (
                    self._kept[0] == PacketKind.TRAILER or not self._has(end + 1) or self._end_of_packet(end)
                ):
                    return True
                self._go(1)
        return False

    def _end_of_packet(self, place: int) -> int | None:
        """Where in what is kept a packet ends; None if no sound one begins at `place`."""
        self._has(place + _LONGEST_START)
        start = ByteSource(io.BytesIO(self._kept[place : place + _LONGEST_START]))
        try:
            (kind,) = start.take(1)
            length = start.varint()
        except BitstreamError:
            return None
        body = place + start.position
        end = body + length
        if kind not in bytes(PacketKind) or length > _PLAUSIBLE or not self._has(end + _SHORT_CRC.size):
            return None
        checksum = self._kept[end : end + _SHORT_CRC.size]
        follows = self._kept[end + _SHORT_CRC.size : end + _SHORT_CRC.size + 1]
        if follows and not (_KINDS.match(follows) or kind == PacketKind.TRAILER):  # sooner seen than a sum
            return None
        sound = _SHORT_CRC.pack(crc32(memoryview(self._kept)[place:end]) & 0xFFFF) == checksum
        return end + _SHORT_CRC.size if sound else None

    def _has(self, size: int) -> bool:
        """Whether so many bytes can be kept."""
        while len(self._kept) < size:
            chunk = self.file.read(min(size - len(self._kept), _CHUNK))
            if not chunk:
                return False
            self._kept += chunk
        return True

    def _go(self, place: int) -> None:
        self.position += place - self._place
        self._place = place

    def varint(self) -> int:
        """Read a varint; raises Truncated or Corrupt."""
        value = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise Corrupt("a varint is longer than needed")
                return value
        raise Corrupt("a varint does not end")

    def signed_varint(self) -> int:
        """Read a varint with a sign; raises Truncated or Corrupt."""
        value = self.varint()
        return -(value >> 1) - 1 if value & 1 else value >> 1


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def signed_varint(value: int) -> bytes:
    """A varint whose lowest bit is the sign."""
    return varint(-2 * value - 1 if value < 0 else 2 * value)


def header_to_bytes(header: SequenceHeader) -> bytes:
    """The sequence header with its checksum."""
    video = header.video
    data = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.arithmetic_version,
        header.model_id,
        video.width,
        video.height,
        video.bit_depth,
        _CHROMA_420,
        header.gop_size,
        video.colour_range,
        video.colour_primaries,
        video.colour_transfer,
        video.colour_matrix,
        video.chroma_location,
        video.rotation,
        *video.frame_rate.as_integer_ratio(),
        *video.time_base.as_integer_ratio(),
        *video.sample_aspect_ratio.as_integer_ratio(),
    )
    return data + _CRC.pack(crc32(data))


def read_header(source: ByteSource) -> SequenceHeader:
    """Read the sequence header; raises NotBcv, UnsupportedVersion, Truncated or Corrupt."""
    try:
        magic = source.take(len(_MAGIC))
        if magic != _MAGIC:
            raise NotBcv("this is not a .bcv file")
        (version,) = _VERSION.unpack(source.take(_VERSION.size))
        if version != FORMAT_VERSION:
            raise UnsupportedVersion(
                f"the file is of format version {version}, and this reader knows version {FORMAT_VERSION};"
                f" {decoder_of(version)}"
            )
        start = magic + _VERSION.pack(version)
        data = start + source.take(_HEADER.size - len(start))
        checksum = source.take(_CRC.size)
    except Truncated:
        raise Truncated("the file is cut short: it ends inside the sequence header") from None
    if checksum != _CRC.pack(crc32(data)):
        raise Corrupt("damaged sequence header: wrong checksum")
    try:
        return _header_from_bytes(data)
    except BitstreamError as error:
        raise Corrupt(f"damaged sequence header: {error}") from error


def _header_from_bytes(data: bytes) -> SequenceHeader:
    _, _, arithmetic, model_id, width, height, depth, chroma, gop_size, *rest = _HEADER.unpack(data)
    *colour_and_rotation, rate, rate_den, base, base_den, aspect, aspect_den = rest
    check("chroma format", chroma, _CHROMA_420, _CHROMA_420)
    for denominator in (rate_den, base_den, aspect_den):
        check("denominator", denominator, 1, 2**32 - 1)
    video = VideoFormat(
        width,
        height,
        Fraction(rate, rate_den),
        Fraction(base, base_den),
        Fraction(aspect, aspect_den),
        *[*colour_and_rotation, depth],
    )
    return SequenceHeader(video, gop_size, arithmetic, model_id)


def _packet_start(kind: PacketKind, length: int) -> bytes:
    return bytes([kind]) + varint(length)


def packet_to_bytes(kind: PacketKind, body: bytes) -> bytes:
    """A packet of any kind."""
    start = _packet_start(kind, len(body))
    return start + body + _packet_checksum(start, body)


def _packet_checksum(start: bytes, body: bytes) -> bytes:
    # Half a CRC-32 is enough: the picture of a frame has its own hash.
    return _SHORT_CRC.pack(crc32(body, crc32(start)) & 0xFFFF)


def read_packet(source: ByteSource) -> tuple[PacketKind, bytes]:
    """Read the kind and body of a packet; raises BitstreamError where it is damaged or cut short."""
    (kind,) = source.take(1)
    check("kind of packet", kind, min(PacketKind), max(PacketKind))
    length = source.varint()
    check("length of packet", length, 0, _MAX_BODY)
    body = source.take(length)
    if source.take(_SHORT_CRC.size) != _packet_checksum(_packet_start(PacketKind(kind), length), body):
        raise Corrupt("wrong checksum")
    return PacketKind(kind), body


def parse(read: Callable[[ByteSource], _T], body: bytes) -> _T:
    """What `read` makes of all of a body; raises Corrupt where it is of another length."""
    source = ByteSource(io.BytesIO(body))
    try:
        result = read(source)
    except Truncated:
        raise Corrupt("the body is too short") from None
    if not source.at_end():
        raise Corrupt("the body is too long")
    return result


def frame_to_bytes(packet: Packet) -> bytes:
    """The body of a frame packet."""
    header = packet.header
    chroma = CHROMA_OFFSETS.index(header.chroma_offset)
    flags = header.frame_type | header.referenced << 1 | header.temporal_layer << 2 | chroma << 5
    qp, delay = (header.qp | _DELAYED, signed_varint(packet.delay)) if packet.delay else (header.qp, b"")
    return varint(header.poc) + _FRAME.pack(flags, qp, packet.picture_hash) + delay + packet.payload


def read_frame(source: ByteSource) -> Packet:
    """Read the body of a frame packet to its end."""
    poc = source.varint()
    flags, qp, picture_hash = _FRAME.unpack(source.take(_FRAME.size))
    delay = source.signed_varint() if qp & _DELAYED else 0
    layer, chroma = flags >> 2 & 7, CHROMA_OFFSETS[flags >> 5]
    header = PacketHeader(poc, FrameType(flags & 1), layer, qp & ~_DELAYED, bool(flags & 2), chroma)
    return Packet(header, source.rest(), picture_hash, delay)


def auxiliary_to_bytes(packet: AuxiliaryPacket) -> bytes:
    """The body of an auxiliary packet."""
    fields = packet.stream, packet.flags, packet.pts, packet.dts, packet.duration
    return _AUXILIARY.pack(*fields) + packet.payload


def read_auxiliary(source: ByteSource) -> AuxiliaryPacket:
    """Read the body of an auxiliary packet to its end."""
    stream, flags, pts, dts, duration = _AUXILIARY.unpack(source.take(_AUXILIARY.size))
    return AuxiliaryPacket(stream, flags, pts, dts, duration, source.rest())


def index_to_bytes(index: Index) -> bytes:
    """The body of the trailer packet."""
    data = bytearray(varint(index.frame_count) + varint(len(index.entries)))
    for before, entry in pairwise([_BEFORE_FIRST, *index.entries]):
        data += varint(entry.poc - before.poc) + varint(entry.offset - before.offset)
    return bytes(data)


def read_index(source: ByteSource, limit: int) -> Index:
    """Read the body of a trailer packet at byte `limit`; raises BitstreamError for what cannot be."""
    index = Index(source.varint())
    check("number of frames", index.frame_count, 0, MAX_FRAMES)
    count = source.varint()
    check("number of I frames", count, 0, index.frame_count)
    entry = _BEFORE_FIRST
    for _ in range(count):
        poc, offset = entry.poc + source.varint(), entry.offset + source.varint()
        check("poc in the index", poc, entry.poc + 1, MAX_FRAMES - 1)
        # each step is at least a packet, so that the entries are never more than the file could hold
        check("offset in the index", offset, entry.offset + _MIN_FRAME, limit - _MIN_FRAME)
        entry = IndexEntry(poc, offset)
        index.entries.append(entry)
    return index


def footer_to_bytes(length: int) -> bytes:
    """The footer behind a trailer packet of `length` bytes."""
    return _FOOTER.pack(length, _FOOTER_MAGIC)


def index_from_trailer(source: ByteSource) -> Index:
    """The index from the end of the file; raises BitstreamError where the trailer is not sound."""
    end = source.file.seek(0, os.SEEK_END) - _FOOTER.size
    source.move(max(end, 0))
    length, magic = _FOOTER.unpack(source.take(_FOOTER.size))
    if magic != _FOOTER_MAGIC or length > end:
        raise Corrupt("no footer")
    source.move(end - length)
    kind, body = read_packet(source)
    if kind is not PacketKind.TRAILER or source.position != end:
        raise Corrupt("the footer does not lead to a trailer")
    return parse(partial(read_index, limit=end - length), body)
