"""Video files in and out: FFmpeg's by PyAV, raw 4:2:0 and y4m without it."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from bcodec.bitstream import BitstreamError, VideoFormat
from bcodec.frame import Frame, Plane, plane_shapes
from bcodec.raw import (
    BT601,
    BT709,
    FALLBACK_RATE,
    FULL,
    LIMITED,
    NO_RATE_NOTICE,
    UNKNOWN_COLOUR,
    PlainSink,
    Sink,
    Source,
    VideoError,
    is_plain_y4m,
    open_raw,
    open_y4m,
)
from bcodec.wholeness import promised_bytes

__all__ = ["RAW_SUFFIXES", "VideoError", "VideoReader", "VideoWriter", "output_kind"]

RAW_SUFFIXES = (".yuv", ".i420")
OUTPUT_KINDS = {".yuv": "yuv", ".i420": "yuv", ".y4m": "y4m", ".mkv": "mkv", ".mp4": "mp4"}
HD_ROWS = 576  # RGB of more rows becomes BT.709, else BT.601, as players assume
NATIVE = ("yuv420p", "yuvj420p", "yuva420p", "gray")  # 8-bit planes that are taken as they are
DEEP = tuple(f"yuv420p{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))

ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {  # kind -> container, encoder, its options
    "mkv": ("matroska", "ffv1", {"level": "3"}),
    "mp4": ("mp4", "libx264", {"crf": "12"}),
}

av.logging.set_level(None)  # what matters is said by VideoError; FFmpeg says more, on stderr


# ---------------------------------------------------------------- reading


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


def _open(path: str, name: str, size: tuple[int, int] | None, frame_rate: Fraction | None) -> Source:
    raw = Path(path).suffix.lower() in RAW_SUFFIXES
    if not raw and (size or frame_rate):
        raise VideoError(f"{name}: size and frame rate are in the file; give them for raw .yuv only")
    if path == "-":
        return open_y4m(sys.stdin.buffer, name, None)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise VideoError(f"{name}: is a directory, not a video")
    stream = open(path, "rb")  # noqa: SIM115 (the source keeps it)
    try:
        if not stat.S_ISREG(mode):
            return open_y4m(stream, name, None)
        bytes_there = os.path.getsize(path)
        if bytes_there == 0:
            raise VideoError(f"{name}: is empty")
        if raw:
            return open_raw(stream, name, bytes_there, size, frame_rate)
        if is_plain_y4m(stream):
            return open_y4m(stream, name, bytes_there)
        missing = max(promised_bytes(stream) - bytes_there, 0)
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

    def source(self) -> Source:
        """Hand over the pictures."""
        return Source(self.format, self._frames(), self._count(), self.container.close, self.notices)

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
            self._sink: Sink = (
                PlainSink(os.fspath(path), format, kind)
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
