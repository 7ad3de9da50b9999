"""What a .bcv file says of itself, read without decoding a picture."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, BinaryIO

from bcodec.bitstream import (
    FORMAT_VERSION,
    MAX_FRAMES,
    MAX_GOP_SIZE,
    AuxiliaryPacket,
    BitstreamReader,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
)
from bcodec.bitstream.extras import Extras
from bcodec.bitstream.light import Light
from bcodec.bitstream.sidecar import HEADER, SideData
from bcodec.errors import BitstreamError
from bcodec.pipeline.colour import MATRICES, PRIMARIES, TRANSFERS, name
from bcodec.pipeline.tally import readable_rate

COLOUR_RANGES = ("unspecified", "limited", "full")
CHROMA_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")

TABLE_HEAD = "type  layer  frames      qp        kB  share  bits/frame"


@dataclass
class Layer:
    """The frames of one type and temporal layer: their number, the bytes of their packets, their qp."""

    frame_type: FrameType
    temporal_layer: int
    lowest_qp: int
    highest_qp: int
    frames: int = 0
    bytes: int = 0

    def add(self, header: PacketHeader, size: int) -> None:
        """Count a frame whose packet has `size` bytes."""
        self.frames += 1
        self.bytes += size
        self.lowest_qp = min(self.lowest_qp, header.qp)
        self.highest_qp = max(self.highest_qp, header.qp)

    def to_row(self, whole: int) -> str:
        """Lay out one line of a table; `whole` is the bytes of all frames."""
        lowest, highest = self.lowest_qp, self.highest_qp
        span = f"{lowest}" if lowest == highest else f"{lowest}..{highest}"
        return (
            f"{self.frame_type.name:<4}  {self.temporal_layer:>5}  {self.frames:>6}  {span:>6}"
            f"  {self.bytes / 1000:>8.1f}  {self.bytes / whole:>5.0%}  {self.bytes * 8 / self.frames:>10.0f}"
        )


@dataclass
class StreamSummary:
    """One stream of side data: what it is, its packets (the header is one) and their bytes."""

    description: str
    packets: int = 0
    bytes: int = 0


@dataclass
class Inspection:
    """A file as far as it is sound; `damage` is what ended the reading too early, None if nothing did."""

    header: SequenceHeader
    bytes: int = 0
    i_frames: list[int] = field(default_factory=list)  # poc
    layers: list[Layer] = field(default_factory=list)  # I frames first, then by temporal layer
    end: Fraction = Fraction(0)  # of the last picture, in seconds since the first is shown
    varies: bool = False  # whether pictures are shown at other times than at the nominal rate
    gop: list[PacketHeader] = field(default_factory=list)  # the first, from anchor to anchor, by poc
    tags: dict[str, str] = field(default_factory=dict)
    streams: dict[int, StreamSummary] = field(default_factory=dict)
    extras: Extras = field(default_factory=Extras)
    damage: BitstreamError | None = None

    @property
    def frames(self) -> int:
        """Frames in the file."""
        return sum(layer.frames for layer in self.layers)

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.end)

    @property
    def average_rate(self) -> float:
        """Frames a second; the nominal rate without frames."""
        return float(self.frames / self.end if self.end else self.header.video.frame_rate)

    @property
    def picture_bytes(self) -> int:
        """Bytes of the packets of the pictures."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def bitrate(self) -> float:
        """Bits per second of the pictures; 0 without frames."""
        return self._per_second(self.picture_bytes)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the pictures per luma sample; 0 without frames."""
        samples = self.header.video.width * self.header.video.height * self.frames
        return self.picture_bytes * 8 / samples if samples else 0.0

    def _per_second(self, count: int) -> float:
        return float(count * 8 / self.end) if self.end else 0.0

    def note(self, packet: AuxiliaryPacket, size: int) -> None:
        """Count a packet of side data of `size` bytes, and read it if it is a header."""
        if not packet.stream and not packet.flags & HEADER:
            with suppress(BitstreamError):
                self.extras.read(packet)
        if packet.flags & HEADER:
            found = SideData.of([packet])
            self.tags.update(found.file.tags)
            names = [*map(str, found.streams.values()), *found.notices] or ["the file's tags"]
            self.streams[packet.stream] = StreamSummary(names[0])
        unknown = f"stream {packet.stream} of unknown kind" if packet.stream else "the file itself"
        of = self.streams.setdefault(packet.stream, StreamSummary(unknown))
        of.packets += 1
        of.bytes += size

    def note_time(self, packet: Packet) -> None:
        """Count the time for which a picture is shown."""
        video = self.header.video
        self.end = max(self.end, video.time(packet.header.poc, packet.delay) + 1 / video.frame_rate)
        self.varies |= video.is_irregular(packet.delay)

    def to_dict(self) -> dict[str, Any]:
        """Everything in the words of JSON."""
        header, video = self.header, self.header.video
        return {
            "bytes": self.bytes,
            "picture_bytes": self.picture_bytes,
            "width": video.width,
            "height": video.height,
            "bit_depth": video.bit_depth,
            "frames": self.frames,
            "frame_rate": str(video.frame_rate),
            "average_frame_rate": self.average_rate,
            "variable_frame_rate": self.varies,
            "duration": self.duration,
            "bitrate": self.bitrate,
            "bits_per_pixel": self.bits_per_pixel,
            "gop_size": header.gop_size,
            "i_frames": self.i_frames,
            "layers": [
                {
                    "frame_type": layer.frame_type.name,
                    "temporal_layer": layer.temporal_layer,
                    "frames": layer.frames,
                    "bits": layer.bytes * 8,
                    "qp": [layer.lowest_qp, layer.highest_qp],
                }
                for layer in self.layers
            ],
            "first_gop": [[frame.poc, frame.frame_type.name, frame.temporal_layer] for frame in self.gop],
            "streams": [
                {"index": index, "description": s.description, "packets": s.packets, "bytes": s.bytes}
                for index, s in self.streams.items()
            ],
            "tags": self.tags,
            "chapters": [
                {"begin": float(c.begin), "end": float(c.end), "title": c.tags.get("title", "")}
                for c in self.extras.chapters
            ],
            "attachments": [
                {"name": a.name, "cover": a.is_cover, "bytes": len(a.data)} for a in self.extras.attachments
            ],
            "format_version": FORMAT_VERSION,
            "arithmetic_version": header.arithmetic_version,
            "model_id": header.model_id.hex(),
            "colour": {
                "range": COLOUR_RANGES[video.colour_range],
                "primaries": video.colour_primaries,
                "transfer": video.colour_transfer,
                "matrix": video.colour_matrix,
                "chroma_location": CHROMA_LOCATIONS[video.chroma_location],
            },
            "light": asdict(self.extras.light) if self.extras.light != Light() else None,
            "sample_aspect_ratio": str(video.sample_aspect_ratio),
            "rotation": video.rotation,
            "damage": self.damage and str(self.damage),
        }

    def _gop_in_words(self) -> str:
        size, distances = self.header.gop_size, [b - a for a, b in pairwise(self.i_frames)]
        if size == 1:
            return "all I frames"
        if max(distances, default=0) <= size:
            return f"an I frame every {size} frames"
        return f"an anchor every {size} frames, I frames at most {max(distances)} apart"

    def _rate_in_words(self) -> str:
        rate = self.header.video.frame_rate
        if self.varies:
            return (
                f"variable, {self.average_rate:.6g} frames/s on average ({rate} where times cannot be kept)"
            )
        return f"constant, {float(rate):.6g} frames/s ({rate})"

    def to_text(self) -> str:
        """Everything in lines to read."""
        header, video = self.header, self.header.video
        chroma, aspect = CHROMA_LOCATIONS[video.chroma_location], video.sample_aspect_ratio or "unknown"
        rows = {
            "size": f"{readable_bytes(self.bytes)} in all",
            "video": f"{video.width}x{video.height}, {video.bit_depth}-bit 4:2:0, chroma {chroma}",
            "rate": self._rate_in_words(),
            "frames": f"{self.frames} in {self.duration:.2f} s, {len(self.i_frames)} of them I frames",
            "pictures": f"{readable_bytes(self.picture_bytes)}, {readable_rate(self.bitrate)},"
            f" {self.bits_per_pixel:.4f} bits/pixel",
            "GOP": self._gop_in_words(),
            "colour": f"range {COLOUR_RANGES[video.colour_range]},"
            f" matrix {name(video.colour_matrix, MATRICES)},"
            f" primaries {name(video.colour_primaries, PRIMARIES)},"
            f" transfer {name(video.colour_transfer, TRANSFERS)}",
            "shape": f"sample aspect ratio {aspect}, rotated by {video.rotation} degrees",
            "model": f"{header.model_id.hex()}, arithmetic version {header.arithmetic_version}",
        }
        if light := str(self.extras.light):
            rows["light"] = light
        rows = {_printable(key): _printable(value) for key, value in self.tags.items()} | rows
        extras = [
            f"chapter  {float(chapter.begin):.2f} s {_printable(chapter.tags.get('title', ''))}".rstrip()
            for chapter in self.extras.chapters
        ] + [
            f"{'beside':<8} {_printable(str(attached))}: {readable_bytes(len(attached.data))}"
            for attached in self.extras.attachments
        ]
        streams = [
            f"{'beside':<8} {_printable(s.description)}: {s.packets} packets, {readable_bytes(s.bytes)},"
            f" {readable_rate(self._per_second(s.bytes))}"
            for s in self.streams.values()
        ]
        layers = [layer.to_row(self.picture_bytes) for layer in self.layers]
        lines = [f"{key:<8} {value}" for key, value in rows.items()]
        return "\n".join([*lines, *extras, *streams, TABLE_HEAD, *layers, *draw(self.gop)])


def draw(gop: list[PacketHeader]) -> list[str]:
    """Draw frames, given by poc, in lines: a column each, in the row of its temporal layer."""
    if not gop:
        return []
    lines = [f"the first GOP, poc {gop[0].poc} to {gop[-1].poc}, a column a frame:"]
    for layer in range(max(frame.temporal_layer for frame in gop) + 1):
        row = "".join(f.frame_type.name if f.temporal_layer == layer else " " for f in gop)
        lines.append(f"{layer:>6}  {row.rstrip()}")
    return lines


def readable_bytes(count: int) -> str:
    """Give a number of bytes in MB or kB, or as it is."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1000:.1f} kB"


def _printable(text: str) -> str:
    """Words of a file, cut short and without what would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:60])


def inspect(file: BinaryIO) -> Inspection:
    """Read a .bcv file or pipe to its end, and check it all on the way.

    Raises BitstreamError only where the sequence header cannot be read; later damage is noted.
    """
    reader = BitstreamReader(file)
    result = Inspection(reader.header, reader.last_size)
    layers: dict[tuple[FrameType, int], Layer] = {}
    first: dict[int, PacketHeader] = {}
    try:
        for packet in reader:
            result.bytes += reader.last_size
            if isinstance(packet, Packet):
                header = packet.header
                result.note_time(packet)
                kind = header.frame_type, header.temporal_layer
                layers.setdefault(kind, Layer(*kind, header.qp, header.qp)).add(header, reader.last_size)
                if len(first) <= 2 * MAX_GOP_SIZE:
                    first[header.poc] = header
                if header.frame_type is FrameType.I:
                    result.i_frames.append(header.poc)
            else:
                result.note(packet, reader.last_size)
        result.bytes += reader.last_size  # of the trailer
    except BitstreamError as damage:
        result.damage = damage
    result.layers = [layers[kind] for kind in sorted(layers)]
    anchors = sorted(poc for poc, header in first.items() if not header.temporal_layer)
    begin, end = [*anchors, MAX_FRAMES, MAX_FRAMES][:2]
    result.gop = [first[poc] for poc in sorted(first) if begin <= poc <= end]
    return result
