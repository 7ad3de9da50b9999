"""The .bcv container: sequence header, packets, trailer. Little-endian; writing and reading need no seek.

    file      = sequence header, packet*, trailer packet, footer

    sequence header, 58 bytes
       0   4  magic 89 42 43 56 ("\\x89BCV")
       4   2  format version (3)
       6   2  arithmetic version
       8   8  model id: first 8 bytes of the weights' SHA-256
      16   2  width                       18   2  height
      20   1  bit depth (8, 10)           21   1  chroma format (1 = 4:2:0)
      22   1  GOP size (1..64)            23   1  colour range (0 unspecified, 1 limited, 2 full)
      24   1  colour primaries            25   1  transfer characteristics       (24..26 as in H.273)
      26   1  matrix coefficients         27   1  chroma location (0 unspecified, FFmpeg's 1..6)
      28   2  rotation in degrees (0..359)
      30   8  frame rate                  38   8  time base        (each numerator, then denominator)
      46   8  sample aspect ratio (0/1 = unknown)
      54   4  CRC-32 of bytes 0..53

    packet, any kind
       0   1  kind: BC frame, BD auxiliary, BE trailer
       1   v  length of the body
           n  body
           2  lower half of the CRC-32 of everything from the kind to the end of the body

    body of a frame packet                      body of an auxiliary packet
       0   v  poc                                  0   1  stream index
           1  bit 0     frame type (0 I, 1 B)      1   1  flags
              bit 1     referenced                 2   8  pts, signed
              bits 2-4  temporal layer            10   8  dts, signed
              bits 5-7  offset of chroma's qp     18   8  duration
           1  qp (0..63)                          26   m  payload
           4  hash of the decoded picture
           m  payload

    body of the trailer packet                  footer, 8 bytes
       0   v  number of frames                     0   4  length of the trailer packet
           v  number of I frames                   4   4  magic "BCVE"
           and for each I frame:
           v  poc, less that of the one before (the first: less -1)
           v  byte offset of its packet in the file, less that of the one before

The offset of chroma's qp from the frame's is four times these three bits.
v is a varint: seven bits a byte, lowest first, the high bit set on all bytes but the last, never longer than
needed. n is the length of the body, m what is left of it. I frames come in ascending poc.
A frame packet is its payload and 11 to 17 bytes more.

To decode from the I frame of poc a on, begin at its packet and drop the B frames with poc < a that follow:
they lead it in display order, and their past is missing.
"""

import io
import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from functools import cached_property, partial
from itertools import pairwise
from types import TracebackType
from typing import BinaryIO, Self, TypeVar
from zlib import crc32

FORMAT_VERSION = 3

MIN_SIDE = 16  # width and height, in pixels
MAX_SIDE = 8192
MAX_AREA = 8192 * 4320
MAX_GOP_SIZE = 64
MAX_TEMPORAL_LAYER = 7
MAX_QP = 63
CHROMA_OFFSETS = range(0, 32, 4)  # from a frame's qp to that of its chroma
MAX_FRAMES = 1 << 24  # in one file; 77 hours at 60 frames a second
MAX_PAYLOAD = 1 << 26  # bytes in one frame or auxiliary packet
MAX_BODY = 1 << 27  # bytes; a trailer with MAX_FRAMES I frames is the longest

_MAGIC = b"\x89BCV"
_FOOTER_MAGIC = b"BCVE"
_CHROMA_420 = 1

_VERSION = struct.Struct("<H")
_HEADER = struct.Struct("<4sHH8sHH8BH6I")
_CRC = struct.Struct("<I")
_SHORT_CRC = struct.Struct("<H")
_FRAME = struct.Struct("<BBI")
_AUXILIARY = struct.Struct("<BBqqQ")
_FOOTER = struct.Struct("<I4s")

_CHUNK = 1 << 20  # of a length that is false, no more than this is allocated
_MIN_FRAME = 11  # bytes in a frame packet without payload

_T = TypeVar("_T")


class BitstreamError(ValueError):
    """The bitstream cannot be read or written as asked."""


class NotBcv(BitstreamError):
    """The file does not begin as a .bcv file does."""


class UnsupportedVersion(BitstreamError):
    """The file is of a format version that this reader does not know."""


class Truncated(BitstreamError):
    """The file ends before its trailer does."""


class Corrupt(BitstreamError):
    """The file holds something that no writer wrote."""


class FrameType(IntEnum):
    """Intra, or predicted from two references."""

    I = 0  # noqa: E741, the standards' name
    B = 1


class _Kind(IntEnum):
    FRAME = 0xBC
    AUXILIARY = 0xBD
    TRAILER = 0xBE


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BitstreamError(f"{name} is {value}, outside {low}..{high}")


@dataclass(frozen=True)
class VideoFormat:
    """How the decoded pictures are to be shown. Raises BitstreamError for a value out of range.

    Width and height in pixels: 16..8192, their product at most 8192 * 4320. Rate in Hz, time base in seconds,
    numerators and denominators below 2^32; a sample aspect ratio of 0 is unknown. Colour codes as in H.273 (2
    is unspecified) and FFmpeg. Rotation in degrees, 0..359.
    """

    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction = Fraction(1)
    colour_range: int = 0
    colour_primaries: int = 2
    colour_transfer: int = 2
    colour_matrix: int = 2
    chroma_location: int = 0
    rotation: int = 0

    def __post_init__(self) -> None:
        _check("width", self.width, MIN_SIDE, MAX_SIDE)
        _check("height", self.height, MIN_SIDE, MAX_SIDE)
        _check("width times height", self.width * self.height, MIN_SIDE**2, MAX_AREA)
        for name in ("frame_rate", "time_base", "sample_aspect_ratio"):
            fraction: Fraction = getattr(self, name)
            unknown_is_zero = name == "sample_aspect_ratio"
            _check(f"{name} numerator", fraction.numerator, 0 if unknown_is_zero else 1, 2**32 - 1)
            _check(f"{name} denominator", fraction.denominator, 1, 2**32 - 1)
        _check("colour_range", self.colour_range, 0, 2)
        for name in ("colour_primaries", "colour_transfer", "colour_matrix"):
            _check(name, getattr(self, name), 0, 255)
        _check("chroma_location", self.chroma_location, 0, 6)
        _check("rotation", self.rotation, 0, 359)


@dataclass(frozen=True)
class SequenceHeader:
    """What holds for the whole file. Raises BitstreamError for a value out of range.

    `gop_size` 1..64; `arithmetic_version` 0..65535; `model_id` the first 8 bytes of the weights' SHA-256;
    `bit_depth` 8 or 10.
    """

    video: VideoFormat
    gop_size: int
    arithmetic_version: int
    model_id: bytes
    bit_depth: int = 8

    def __post_init__(self) -> None:
        _check("gop_size", self.gop_size, 1, MAX_GOP_SIZE)
        _check("arithmetic_version", self.arithmetic_version, 0, 2**16 - 1)
        _check("length of model_id", len(self.model_id), 8, 8)
        if self.bit_depth not in (8, 10):
            raise BitstreamError(f"bit_depth is {self.bit_depth}, neither 8 nor 10")


@dataclass(frozen=True)
class PacketHeader:
    """What the decoder knows of a frame before it reads the payload.

    `poc` 0..2^24 - 1; `temporal_layer` 0..7; `qp` 0..63; `referenced`: later frames may refer to this one;
    `chroma_offset`: 0, 4, .. 28. Raises BitstreamError for a value out of range.
    """

    poc: int
    frame_type: FrameType
    temporal_layer: int
    qp: int
    referenced: bool
    chroma_offset: int = 0

    @property
    def chroma_qp(self) -> int:
        """The qp of chroma, 0..63."""
        return min(self.qp + self.chroma_offset, MAX_QP)

    def __post_init__(self) -> None:
        _check("poc", self.poc, 0, MAX_FRAMES - 1)
        _check("temporal_layer", self.temporal_layer, 0, MAX_TEMPORAL_LAYER)
        _check("qp", self.qp, 0, MAX_QP)
        if self.chroma_offset not in CHROMA_OFFSETS:
            raise BitstreamError(f"chroma_offset is {self.chroma_offset}, not one of {[*CHROMA_OFFSETS]}")


@dataclass(frozen=True)
class Packet:
    """One coded frame: header, at most 2^26 range-coded bytes, and the 32-bit hash of the decoded picture.

    Raises BitstreamError for a value out of range.
    """

    header: PacketHeader
    payload: bytes = field(repr=False)
    picture_hash: int

    def __post_init__(self) -> None:
        _check("length of payload", len(self.payload), 0, MAX_PAYLOAD)
        _check("picture_hash", self.picture_hash, 0, 2**32 - 1)


@dataclass(frozen=True)
class AuxiliaryPacket:
    """Data beside the frames (audio, stream headers, metadata); its meaning is agreed per stream.

    `stream` and `flags` 0..255; `pts` and `dts` signed 64-bit and `duration` 0..2^63 - 1, in the stream's own
    time base; at most 2^26 bytes of payload. Raises BitstreamError for a value out of range.
    """

    stream: int
    flags: int
    pts: int
    dts: int
    duration: int
    payload: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check("stream", self.stream, 0, 255)
        _check("flags", self.flags, 0, 255)
        _check("pts", self.pts, -(2**63), 2**63 - 1)
        _check("dts", self.dts, -(2**63), 2**63 - 1)
        _check("duration", self.duration, 0, 2**63 - 1)
        _check("length of payload", len(self.payload), 0, MAX_PAYLOAD)


@dataclass(frozen=True)
class IndexEntry:
    """Where the packet of one I frame begins: display index, and byte offset from the start of the file."""

    poc: int
    offset: int


_BEFORE_FIRST = IndexEntry(-1, 0)


@dataclass
class Index:
    """The number of frames in a file, and an entry for each I frame, ascending in poc and offset."""

    frame_count: int = 0
    entries: list[IndexEntry] = field(default_factory=list)

    def add(self, header: PacketHeader, offset: int) -> None:
        """Count a frame with its packet at byte `offset`; raises BitstreamError if I frames do not ascend."""
        _check("number of frames", self.frame_count + 1, 1, MAX_FRAMES)
        if header.frame_type is FrameType.I:
            if self.entries and header.poc <= self.entries[-1].poc:
                raise BitstreamError(f"I frame {header.poc} comes after I frame {self.entries[-1].poc}")
            self.entries.append(IndexEntry(header.poc, offset))
        self.frame_count += 1


class BitstreamWriter:
    """Writes a .bcv file into `file`, from its first byte on; the file stays the caller's to close.

    As a context manager it closes on success only: after an exception the file has no trailer, and so is
    known to be cut short.
    """

    def __init__(self, file: BinaryIO, header: SequenceHeader) -> None:
        self._file = file
        self._index = Index()
        self._closed = False
        self._position = file.write(_header_to_bytes(header))

    def write(self, packet: Packet | AuxiliaryPacket) -> int:
        """Append a packet and return its size in bytes.

        Raises BitstreamError if the writer is closed, and if I frames do not come in ascending poc.
        """
        if self._closed:
            raise BitstreamError("the bitstream is closed")
        if isinstance(packet, Packet):
            self._index.add(packet.header, self._position)
            return self._append(_packet_to_bytes(_Kind.FRAME, _frame_to_bytes(packet)))
        return self._append(_packet_to_bytes(_Kind.AUXILIARY, _auxiliary_to_bytes(packet)))

    def close(self) -> None:
        """Write the trailer; a second call does nothing."""
        if not self._closed:
            self._closed = True
            trailer = _packet_to_bytes(_Kind.TRAILER, _index_to_bytes(self._index))
            self._append(trailer + _FOOTER.pack(len(trailer), _FOOTER_MAGIC))
            self._file.flush()

    def _append(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()


class BitstreamReader:
    """Reads a .bcv file; iterating yields its packets in coding order.

    `header` is read at once: raises NotBcv, UnsupportedVersion, Truncated or Corrupt. Iteration raises
    Truncated after the last whole packet of a file without a trailer, and Corrupt at the first damaged
    packet. `file` begins with the header, and may be a pipe, but for `index` and `seek`.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._source = _Source(file)
        self.header = _read_header(self._source)
        self._seen: Index | None = Index()  # None once seek has passed over packets
        self._ended = False

    def __iter__(self) -> Iterator[Packet | AuxiliaryPacket]:
        return self

    def __next__(self) -> Packet | AuxiliaryPacket:
        if self._ended:
            raise StopIteration
        offset = self._source.position
        try:
            packet = self._read(offset)
        except Truncated:
            raise Truncated(
                f"the file is cut short: no whole packet at byte {offset}, and no trailer"
            ) from None
        except BitstreamError as error:
            raise Corrupt(f"damaged packet at byte {offset}: {error}") from error
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
            return _index_from_trailer(self._source)
        except BitstreamError:
            return self._index_from_scan()
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
        self._seen, self._ended = None, False
        self._source.move(entry.offset)
        packet = next(self, None)
        header = packet.header if isinstance(packet, Packet) else None
        if header is None or (header.poc, header.frame_type) != (entry.poc, FrameType.I):
            raise Corrupt(f"the index says that I frame {entry.poc} is at byte {entry.offset}, and it is not")
        self._source.move(entry.offset)
        return entry

    def _read(self, offset: int) -> Packet | AuxiliaryPacket | None:
        kind, body = _read_packet(self._source)
        if kind is _Kind.TRAILER:
            self._check_end(body, self._source.position - offset)
            return None
        if kind is _Kind.AUXILIARY:
            return _parse(_read_auxiliary, body)
        packet = _parse(_read_frame, body)
        if self._seen is not None:
            self._seen.add(packet.header, offset)
        return packet

    def _check_end(self, trailer: bytes, length: int) -> None:
        if self._source.take(_FOOTER.size) != _FOOTER.pack(length, _FOOTER_MAGIC):
            raise Corrupt("the footer does not fit the trailer")
        if self._seen is not None and trailer != _index_to_bytes(self._seen):
            raise Corrupt("the trailer does not name the frames that the file holds")
        if self._source.file.read(1):
            raise Corrupt("there is something behind the end")

    def _index_from_scan(self) -> Index:
        self._source.move(0)
        scan, index = BitstreamReader(self._source.file), Index()
        scan._seen = index
        with suppress(BitstreamError):
            for _ in scan:
                pass
        return index


class _Source:
    """Bytes from a file or a pipe, with the position counted here: a pipe cannot tell."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0

    def move(self, offset: int) -> None:
        self.position = self.file.seek(offset)

    def take(self, size: int) -> bytes:
        """Read exactly `size` bytes, however few the file gives at a time; raises Truncated."""
        data = bytearray()
        while len(data) < size:
            chunk = self.file.read(min(size - len(data), _CHUNK))
            if not chunk:
                raise Truncated("unexpected end")
            data += chunk
        self.position += size
        return bytes(data)

    def varint(self) -> int:
        value = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise Corrupt("a varint is longer than needed")
                return value
        raise Corrupt("a varint does not end")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _header_to_bytes(header: SequenceHeader) -> bytes:
    video = header.video
    data = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.arithmetic_version,
        header.model_id,
        video.width,
        video.height,
        header.bit_depth,
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


def _read_header(source: _Source) -> SequenceHeader:
    try:
        magic = source.take(len(_MAGIC))
        if magic != _MAGIC:
            raise NotBcv("this is not a .bcv file")
        (version,) = _VERSION.unpack(source.take(_VERSION.size))
        if version != FORMAT_VERSION:
            raise UnsupportedVersion(
                f"the file is of format version {version}, and this reader knows version {FORMAT_VERSION}"
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
    _check("chroma format", chroma, _CHROMA_420, _CHROMA_420)
    for denominator in (rate_den, base_den, aspect_den):
        _check("denominator", denominator, 1, 2**32 - 1)
    video = VideoFormat(
        width,
        height,
        Fraction(rate, rate_den),
        Fraction(base, base_den),
        Fraction(aspect, aspect_den),
        *colour_and_rotation,
    )
    return SequenceHeader(video, gop_size, arithmetic, model_id, depth)


def _packet_start(kind: _Kind, length: int) -> bytes:
    return bytes([kind]) + _varint(length)


def _packet_to_bytes(kind: _Kind, body: bytes) -> bytes:
    start = _packet_start(kind, len(body))
    return start + body + _packet_checksum(start, body)


def _packet_checksum(start: bytes, body: bytes) -> bytes:
    # Frames have a hash of their picture beside it.
    return _SHORT_CRC.pack(crc32(body, crc32(start)) & 0xFFFF)


def _read_packet(source: _Source) -> tuple[_Kind, bytes]:
    (kind,) = source.take(1)
    _check("kind of packet", kind, min(_Kind), max(_Kind))
    length = source.varint()
    _check("length of packet", length, 0, MAX_BODY)
    body = source.take(length)
    if source.take(_SHORT_CRC.size) != _packet_checksum(_packet_start(_Kind(kind), length), body):
        raise Corrupt("wrong checksum")
    return _Kind(kind), body


def _parse(read: Callable[[_Source], _T], body: bytes) -> _T:
    source = _Source(io.BytesIO(body))
    try:
        result = read(source)
    except Truncated:
        raise Corrupt("the body is too short") from None
    if source.file.read(1):
        raise Corrupt("the body is too long")
    return result


def _frame_to_bytes(packet: Packet) -> bytes:
    header = packet.header
    chroma = CHROMA_OFFSETS.index(header.chroma_offset)
    flags = header.frame_type | header.referenced << 1 | header.temporal_layer << 2 | chroma << 5
    return _varint(header.poc) + _FRAME.pack(flags, header.qp, packet.picture_hash) + packet.payload


def _read_frame(source: _Source) -> Packet:
    poc = source.varint()
    flags, qp, picture_hash = _FRAME.unpack(source.take(_FRAME.size))
    layer, chroma = flags >> 2 & 7, CHROMA_OFFSETS[flags >> 5]
    header = PacketHeader(poc, FrameType(flags & 1), layer, qp, bool(flags & 2), chroma)
    return Packet(header, source.file.read(), picture_hash)


def _auxiliary_to_bytes(packet: AuxiliaryPacket) -> bytes:
    fields = packet.stream, packet.flags, packet.pts, packet.dts, packet.duration
    return _AUXILIARY.pack(*fields) + packet.payload


def _read_auxiliary(source: _Source) -> AuxiliaryPacket:
    stream, flags, pts, dts, duration = _AUXILIARY.unpack(source.take(_AUXILIARY.size))
    return AuxiliaryPacket(stream, flags, pts, dts, duration, source.file.read())


def _index_to_bytes(index: Index) -> bytes:
    data = bytearray(_varint(index.frame_count) + _varint(len(index.entries)))
    for before, entry in pairwise([_BEFORE_FIRST, *index.entries]):
        data += _varint(entry.poc - before.poc) + _varint(entry.offset - before.offset)
    return bytes(data)


def _read_index(source: _Source, limit: int) -> Index:
    index = Index(source.varint())
    _check("number of frames", index.frame_count, 0, MAX_FRAMES)
    count = source.varint()
    _check("number of I frames", count, 0, index.frame_count)
    entry = _BEFORE_FIRST
    for _ in range(count):
        poc, offset = entry.poc + source.varint(), entry.offset + source.varint()
        _check("poc in the index", poc, entry.poc + 1, MAX_FRAMES - 1)
        # each step is at least a packet, so that the entries are never more than the file could hold
        _check("offset in the index", offset, entry.offset + _MIN_FRAME, limit - _MIN_FRAME)
        entry = IndexEntry(poc, offset)
        index.entries.append(entry)
    return index


def _index_from_trailer(source: _Source) -> Index:
    end = source.file.seek(0, os.SEEK_END) - _FOOTER.size
    source.move(max(end, 0))
    length, magic = _FOOTER.unpack(source.take(_FOOTER.size))
    if magic != _FOOTER_MAGIC or length > end:
        raise Corrupt("no footer")
    source.move(end - length)
    kind, body = _read_packet(source)
    if kind is not _Kind.TRAILER or source.position != end:
        raise Corrupt("the footer does not lead to a trailer")
    return _parse(partial(_read_index, limit=end - length), body)
