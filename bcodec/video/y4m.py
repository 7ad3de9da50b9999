"""y4m in, and y4m and bare 4:2:0 planes out, files and pipes."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import BinaryIO

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData
from bcodec.errors import VideoError
from bcodec.frame import Frame, picture_bytes
from bcodec.video.base import FALLBACK_RATE, FULL, INTERLACED, LIMITED, NO_RATE, Damage, TimedFrame, steadily

RAW_SUFFIXES = (".yuv", ".i420")  # of bare planes

UNKNOWN, LEFT, CENTRE, TOP_LEFT = 0, 1, 2, 3  # chroma locations, in FFmpeg's numbers
HALF = Fraction(1, 2)  # of a frame period: what is nearer to its time is so by rounding

Y4M_MAGIC = b"YUV4MPEG2"
Y4M_LINE = 1024  # bytes; no header that we believe is longer
Y4M_SITING = {"C420": CENTRE, "C420jpeg": CENTRE, "C420mpeg2": LEFT, "C420paldv": TOP_LEFT}
Y4M_DEEP = "C420p10"  # of ten bits, which does not say where chroma is
Y4M_RANGE = {"XCOLORRANGE=LIMITED": LIMITED, "XCOLORRANGE=FULL": FULL}


@dataclass
class PlainInput:
    """An open input of planes alone: it has no side data."""

    format: VideoFormat
    frames: Iterator[TimedFrame]
    frame_count: int | None
    stream: BinaryIO
    notices: list[str] = field(default_factory=list)
    side_data: SideData = field(default_factory=SideData)
    damage: Damage = field(default_factory=Damage)
    passed: int = 0
    clock: None = None

    def check_ahead(self) -> None:
        """There is one size, and nothing else to see."""

    def read_on(self) -> None:
        """There is nothing to read."""

    def close(self) -> None:
        """Let the file go."""
        self.stream.close()


def _bytes_of_each(video: VideoFormat) -> int:
    return picture_bytes(video.width, video.height, video.bit_depth)


def _frame(data: bytes, name: str, video: VideoFormat) -> Frame:
    try:
        return Frame.from_bytes(data, video.width, video.height, video.bit_depth)
    except ValueError as error:
        raise VideoError(f"{name}: {error}") from None


def is_plain_y4m(stream: BinaryIO) -> bool:
    """Whether a seekable stream is y4m of 4:2:0 with 8 or 10 bits, which needs no FFmpeg."""
    tags = stream.readline(Y4M_LINE).decode("latin-1").split()
    stream.seek(0)
    return tags[:1] == [Y4M_MAGIC.decode()] and _y4m_sampling(tags) in (*Y4M_SITING, Y4M_DEEP)


def _y4m_sampling(tags: list[str]) -> str:
    return next((tag for tag in tags if tag.startswith("C")), "C420")


def open_y4m(
    stream: BinaryIO,
    name: str,
    bytes_there: int | None,
    frame_rate: Fraction | None,
    *,
    strict: bool = True,
) -> PlainInput:
    """Open plain y4m from a file or a pipe (bytes_there None); `frame_rate` in Hz, if not what it says.

    Where it is cut short, VideoError if `strict`.
    """
    line = stream.readline(Y4M_LINE)
    video, notices = _parse_y4m(line.decode("latin-1").split(), name, frame_rate)
    each = _bytes_of_each(video)
    count = None if bytes_there is None else (bytes_there - len(line)) // (len(b"FRAME\n") + each)
    damage = Damage()
    frames = steadily(_y4m_frames(stream, name, video, None if strict else damage), video.frame_rate)
    return PlainInput(video, frames, count, stream, notices, damage=damage)


def _parse_y4m(tags: list[str], name: str, frame_rate: Fraction | None) -> tuple[VideoFormat, list[str]]:
    sampling = _y4m_sampling(tags)
    value = {tag[0]: tag[1:] for tag in tags[1:] if tag[0] in "WHFIA"}
    if value.get("I", "p") not in ("p", "?"):
        raise VideoError(f"{name}: {INTERLACED}")
    try:
        width, height = int(value["W"]), int(value["H"])
        top, bottom = map(int, value.get("F", "0:0").split(":"))
        across, down = map(int, value.get("A", "0:0").split(":"))
    except (KeyError, ValueError):
        raise VideoError(f"{name}: its y4m header is damaged: {' '.join(tags)}") from None
    notices = []
    rate = frame_rate or (Fraction(top, bottom) if bottom else Fraction(0))
    if not rate:
        rate = FALLBACK_RATE
        notices.append(NO_RATE)
    video = VideoFormat(
        width,
        height,
        rate,
        1 / rate,
        Fraction(across, down) if down else Fraction(0),
        colour_range=next((Y4M_RANGE[tag] for tag in tags if tag in Y4M_RANGE), 0),
        chroma_location=Y4M_SITING.get(sampling, 0),
        bit_depth=10 if sampling == Y4M_DEEP else 8,
    )
    return video, notices


def _y4m_frames(stream: BinaryIO, name: str, video: VideoFormat, damage: Damage | None) -> Iterator[Frame]:
    each, count = _bytes_of_each(video), 0
    while line := stream.readline(Y4M_LINE):
        data = stream.read(each) if line.startswith(b"FRAME") and line.endswith(b"\n") else b""
        if len(data) != each:
            cut = f"is damaged or cut short after {count} frame{'s' * (count != 1)}"
            if damage is None or not count:
                raise VideoError(f"{name}: {cut}")
            damage.cut = cut
            return
        yield _frame(data, name, video)
        count += 1


class PlainOutput:
    """Planes as they are, with y4m's headers or bare; through a pipe each picture goes at once."""

    def __init__(self, path: str, format: VideoFormat, kind: str, side_data: SideData) -> None:
        self.keep_open, self.kind, self.rate = path == "-", kind, format.frame_rate
        self.count, self.last = 0, Fraction(0)
        self.farthest = Fraction(0)  # from the constant rate, in seconds
        self.stream: BinaryIO = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115
        self.before_each = b"FRAME\n" if kind == "y4m" else b""
        self.side_data = side_data
        extras = replace(side_data.extras, chapters=side_data.chapters())
        left_out = ", ".join(filter(None, [*map(str, side_data.streams.values()), str(extras)]))
        self.notices = [f"{kind} holds pictures only, left out: {left_out}"] if left_out else []
        if kind == "y4m":
            self.stream.write(_y4m_header(format))

    def write(self, frame: Frame, time: Fraction) -> None:
        """Add one picture."""
        self.side_data.until(None)  # and forget it
        self.farthest = max(self.farthest, abs(time - self.count / self.rate))
        self.last, self.count = max(self.last, time), self.count + 1
        self.stream.write(self.before_each + frame.to_bytes())
        if self.keep_open:
            self.stream.flush()

    def finish(self) -> None:
        """Hand all that is buffered to the system, and tell how far the pictures are from their times."""
        self.stream.flush()
        if self.farthest * self.rate >= HALF:
            average = self.count / (self.last + 1 / self.rate)
            self.notices.append(
                f"{self.kind} has one frame rate: pictures come at {float(self.rate):.6g} fps, up to"
                f" {float(self.farthest):.3g} s from their times; --fps {float(average):.6g} is their average"
            )

    def close(self) -> None:
        """Let the file go; standard output stays open."""
        if not self.keep_open:
            self.stream.close()


def says_chroma(format: VideoFormat) -> bool:
    """Whether y4m says where chroma is, or need not: of 10 bits it cannot, and left is usual."""
    known = (UNKNOWN, LEFT) if format.bit_depth == 10 else (UNKNOWN, LEFT, CENTRE, TOP_LEFT)
    return format.chroma_location in known


def _y4m_header(format: VideoFormat) -> bytes:
    rate, aspect = format.frame_rate, format.sample_aspect_ratio
    siting = {LEFT: "C420mpeg2", TOP_LEFT: "C420paldv"}.get(format.chroma_location, "C420jpeg")
    if format.bit_depth == 10:
        siting = f"{Y4M_DEEP} XYSCSS=420P10"
    tags = [
        Y4M_MAGIC.decode(),
        f"W{format.width}",
        f"H{format.height}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{aspect.numerator}:{aspect.denominator if aspect else 0}",
        siting,
        *(tag for tag, value in Y4M_RANGE.items() if value == format.colour_range),
    ]
    return " ".join(tags).encode() + b"\n"
