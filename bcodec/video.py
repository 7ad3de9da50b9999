"""Video files in and out, by PyAV; raw 4:2:0 and y4m, streamed too, without it."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from bcodec.bitstream import BitstreamError, VideoFormat
from bcodec.frame import Frame, Plane, picture_bytes, plane_shapes

RAW_SUFFIXES = (".yuv", ".i420")
OUTPUT_KINDS = {".yuv": "yuv", ".i420": "yuv", ".y4m": "y4m", ".mkv": "mkv", ".mp4": "mp4"}
FALLBACK_RATE = Fraction(25)  # Hz; what FFmpeg takes when a file does not say
HD_ROWS = 576  # RGB of more rows becomes BT.709, else BT.601, as players assume
NATIVE = ("yuv420p", "yuvj420p", "yuva420p", "gray")  # 8-bit planes that are taken as they are
DEEP = tuple(f"yuv420p{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))

NO_RATE_NOTICE = f"the input does not say its frame rate: taken as {FALLBACK_RATE} fps"

ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {  # kind -> container, encoder, its options
    "mkv": ("matroska", "ffv1", {"level": "3"}),
    "mp4": ("mp4", "libx264", {"crf": "12"}),
}

# Values of H.273 and FFmpeg.
UNKNOWN_COLOUR = 2
LIMITED, FULL = 1, 2
BT709, BT601 = 1, 6
LEFT, CENTRE, TOP_LEFT = 1, 2, 3

Y4M_MAGIC = b"YUV4MPEG2"
Y4M_LINE = 1024  # bytes; no header that we believe is longer
Y4M_SITING = {"C420": CENTRE, "C420jpeg": CENTRE, "C420mpeg2": LEFT, "C420paldv": TOP_LEFT}
Y4M_RANGE = {"XCOLORRANGE=LIMITED": LIMITED, "XCOLORRANGE=FULL": FULL}

av.logging.set_level(None)  # what matters is said by VideoError; FFmpeg says more, on stderr


class VideoError(Exception):
    """A file cannot be read or written as a video; the message is one line for the user, naming it."""


# ---------------------------------------------------------------- reading


@dataclass
class _Source:
    """An open input: its pictures come once, in display order."""

    format: VideoFormat
    frames: Iterator[Frame]
    frame_count: int | None
    close: Callable[[], None]
    notices: list[str] = field(default_factory=list)


class VideoReader:
    """The pictures of a video file, one after the other, each only once; a context manager.

    path: anything that PyAV opens; `.yuv` or `.i420` (planar 8-bit 4:2:0; size = (width, height) and
    frame_rate in Hz are then required, and else refused); `-` for y4m on the standard input.
    start, frames: skip so many pictures, then give at most so many.

    format: how the pictures are to be shown; rotation is counter-clockwise, in degrees; a sample aspect
    ratio of 0 is unknown; the time base is the frame period.
    frame_count: how many pictures will come, exactly or nearly; None if unknown.
    notices: lines that the user must be told; more may come while pictures are read.
    Raises VideoError, at the start or, after the undamaged pictures, where damage is met.
    """

    format: VideoFormat
    frame_count: int | None
    notices: list[str]

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int] | None = None,
        frame_rate: Fraction | None = None,
        start: int = 0,
        frames: int | None = None,
    ) -> None:
        self._name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        if start < 0 or (frames is not None and frames < 1):
            raise VideoError(f"{self._name}: cannot read {frames} frames from frame {start}")
        with _translated(self._name):
            self._source = _open(os.fspath(path), self._name, size, frame_rate)
        self._start = start
        self._frames = self._window(start, frames)
        self.format, self.notices = self._source.format, self._source.notices
        self.frame_count = self._source.frame_count
        if self.frame_count is not None:
            left = max(self.frame_count - start, 0)
            self.frame_count = left if frames is None else min(left, frames)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._source.close()

    def _window(self, start: int, frames: int | None) -> Iterator[Frame]:
        stop = None if frames is None else start + frames
        empty = True
        with _translated(self._name):
            for frame in islice(self._source.frames, start, stop):
                empty = False
                yield frame
        if empty:
            raise VideoError(
                f"{self._name}: has no frame {start}" if start else f"{self._name}: has no frames"
            )


def _open(path: str, name: str, size: tuple[int, int] | None, frame_rate: Fraction | None) -> _Source:
    raw = Path(path).suffix.lower() in RAW_SUFFIXES
    if not raw and (size or frame_rate):
        raise VideoError(f"{name}: size and frame rate are in the file; give them for raw .yuv only")
    if path == "-":
        return _open_y4m(sys.stdin.buffer, name, None)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise VideoError(f"{name}: is a directory, not a video")
    stream = open(path, "rb")  # noqa: SIM115 (the source keeps it)
    try:
        if not stat.S_ISREG(mode):
            return _open_y4m(stream, name, None)
        bytes_there = os.path.getsize(path)
        if bytes_there == 0:
            raise VideoError(f"{name}: is empty")
        if raw:
            return _open_raw(stream, name, bytes_there, size, frame_rate)
        if _is_plain_y4m(stream):
            return _open_y4m(stream, name, bytes_there)
        missing = max(_promised_bytes(stream) - bytes_there, 0)
    except BaseException:
        stream.close()
        raise
    stream.close()
    return _Decoder(path, name, missing).source()


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn what FFmpeg and the system raise into VideoError."""
    try:
        yield
    except FileNotFoundError:
        raise VideoError(f"{name}: no such file") from None
    except (av.FFmpegError, OSError, UnicodeError, OverflowError, BitstreamError) as error:
        raise VideoError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _open_raw(
    stream: BinaryIO, name: str, bytes_there: int, size: tuple[int, int] | None, frame_rate: Fraction | None
) -> _Source:
    if not size or not frame_rate:
        raise VideoError(f"{name}: raw video does not say its size and frame rate; both must be given")
    video = VideoFormat(*size, frame_rate, 1 / frame_rate, sample_aspect_ratio=Fraction(0))
    each = picture_bytes(*size)
    count, over = divmod(bytes_there, each)
    if over:
        raise VideoError(
            f"{name}: {bytes_there} bytes are not a whole number of {size[0]}x{size[1]} frames"
            f" of {each} bytes: {count} frames and {over} bytes over"
        )
    frames = (Frame.from_bytes(stream.read(each), *size) for _ in range(count))
    return _Source(video, frames, count, stream.close)


# ---------------------------------------------------------------- y4m


def _is_plain_y4m(stream: BinaryIO) -> bool:
    """Whether a seekable stream is y4m of 8-bit 4:2:0, which needs no FFmpeg."""
    tags = stream.readline(Y4M_LINE).decode("latin-1").split()
    stream.seek(0)
    return tags[:1] == [Y4M_MAGIC.decode()] and _y4m_sampling(tags) in Y4M_SITING


def _y4m_sampling(tags: list[str]) -> str:
    return next((tag for tag in tags if tag.startswith("C")), "C420")


def _open_y4m(stream: BinaryIO, name: str, bytes_there: int | None) -> _Source:
    """Open y4m from a file or a pipe (bytes_there None)."""
    line = stream.readline(Y4M_LINE)
    if not line:
        raise VideoError(f"{name}: is empty")
    if not line.startswith(Y4M_MAGIC) or not line.endswith(b"\n"):
        raise VideoError(f"{name}: is not y4m, which begins with {Y4M_MAGIC.decode()}")
    video, notices = _parse_y4m(line.decode("latin-1").split(), name)
    each = picture_bytes(video.width, video.height)
    count = None if bytes_there is None else (bytes_there - len(line)) // (len(b"FRAME\n") + each)
    return _Source(video, _y4m_frames(stream, name, video), count, stream.close, notices)


def _parse_y4m(tags: list[str], name: str) -> tuple[VideoFormat, list[str]]:
    sampling = _y4m_sampling(tags)
    if sampling not in Y4M_SITING:
        raise VideoError(
            f"{name}: y4m through a pipe must be 8-bit 4:2:0, not {sampling}; name a file instead"
        )
    value = {tag[0]: tag[1:] for tag in tags[1:] if tag[0] in "WHFIA"}
    if value.get("I", "p") not in ("p", "?"):
        raise VideoError(f"{name}: is interlaced, which is not supported; deinterlace it first")
    try:
        width, height = int(value["W"]), int(value["H"])
        top, bottom = map(int, value.get("F", "0:0").split(":"))
        across, down = map(int, value.get("A", "0:0").split(":"))
    except (KeyError, ValueError):
        raise VideoError(f"{name}: its y4m header is damaged: {' '.join(tags)}") from None
    notices = []
    rate = Fraction(top, bottom) if bottom else Fraction(0)
    if not rate:
        rate = FALLBACK_RATE
        notices.append(NO_RATE_NOTICE)
    video = VideoFormat(
        width,
        height,
        rate,
        1 / rate,
        Fraction(across, down) if down else Fraction(0),
        colour_range=next((Y4M_RANGE[tag] for tag in tags if tag in Y4M_RANGE), 0),
        chroma_location=Y4M_SITING[sampling],
    )
    return video, notices


def _y4m_frames(stream: BinaryIO, name: str, video: VideoFormat) -> Iterator[Frame]:
    each = picture_bytes(video.width, video.height)
    count = 0
    while line := stream.readline(Y4M_LINE):
        data = stream.read(each) if line.startswith(b"FRAME") and line.endswith(b"\n") else b""
        if len(data) != each:
            raise VideoError(f"{name}: is damaged or cut short after {count} frames")
        yield Frame.from_bytes(data, video.width, video.height)
        count += 1


# ---------------------------------------------------------------- everything else


class _Decoder:
    """The first video stream of a file, decoded by FFmpeg and brought to 8-bit 4:2:0."""

    def __init__(self, path: str, name: str, missing: int) -> None:
        self.name, self.missing, self.notices = name, missing, list[str]()
        try:  # file: so that a colon in the path is no protocol
            self.container = av.open(f"file:{path}", metadata_errors="ignore")
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({error.strerror})") from error
        try:
            self.stream = self._choose_stream()
            self.pictures = self._decode()
            first = next(self.pictures, None)
            if first is None:
                raise VideoError(f"{name}: has no frames")
            self.first = first
            self.reformatter = VideoReformatter()
            self.format = self._describe()
        except BaseException:
            self.container.close()
            raise

    def source(self) -> _Source:
        """Hand over the pictures."""
        return _Source(self.format, self._frames(), self._count(), self.container.close, self.notices)

    def _choose_stream(self) -> VideoStream:
        moving = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            what = "only audio" if self.container.streams.audio else "nothing to show"
            raise VideoError(f"{self.name}: has no video in it, {what}")
        others = len(self.container.streams) - 1
        if others:
            self.notices.append(f"only the first video stream is coded: {others} other stream(s) left out")
        return moving[0]

    def _decode(self) -> Iterator[VideoFrame]:
        """Give the undamaged pictures; then VideoError if that is not all of them."""
        count = 0
        try:
            for picture in self._undamaged():
                if picture.interlaced_frame:
                    raise VideoError(
                        f"{self.name}: is interlaced, which is not supported; deinterlace it first"
                    )
                yield picture
                count += 1
        except (av.FFmpegError, EOFError) as error:
            why = getattr(error, "strerror", None) or error
            raise VideoError(f"{self.name}: is damaged or cut short after {count} frames ({why})") from error
        if self.missing:
            raise VideoError(f"{self.name}: is cut short by {self.missing} bytes, after {count} frames")

    def _undamaged(self) -> Iterator[VideoFrame]:
        """Decode up to what FFmpeg marks as damaged, then EOFError."""
        for packet in self.container.demux(self.stream):
            if packet.is_corrupt:
                yield from self.stream.codec_context.decode(None)  # held back by reordering
                raise EOFError("incomplete packet")
            for picture in packet.decode():
                if picture.is_corrupt:
                    raise EOFError("decoding errors")
                yield picture

    def _describe(self) -> VideoFormat:
        """Find the format, and say what is lost."""
        context, kind = self.stream.codec_context, self.first.format
        rate = self._rate()
        colour_range, matrix = int(context.color_range), int(context.colorspace)
        if kind.name.startswith("yuvj"):
            colour_range = FULL
        if kind.is_rgb or kind.has_palette:
            colour_range, matrix = LIMITED, BT709 if self.first.height > HD_ROWS else BT601
        self._tell_conversion(matrix)
        return VideoFormat(
            self.first.width,
            self.first.height,
            rate,
            1 / rate,
            self.stream.sample_aspect_ratio or Fraction(0),
            colour_range=colour_range,
            colour_primaries=_known(context.color_primaries),
            colour_transfer=_known(context.color_trc),
            colour_matrix=_known(matrix),
            rotation=self.first.rotation % 360,
        )

    def _tell_conversion(self, matrix: int) -> None:
        kind = self.first.format
        if kind.name in DEEP:
            how = f"rounded from {kind.components[0].bits} bits to 8"
        elif kind.name == "yuva420p":
            how = "transparency is left out"
        elif kind.is_rgb or kind.has_palette:
            standard = "BT.709" if matrix == BT709 else "BT.601"
            how = f"converted to yuv420p (8-bit 4:2:0, {standard}, limited range)"
        else:
            how = "converted to yuv420p (8-bit 4:2:0)"
        if kind.name not in ("yuv420p", "yuvj420p"):
            self.notices.append(f"input is {kind.name}: {how}")

    def _rate(self) -> Fraction:
        average, guessed = self.stream.average_rate, self.stream.guessed_rate
        if not average and not guessed:
            self.notices.append(NO_RATE_NOTICE)
            return FALLBACK_RATE
        rate = average or guessed or FALLBACK_RATE
        if guessed and abs(rate / guessed - 1) < Fraction(1, 200):
            return guessed  # the average is off by the rounding of timestamps
        self._tell_variable(rate)
        return rate

    def _tell_variable(self, rate: Fraction) -> None:
        notice = (
            f"variable frame rate: frames are coded in order at the average rate {float(rate):.5g} fps;"
            " timestamps are not kept"
        )
        if notice not in self.notices:
            self.notices.append(notice)

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration and self.stream.time_base:
            return round(self.stream.duration * self.stream.time_base * self.format.frame_rate)
        if self.container.duration:
            return round(Fraction(self.container.duration, av.time_base) * self.format.frame_rate)
        return None

    def _frames(self) -> Iterator[Frame]:
        kind, width, height = self.first.format.name, self.first.width, self.first.height
        shown = None  # seconds
        for picture in chain([self.first], self.pictures):
            if (picture.format.name, picture.width, picture.height) != (kind, width, height):
                raise VideoError(
                    f"{self.name}: changes from {width}x{height} {kind} to"
                    f" {picture.width}x{picture.height} {picture.format.name}, which is not supported"
                )
            shown = self._watch_time(picture, shown)
            yield self._convert(picture)

    def _watch_time(self, picture: VideoFrame, before: Fraction | None) -> Fraction | None:
        """Tell once if the time since the picture before is not the frame period."""
        if picture.pts is None or picture.time_base is None:
            return None
        now, period = picture.pts * picture.time_base, self.format.time_base
        if before is not None and abs(now - before - period) > period / 2 + picture.time_base:
            self._tell_variable(self.format.frame_rate)
        return now

    def _convert(self, picture: VideoFrame) -> Frame:
        kind, shapes = picture.format.name, plane_shapes(picture.width, picture.height)
        if kind in DEEP:
            dtype = "<u2" if kind.endswith("le") else ">u2"
            bits = picture.format.components[0].bits
            return Frame(*(_rounded(_samples(picture, i, s, dtype), bits) for i, s in enumerate(shapes)))
        if kind not in NATIVE:
            picture = self._reformatted(picture)
        if kind == "gray":
            grey = np.full(shapes[1], 128, np.uint8)
            return Frame(_samples(picture, 0, shapes[0]), grey, grey)
        return Frame(*(_samples(picture, i, s) for i, s in enumerate(shapes)))

    def _reformatted(self, picture: VideoFrame) -> VideoFrame:
        """Resample to yuv420p; range and matrix stay, and are stated since FFmpeg guesses otherwise."""
        if picture.format.is_rgb or picture.format.has_palette:
            matrix = Colorspace.ITU709 if self.format.colour_matrix == BT709 else Colorspace.ITU601
            before, after = ColorRange.JPEG, ColorRange.MPEG
        else:
            matrix = None
            before = after = ColorRange.JPEG if self.format.colour_range == FULL else ColorRange.MPEG
        return self.reformatter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=matrix,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            src_color_range=before,
            dst_color_range=after,
        )


def _known(code: int) -> int:
    """A code of H.273, less FFmpeg's additions beyond its 8 bits."""
    return int(code) if code <= 255 else UNKNOWN_COLOUR


def _samples(picture: VideoFrame, index: int, shape: tuple[int, int], dtype: str = "u1") -> npt.NDArray[Any]:
    """Copy one plane without the padding at the ends of its lines."""
    plane, (rows, columns) = picture.planes[index], shape
    samples: npt.NDArray[Any] = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(plane.height, -1)[:rows, :columns].copy()


def _rounded(samples: npt.NDArray[np.uint16], bits: int) -> Plane:
    """Round samples of more bits to 8, halves up."""
    shift = bits - 8
    rounded = (samples.astype(np.uint32) + (1 << shift >> 1)) >> shift
    eight: Plane = np.minimum(rounded, 255).astype(np.uint8)
    return eight


# ---------------------------------------------------------------- is the file whole?

ISO_BOXES = {
    b"ftyp",
    b"styp",
    b"sidx",
    b"moov",
    b"moof",
    b"mdat",
    b"mfra",
    b"free",
    b"skip",
    b"wide",
    b"uuid",
}
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def _promised_bytes(stream: BinaryIO) -> int:
    """How long a file says it is, 0 if it does not: FFmpeg may take a file cut short for a shorter one.

    Sources: ISO/IEC 14496-12 (boxes of mp4, mov); RFC 8794 (EBML of mkv, webm); RIFF (avi).
    """
    head = stream.read(8)
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:], "little")
        return 8 + size if size < 2**32 - 1 else 0
    if head[:4] == EBML:
        stream.seek(4)
        header = _ebml_size(stream)
        stream.seek(header, os.SEEK_CUR)
        segment = _ebml_size(stream) if stream.read(4) == SEGMENT else 0
        return stream.tell() + segment if segment else 0
    end = 0
    while head[4:] in ISO_BOXES:
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(stream.read(8), "big") if size == 1 else size
        if size < 8:  # 0: to the end of the file
            break
        end += size
        stream.seek(end)
        head = stream.read(8)
    return end


def _ebml_size(stream: BinaryIO) -> int:
    """Read a length of 1 to 8 bytes; 0 if unknown."""
    first = stream.read(1)
    more = 8 - int.from_bytes(first, "big").bit_length()
    value = int.from_bytes(first + stream.read(more), "big")
    mask = (1 << 7 * (more + 1)) - 1
    return 0 if value & mask == mask else value & mask


# ---------------------------------------------------------------- writing


def output_kind(path: str | os.PathLike[str]) -> str:
    """Give the kind of file that a path's ending asks for: yuv, y4m, mkv or mp4; VideoError for another."""
    if os.fspath(path) == "-":
        return "y4m"
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUT_KINDS:
        known = ", ".join(OUTPUT_KINDS)
        raise VideoError(
            f"{os.fspath(path)}: cannot write {suffix or 'a file without an ending'}; known are {known}"
        )
    return OUTPUT_KINDS[suffix]


class _Sink(Protocol):
    def write(self, frame: Frame) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class VideoWriter:
    """A video file being written, frames at a constant rate; a context manager, finished at its end.

    path: where to write at once (pass a temporary path and rename it for all or nothing), `-` for y4m on
    the standard output. kind: yuv (planes alone), y4m, mkv (FFV1, lossless), mp4 (H.264, lossy, even sizes
    only), else as the path's ending says. format: written along as far as the kind can hold it; notices are
    lines that the user must be told. Raises VideoError.
    """

    notices: list[str]

    def __init__(self, path: str | os.PathLike[str], format: VideoFormat, kind: str | None = None) -> None:
        self._name = "standard output" if os.fspath(path) == "-" else os.fspath(path)
        self._size = format.width, format.height
        kind = kind or output_kind(path)
        self.notices = _unsaid(format, kind)
        if kind == "mp4" and (format.width % 2 or format.height % 2):
            odd = f"{format.width}x{format.height}"
            raise VideoError(f"{self._name}: mp4 (H.264) cannot hold the odd size {odd}; write .mkv or .y4m")
        with _translated(self._name):
            self._sink: _Sink = (
                _PlainSink(os.fspath(path), format, kind)
                if kind in ("yuv", "y4m")
                else _EncoderSink(os.fspath(path), format, kind)
            )

    def write(self, frame: Frame) -> None:
        """Add one picture; ValueError if it is not of the format's size."""
        if (frame.width, frame.height) != self._size:
            raise ValueError(
                f"a {frame.width}x{frame.height} picture in a video of {self._size[0]}x{self._size[1]}"
            )
        with _translated(self._name):
            self._sink.write(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _translated(self._name):
            try:
                if error is None:
                    self._sink.finish()
            finally:
                self._sink.close()


def _unsaid(format: VideoFormat, kind: str) -> list[str]:
    """Tell what of a format a kind of file cannot hold (bare planes are known to hold none of it)."""
    notices, aspect = [], format.sample_aspect_ratio
    if format.rotation and kind == "y4m":
        notices.append(f"y4m cannot say that the video is rotated by {format.rotation} degrees")
    if kind == "mkv" and aspect not in (0, 1):  # PyAV sets it for the encoder, and Matroska asks the stream
        across, down = aspect.as_integer_ratio()
        notices.append(f"the sample aspect ratio {across}:{down} is not written to mkv")
    return notices


class _PlainSink:
    """Planes as they are, with y4m's headers or bare."""

    def __init__(self, path: str, format: VideoFormat, kind: str) -> None:
        self.keep_open = path == "-"
        self.stream: BinaryIO = sys.stdout.buffer if path == "-" else open(path, "wb")  # noqa: SIM115
        self.before_each = b"FRAME\n" if kind == "y4m" else b""
        if kind == "y4m":
            self.stream.write(_y4m_header(format))

    def write(self, frame: Frame) -> None:
        self.stream.write(self.before_each + frame.to_bytes())

    def finish(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        if not self.keep_open:
            self.stream.close()


def _y4m_header(format: VideoFormat) -> bytes:
    rate, aspect = format.frame_rate, format.sample_aspect_ratio
    siting = {LEFT: "C420mpeg2", TOP_LEFT: "C420paldv"}.get(format.chroma_location, "C420jpeg")
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


class _EncoderSink:
    """A container written by FFmpeg."""

    def __init__(self, path: str, format: VideoFormat, kind: str) -> None:
        container, codec, options = ENCODERS[kind]
        self.container = av.open(f"file:{path}", "w", format=container)
        self.shapes = plane_shapes(format.width, format.height)
        self.count = 0
        try:
            options = options | {"chroma_sample_location": str(format.chroma_location)}
            stream = self.container.add_stream(codec, rate=format.frame_rate, options=options)
            assert isinstance(stream, VideoStream)
            self.stream = stream
            self._describe(format)
            self.container.start_encoding()  # or an unwritable path shows only at the first frame
        except BaseException:
            self.container.close()
            raise

    def _describe(self, format: VideoFormat) -> None:
        self.stream.pix_fmt = "yuv420p"
        self.stream.width, self.stream.height = format.width, format.height
        context = self.stream.codec_context
        context.color_range, context.colorspace = format.colour_range, format.colour_matrix
        context.color_primaries, context.color_trc = format.colour_primaries, format.colour_transfer
        if format.sample_aspect_ratio:
            context.sample_aspect_ratio = format.sample_aspect_ratio
        if format.rotation:
            self.stream.set_display_rotation(format.rotation)

    def write(self, frame: Frame) -> None:
        rows, columns = frame.y.shape
        picture = VideoFrame(columns, rows, "yuv420p")
        for plane, samples in zip(picture.planes, frame.planes, strict=True):
            lines = np.zeros((samples.shape[0], plane.line_size), np.uint8)
            lines[:, : samples.shape[1]] = samples
            plane.update(lines.tobytes())
        picture.pts = self.count
        self.container.mux(self.stream.encode(picture))
        self.count += 1

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))

    def close(self) -> None:
        self.container.close()
