"""Video files in and out: FFmpeg's by PyAV, raw 4:2:0 and y4m without it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from math import gcd
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.packet import Packet as AnyPacket
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, BitstreamError, VideoFormat
from bcodec.frame import Frame, Plane, picture_bytes, plane_shapes
from bcodec.raw import (
    BT601,
    BT709,
    FALLBACK_RATE,
    FULL,
    INTERLACED,
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
from bcodec.streams import Beside, FileHeader, Kind, StreamHeader, Window
from bcodec.tracks import add_tracks, find_tracks, given, kept_tags, taken
from bcodec.wholeness import promised_bytes

__all__ = ["RAW_SUFFIXES", "VideoError", "VideoReader", "VideoWriter", "output_kind", "video_packets"]

RAW_SUFFIXES = (".yuv", ".i420")
OUTPUT_KINDS = {".yuv": "yuv", ".i420": "yuv", ".y4m": "y4m", ".mkv": "mkv", ".mp4": "mp4"}
HD_ROWS = 576  # RGB of more rows becomes BT.709, else BT.601, as players assume
NATIVE = ("yuv420p", "yuvj420p", "yuva420p", "gray")  # 8-bit planes that are taken as they are
DEEP = tuple(f"yuv420p{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))

BROADCAST = ("mpegts", "mpeg")  # containers whose times begin anywhere
LATEST = Fraction(
    1
)  # seconds by which sound may come behind its picture in a file, where only a part is read

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
    start, frames: skip so many pictures, then give at most so many. keep: the kinds of streams beside the
    pictures whose packets are kept (None: none of them, and a notice): take them from `beside`, or they heap
    up. deinterlace: make a frame of two fields; else interlaced video is refused.

    format: how the pictures are to be shown; rotation is counter-clockwise, in degrees; a sample aspect
    ratio of 0 is unknown; the time base is the frame period.
    beside: the headers of the streams kept and the file's tags; their packets come as pictures are read.
    frame_count: how many pictures will come, exactly or nearly; None if unknown.
    notices: lines that the user must be told; more may come while pictures are read.
    Raises VideoError, at the start or, after the undamaged pictures, where damage is met.
    """

    format: VideoFormat
    frame_count: int | None
    notices: list[str]
    beside: Beside

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int] | None = None,
        frame_rate: Fraction | None = None,
        start: int = 0,
        frames: int | None = None,
        keep: Collection[Kind] | None = None,
        deinterlace: bool = False,
    ) -> None:
        self._name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        if start < 0 or (frames is not None and frames < 1):
            raise VideoError(f"{self._name}: cannot read {frames} frames from frame {start}")
        with _translated(self._name):
            decoder = partial(_Decoder, start=start, frames=frames, keep=keep, deinterlace=deinterlace)
            self._source = _open(os.fspath(path), self._name, size, frame_rate, decoder=decoder)
        self._frames = self._window(start, frames)
        self.format, self.notices = self._source.format, self._source.notices
        self.beside = self._source.beside
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
            self._source.run_on()
        if empty:
            raise VideoError(
                f"{self._name}: has no frame {start}" if start else f"{self._name}: has no frames"
            )


def _open(
    path: str,
    name: str,
    size: tuple[int, int] | None,
    frame_rate: Fraction | None,
    *,
    decoder: partial[_Decoder],
) -> Source:
    raw = Path(path).suffix.lower() in RAW_SUFFIXES
    if not raw and (size or frame_rate):
        raise VideoError(f"{name}: size and frame rate are in the file; give them for raw .yuv only")
    deinterlace = decoder.keywords["deinterlace"]
    if deinterlace and (raw or path == "-"):
        raise VideoError(f"{name}: only a video file can be deinterlaced, no pipe and no bare planes")
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
        if is_plain_y4m(stream) and not deinterlace:
            return open_y4m(stream, name, bytes_there)
        missing = max(promised_bytes(stream) - bytes_there, 0)
    except BaseException:
        stream.close()
        raise
    stream.close()
    return decoder(path, name, missing).source()


def video_packets(path: str, format: VideoFormat) -> tuple[str, list[int]]:
    """The codec of a video file, and the bytes of the packets of its pictures, in display order.

    Of y4m and bare planes, `format` says the size of each. Raises VideoError.
    """
    if Path(path).suffix.lower() in RAW_SUFFIXES:
        each = picture_bytes(format.width, format.height)
        return "raw", [each] * (os.path.getsize(path) // each)
    with _translated(path), av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        packets = [(p.pts or 0, p.size) for p in container.demux(stream) if p.size]
        return stream.codec_context.codec.canonical_name, [size for _, size in sorted(packets)]


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
    """The first video stream of a file, decoded by FFmpeg and brought to 8-bit 4:2:0; what lies beside."""

    def __init__(
        self,
        path: str,
        name: str,
        missing: int,
        *,
        start: int,
        frames: int | None,
        keep: Collection[Kind] | None,
        deinterlace: bool,
    ) -> None:
        self.name, self.missing, self.notices = name, missing, list[str]()
        self.early: list[AuxiliaryPacket] = []  # until the first picture says when the wanted ones are shown
        try:  # file: so that a colon in the path is no protocol
            self.container = av.open(f"file:{path}", metadata_errors="ignore")
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({error.strerror})") from error
        try:
            self.stream = self._choose_stream()
            self.tracks = self._choose_tracks(keep)
            beside = [s for s in self.container.streams if s.index in self.tracks]
            self.packets = self.container.demux(self.stream, *beside)
            self.pictures = self._deinterlaced() if deinterlace else self._progressive()
            first = next(self.pictures, None)
            if first is None:
                raise VideoError(f"{name}: has no frames")
            self.first = first
            self.reformatter = VideoReformatter()
            self.format = self._describe()
            self.beside = self._describe_beside(start, frames)
        except BaseException:
            self.container.close()
            raise

    def source(self) -> Source:
        """Hand over the pictures."""
        return Source(
            self.format,
            self._frames(),
            self._count(),
            self.container.close,
            self.notices,
            self.beside,
            self._run_on,
        )

    def _choose_stream(self) -> VideoStream:
        moving = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            what = "only audio" if self.container.streams.audio else "nothing to show"
            raise VideoError(f"{self.name}: has no video in it, {what}")
        return moving[0]

    def _choose_tracks(self, keep: Collection[Kind] | None) -> dict[int, StreamHeader]:
        tracks, notices = find_tracks(self.container, keep or ())
        by_choice = [] if keep is None else [kind.name.lower() for kind in Kind]
        others = [s.type for s in self.container.streams if s is not self.stream and s.type not in by_choice]
        if others:
            notices.append(f"only the first video stream is coded, left out: {', '.join(others)}")
        self.notices += notices
        return tracks

    def _progressive(self) -> Iterator[VideoFrame]:
        for picture in self._decode():
            if picture.interlaced_frame:
                raise VideoError(f"{self.name}: {INTERLACED}")
            yield picture

    def _deinterlaced(self) -> Iterator[VideoFrame]:
        """Give one frame for each that is decoded, made of whole pictures."""
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(template=self.stream),
            graph.add("bwdif", "mode=send_frame"),
            graph.add("buffersink"),
        ).configure()
        for picture in chain(self._decode(), [None]):
            graph.vpush(picture)
            with suppress(av.BlockingIOError, av.EOFError):
                while True:
                    yield graph.vpull()

    def _decode(self) -> Iterator[VideoFrame]:
        """Give the undamaged pictures; then VideoError if that is not all of them."""
        count = 0
        try:
            for picture in self._undamaged():
                yield picture
                count += 1
        except (av.FFmpegError, EOFError) as error:
            why = getattr(error, "strerror", None) or error
            raise VideoError(f"{self.name}: is damaged or cut short after {count} frames ({why})") from error
        if self.missing:
            raise VideoError(f"{self.name}: is cut short by {self.missing} bytes, after {count} frames")

    def _undamaged(self) -> Iterator[VideoFrame]:
        """Decode up to what FFmpeg marks as damaged, then EOFError; what lies beside is put aside."""
        for packet in self.packets:
            if packet.stream.index in self.tracks:
                self._put_aside(packet)
                continue
            if packet.is_corrupt:
                yield from self.stream.codec_context.decode(None)  # held back by reordering
                raise EOFError("incomplete packet")
            for picture in self.stream.codec_context.decode(packet):
                if picture.is_corrupt:
                    raise EOFError("decoding errors")
                yield picture

    def _put_aside(self, packet: AnyPacket[Stream]) -> None:
        if packet.size and not packet.is_corrupt:
            self.early.append(taken(packet, self.tracks[packet.stream.index]))

    def _run_on(self) -> None:
        """Behind the last wanted picture, read what belongs beside the wanted ones and comes later."""
        end = self.beside.window.end
        with suppress(av.FFmpegError):
            for packet in self.packets if self.tracks and end is not None else ():
                if packet.stream.index in self.tracks:
                    self._put_aside(packet)
                elif end is not None and packet.dts and packet.dts * packet.time_base > end + LATEST:
                    break
        self._settle()

    def _settle(self) -> None:
        for packet in self.early:
            self.beside.add(packet)
        self.early.clear()

    def _describe_beside(self, start: int, frames: int | None) -> Beside:
        """Note tags, streams and times; where times begin anywhere, as in broadcasts, let them begin at 0."""
        first, zero = self.first, Fraction(0)
        shown = first.pts * first.time_base if first.pts is not None and first.time_base else zero
        if self.container.format.name in BROADCAST and self.container.start_time:
            zero = Fraction(self.container.start_time, av.time_base)
        window = Window.of_frames(shown, self.format.time_base, start, frames)
        window = replace(window, back=window.back + zero)
        file = FileHeader(shown - zero, kept_tags(self.container.metadata))
        return Beside(file, {track.index: track for track in self.tracks.values()}, window)

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
            self._settle()
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
    only), else as the path's ending says. format: written along as far as the kind can hold it; so are
    the tags and streams of `beside`, whose packets are taken from there as the time of the pictures goes on.
    notices: lines that the user must be told; more may come. Raises VideoError.
    """

    notices: list[str]

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: VideoFormat,
        kind: str | None = None,
        beside: Beside | None = None,
    ) -> None:
        self._name = "standard output" if os.fspath(path) == "-" else os.fspath(path)
        self._size = format.width, format.height
        kind = kind or output_kind(path)
        beside = beside or Beside()
        if kind == "mp4" and (format.width % 2 or format.height % 2):
            odd = f"{format.width}x{format.height}"
            raise VideoError(f"{self._name}: mp4 (H.264) cannot hold the odd size {odd}; write .mkv or .y4m")
        with _translated(self._name):
            make: Callable[[str, VideoFormat, str, Beside], Sink]
            make = PlainSink if kind in ("yuv", "y4m") else _EncoderSink
            self._sink = make(os.fspath(path), format, kind, beside)
        self.notices = self._sink.notices
        self.notices[:0] = [*_unsaid(format, kind), *beside.notices]

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
    """A container written by FFmpeg, with what lies beside the pictures."""

    def __init__(self, path: str, format: VideoFormat, kind: str, beside: Beside) -> None:
        container, codec, options = ENCODERS[kind]
        self.container = av.open(
            f"file:{path}", "w", format=container, options={"max_interleave_delta": "1000000"}
        )
        self.beside, self.period, self.count = beside, format.time_base, 0
        try:
            options = options | {"chroma_sample_location": str(format.chroma_location)}
            stream = self.container.add_stream(codec, rate=format.frame_rate, options=options)
            assert isinstance(stream, VideoStream)
            self.stream = stream
            self._describe(format)
            self.container.metadata.update(beside.file.tags)
            self.tracks, self.notices = add_tracks(self.container, beside.streams.values())
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
        self.tick = _tick(self.period, self.beside.file.start)
        context.time_base = self.tick

    def write(self, frame: Frame) -> None:
        """Add one picture, and what lies beside those before it."""
        rows, columns = frame.y.shape
        picture = VideoFrame(columns, rows, "yuv420p")
        for plane, samples in zip(picture.planes, frame.planes, strict=True):
            lines = np.zeros((samples.shape[0], plane.line_size), np.uint8)
            lines[:, : samples.shape[1]] = samples
            plane.update(lines.tobytes())
        time = self.beside.file.start + self.count * self.period
        self._add(self.beside.until(time))
        picture.pts, picture.time_base = round(time / self.tick), self.tick
        picture.duration = round(self.period / self.tick)
        self.container.mux(self.stream.encode(picture))
        self.count += 1

    def _add(self, packets: list[AuxiliaryPacket]) -> None:
        for packet in packets:
            stream, track = self.tracks.get(packet.stream, (None, None))
            if stream is None or track is None:
                continue
            try:
                self.container.mux(given(packet, stream, track))
            except (av.ArgumentError, av.InvalidDataError, OverflowError) as error:  # times that go back, say
                self.notices.append(f"the {track} ends early: {getattr(error, 'strerror', error)}")
                del self.tracks[packet.stream]

    def finish(self) -> None:
        """Write what is held back."""
        self._add(self.beside.until(None))
        self.container.mux(self.stream.encode(None))

    def close(self) -> None:
        """Complete the file, and let it go."""
        self.container.close()


def _tick(period: Fraction, start: Fraction) -> Fraction:
    """The largest unit of time (in seconds) of which both are multiples, or else one that is fine enough."""
    whole = period.denominator * start.denominator
    tick = Fraction(gcd(period.numerator * start.denominator, start.numerator * period.denominator), whole)
    return tick if tick.denominator < 1 << 31 else period / 256
