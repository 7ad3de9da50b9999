"""Video files in and out: FFmpeg's by PyAV, raw 4:2:0 and y4m without it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData, StreamKind
from bcodec.errors import BitstreamError, VideoError
from bcodec.frame import Frame, picture_bytes
from bcodec.video.demux import Decoder
from bcodec.video.mux import EncoderSink
from bcodec.video.wholeness import promised_bytes
from bcodec.video.y4m import PlainSink, Sink, Source, is_plain_y4m, open_raw, open_y4m

__all__ = ["RAW_SUFFIXES", "VideoError", "VideoReader", "VideoWriter", "output_kind", "video_packets"]

RAW_SUFFIXES = (".yuv", ".i420")
OUTPUT_KINDS = {".yuv": "yuv", ".i420": "yuv", ".y4m": "y4m", ".mkv": "mkv", ".mp4": "mp4"}

av.logging.set_level(None)  # what matters is said by VideoError; FFmpeg says more, on stderr


# ---------------------------------------------------------------- reading


class VideoReader:
    """The pictures of a video file, one after the other, each only once; a context manager.

    path: anything that PyAV opens; `.yuv` or `.i420` (planar 8-bit 4:2:0; size = (width, height) and
    frame_rate in Hz are then required, and else refused); `-` for y4m on the standard input.
    start, frames: skip so many pictures, then give at most so many. keep: the kinds of streams whose packets
    are kept as side data (None: none of them, and a notice): take them from `side_data`, or they heap up.
    deinterlace: make a frame of two fields; else interlaced video is refused.

    format: how the pictures are to be shown; rotation is counter-clockwise, in degrees; a sample aspect
    ratio of 0 is unknown; the time base is the frame period.
    side_data: the headers of the streams kept and the file's tags; their packets come as pictures are read.
    frame_count: how many pictures will come, exactly or nearly; None if unknown.
    notices: lines that the user must be told; more may come while pictures are read.
    Raises VideoError, at the start or, after the undamaged pictures, where damage is met.
    """

    format: VideoFormat
    frame_count: int | None
    notices: list[str]
    side_data: SideData

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int] | None = None,
        frame_rate: Fraction | None = None,
        start: int = 0,
        frames: int | None = None,
        keep: Collection[StreamKind] | None = None,
        deinterlace: bool = False,
    ) -> None:
        self._name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        if start < 0 or (frames is not None and frames < 1):
            raise VideoError(f"{self._name}: cannot read {frames} frames from frame {start}")
        with _translated(self._name):
            decoder = partial(Decoder, start=start, frames=frames, keep=keep, deinterlace=deinterlace)
            self._source = _open(os.fspath(path), self._name, size, frame_rate, decoder=decoder)
        self._frames = self._window(start, frames)
        self.format, self.notices = self._source.format, self._source.notices
        self.side_data = self._source.side_data
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
    decoder: partial[Decoder],
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
    except OverflowError as error:
        raise VideoError(f"{name}: a rate, ratio or time is beyond what FFmpeg can hold") from error
    except (av.FFmpegError, OSError, UnicodeError, BitstreamError) as error:
        raise VideoError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


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
    the tags and streams of `side_data`, whose packets are taken as the time of the pictures goes on.
    notices: lines that the user must be told; more may come. Raises VideoError.
    """

    notices: list[str]

    def __init__(
        self,
        path: str | os.PathLike[str],
        format: VideoFormat,
        kind: str | None = None,
        side_data: SideData | None = None,
    ) -> None:
        self._name = "standard output" if os.fspath(path) == "-" else os.fspath(path)
        self._size = format.width, format.height
        kind = kind or output_kind(path)
        side_data = side_data or SideData()
        if kind == "mp4" and (format.width % 2 or format.height % 2):
            odd = f"{format.width}x{format.height}"
            raise VideoError(f"{self._name}: mp4 (H.264) cannot hold the odd size {odd}; write .mkv or .y4m")
        with _translated(self._name):
            make: Callable[[str, VideoFormat, str, SideData], Sink]
            make = PlainSink if kind in ("yuv", "y4m") else EncoderSink
            self._sink = make(os.fspath(path), format, kind, side_data)
        self.notices = self._sink.notices
        self.notices[:0] = [*_unsaid(format, kind), *side_data.notices]

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
    notices = []
    if format.rotation and kind == "y4m":
        notices.append(f"y4m cannot say that the video is rotated by {format.rotation} degrees")
    return notices
