"""What a .bcv file consists of: headers, packets and the index, each valid once it is there."""

from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction

from bcodec.errors import BitstreamError

MIN_SIDE = 16  # width and height, in pixels
MAX_SIDE = 8192
MAX_AREA = 8192 * 4320
MAX_GOP_SIZE = 64
MAX_TEMPORAL_LAYER = 7
MAX_QP = 63
CHROMA_OFFSETS = range(-12, 20, 4)  # from a frame's qp to that of its chroma
MAX_FRAMES = 1 << 24  # in one file; 77 hours at 60 frames a second
MAX_PAYLOAD = 1 << 26  # bytes in one frame or auxiliary packet
MAX_DELAY = 1 << 40  # units of the time base; 12 days at a nanosecond each


class FrameType(IntEnum):
    """Intra, or predicted from two references."""

    I = 0  # noqa: E741, the standards' name
    B = 1


def check(name: str, value: int, low: int, high: int) -> None:
    """Raise BitstreamError for a value outside low..high."""
    if not low <= value <= high:
        raise BitstreamError(f"{name} is {value}, outside {low}..{high}")


@dataclass(frozen=True)
class VideoFormat:
    """How the decoded pictures are to be shown. Raises BitstreamError for a value out of range.

    Width and height in pixels: 16..8192, their product at most 8192 * 4320. Rate in Hz (nominal where
    it varies), time base in seconds, numerators and denominators below 2^32; a sample aspect ratio of 0 is
    unknown. Colour codes as in H.273 (2 is unspecified) and FFmpeg. Rotation in degrees, 0..359; bits of a
    sample 8 or 10.
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
    bit_depth: int = 8

    def __post_init__(self) -> None:
        check("width", self.width, MIN_SIDE, MAX_SIDE)
        check("height", self.height, MIN_SIDE, MAX_SIDE)
        check("width times height", self.width * self.height, MIN_SIDE**2, MAX_AREA)
        for name in ("frame_rate", "time_base", "sample_aspect_ratio"):
            fraction: Fraction = getattr(self, name)
            unknown_is_zero = name == "sample_aspect_ratio"
            check(f"{name} numerator", fraction.numerator, 0 if unknown_is_zero else 1, 2**32 - 1)
            check(f"{name} denominator", fraction.denominator, 1, 2**32 - 1)
        check("colour_range", self.colour_range, 0, 2)
        for name in ("colour_primaries", "colour_transfer", "colour_matrix"):
            check(name, getattr(self, name), 0, 255)
        check("chroma_location", self.chroma_location, 0, 6)
        check("rotation", self.rotation, 0, 359)
        if self.bit_depth not in (8, 10):
            raise BitstreamError(f"bit_depth is {self.bit_depth}, neither 8 nor 10")

    def time(self, poc: int, delay: int) -> Fraction:
        """When a picture is shown, in seconds since that of poc 0."""
        return (self._nearest(poc) + delay) * self.time_base if delay else poc / self.frame_rate

    def delay(self, poc: int, time: Fraction) -> int:
        """That of a picture shown at `time`, which its `time` then is, or within half a time base of it."""
        return round(time / self.time_base) - self._nearest(poc)

    def is_irregular(self, delay: int) -> bool:
        """Whether a delay is more than the rounding of times: a half of the nominal period."""
        return 2 * abs(delay) * self.time_base * self.frame_rate >= 1

    def _nearest(self, poc: int) -> int:
        return round(poc / (self.frame_rate * self.time_base))


@dataclass(frozen=True)
class SequenceHeader:
    """What holds for the whole file. Raises BitstreamError for a value out of range.

    `gop_size` 1..64; `arithmetic_version` 0..65535; `model_id` the first 8 bytes of the weights' SHA-256.
    """

    video: VideoFormat
    gop_size: int
    arithmetic_version: int
    model_id: bytes

    def __post_init__(self) -> None:
        check("gop_size", self.gop_size, 1, MAX_GOP_SIZE)
        check("arithmetic_version", self.arithmetic_version, 0, 2**16 - 1)
        check("length of model_id", len(self.model_id), 8, 8)


@dataclass(frozen=True)
class PacketHeader:
    """What the decoder knows of a frame before it reads the payload.

    `poc` 0..2^24 - 1; `temporal_layer` 0..7; `qp` 0..63; `referenced`: later frames may refer to this one;
    `chroma_offset`: -12, -8, .. 16. Raises BitstreamError for a value out of range.
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
        return min(max(self.qp + self.chroma_offset, 0), MAX_QP)

    def __post_init__(self) -> None:
        check("poc", self.poc, 0, MAX_FRAMES - 1)
        check("temporal_layer", self.temporal_layer, 0, MAX_TEMPORAL_LAYER)
        check("qp", self.qp, 0, MAX_QP)
        if self.chroma_offset not in CHROMA_OFFSETS:
            raise BitstreamError(f"chroma_offset is {self.chroma_offset}, not one of {[*CHROMA_OFFSETS]}")


@dataclass(frozen=True)
class Packet:
    """One coded frame: header, at most 2^26 range-coded bytes, and the 16-bit hash of the decoded picture.

    `delay`, in units of the time base: by how much the picture is shown later than at a constant rate, up to
    2^40 either way; VideoFormat.time tells when that is. Raises BitstreamError for a value out of range.
    """

    header: PacketHeader
    payload: bytes = field(repr=False)
    picture_hash: int
    delay: int = 0

    def __post_init__(self) -> None:
        check("length of payload", len(self.payload), 0, MAX_PAYLOAD)
        check("picture_hash", self.picture_hash, 0, 2**16 - 1)
        check("delay", self.delay, -MAX_DELAY, MAX_DELAY)


@dataclass(frozen=True)
class AuxiliaryPacket:
    """Side data (sound, headers of streams, tags): what it means is in bcodec.bitstream.sidecar.

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
        check("stream", self.stream, 0, 255)
        check("flags", self.flags, 0, 255)
        check("pts", self.pts, -(2**63), 2**63 - 1)
        check("dts", self.dts, -(2**63), 2**63 - 1)
        check("duration", self.duration, 0, 2**63 - 1)
        check("length of payload", len(self.payload), 0, MAX_PAYLOAD)


@dataclass(frozen=True)
class IndexEntry:
    """Where the packet of one I frame begins: display index, and byte offset from the start of the file."""

    poc: int
    offset: int


@dataclass
class Index:
    """The number of frames in a file, and an entry for each I frame, ascending in poc and offset."""

    frame_count: int = 0
    entries: list[IndexEntry] = field(default_factory=list)

    def add(self, header: PacketHeader, offset: int) -> None:
        """Count a frame with its packet at byte `offset`; raises BitstreamError if I frames do not ascend."""
        check("number of frames", self.frame_count + 1, 1, MAX_FRAMES)
        if header.frame_type is FrameType.I:
            if self.entries and header.poc <= self.entries[-1].poc:
                raise BitstreamError(f"I frame {header.poc} comes after I frame {self.entries[-1].poc}")
            self.entries.append(IndexEntry(header.poc, offset))
        self.frame_count += 1
