"""Videos in: whatever a path names, as pictures in 4:2:0 of 8 or 10 bits."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from functools import partial
from io import BufferedReader
from itertools import islice
from math import ceil
from pathlib import Path
from typing import IO, Self

import av

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData, StreamKind
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.video.base import (
    FALLBACK_RATE,
    NO_RATE,
    Damage,
    OpenInput,
    Selection,
    TimedFrame,
    as_video_errors,
)
from bcodec.video.demux import ContainerInput
from bcodec.video.pipe import Pipe
from bcodec.video.raw import GUESSED, open_raw, raw_bytes
from bcodec.video.wholeness import promised_bytes
from bcodec.video.y4m import RAW_SUFFIXES, is_plain_y4m, open_y4m

NAMED = ".i420"  # bare planes whose name says their pixel format


class VideoReader:
    """The pictures of a video file, one after the other, each only once; a context manager.

    path: anything that PyAV opens, `-` for the standard input; `.yuv` or `.i420` (bare planes; size =
    (width, height) and frame_rate in Hz are then required, and a size else refused, but for the standard
    input, which is bare planes where it is given; raw_pixels is FFmpeg's name of their pixel format, by
    default yuv420p, and of `.yuv` a notice says so); a pattern like `shot%04d.png` for numbered pictures,
    else at 25 Hz. A pipe whose index may be at its end is copied to a temporary file first.
    frame_rate: a constant rate instead of the times and the rate that the file has.
    start, frames: skip so many pictures, then give at most so many. keep: the kinds of streams whose packets
    are kept as side data (None: none of them, and a notice): take them from `side_data`, or they heap up.
    deinterlace: make a frame of two fields; else interlaced video is refused.
    bit_depth: that of the pictures, 8 or 10, whatever the file has (None: as it has, but at most 10).
    video: which video stream of a container, counted from 0 (None: the film, not a cover). strict: damage is
    raised; else reading goes on behind it, and `damage` counts it. autoscale: pictures that change their size
    are scaled to that of the first; else VideoError. repeatable: a pipe is copied, too, unless it is planes
    alone, so that `again` can open it. name: what errors call it (None: the path).

    format: how the pictures are to be shown; rotation is counter-clockwise, in degrees; a sample aspect
    ratio of 0 is unknown; all times are multiples of the time base.
    side_data: the headers of the streams kept and the file's tags; packets come as pictures are read.
    frame_count: how many pictures will come, exactly or nearly; None if unknown.
    notices: lines that the user must be told; more may come while pictures are read.
    Raises VideoError, at the start or, after the undamaged pictures, where damage is met.
    """

    format: VideoFormat
    frame_count: int | None
    notices: list[str]
    side_data: SideData
    damage: Damage

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
        video: int | None = None,
        strict: bool = True,
        autoscale: bool = False,
        bit_depth: int | None = None,
        raw_pixels: str | None = None,
        repeatable: bool = False,
        name: str | None = None,
    ) -> None:
        path = os.fspath(path)
        self._name = name or ("standard input" if path == "-" else path)
        if start < 0 or (frames is not None and frames < 1):
            raise VideoError(f"{self._name}: cannot read {frames} frames from frame {start}")
        wanted = Selection(start, frames, keep, deinterlace, frame_rate, video, strict, autoscale, bit_depth)
        self._copy: IO[bytes] | None = None
        with as_video_errors(self._name), ExitStack() as failing:
            pipe = _pipe(path, size)
            if pipe and not pipe.is_plain_y4m and (repeatable or not pipe.in_order):
                self._copy = failing.enter_context(pipe.copy())
                path, pipe = self._copy.name, None
            self._input = _open(path, self._name, size, raw_pixels, wanted, pipe)
            failing.pop_all()
        self._again = partial(
            VideoReader,
            path,
            frame_rate=frame_rate,
            start=start,
            frames=frames,
            keep=keep,
            deinterlace=deinterlace,
            video=video,
            strict=strict,
            autoscale=autoscale,
            bit_depth=bit_depth,
            name=self._name,
        )
        self.format, self.notices = self._input.format, self._input.notices
        if bit_depth:
            self.format = replace(self.format, bit_depth=bit_depth)
        self.side_data, self.damage = self._input.side_data, self._input.damage
        if self._copy:
            self.notices.append(f"{self._name} has been copied to a temporary file, to be read from there")
        self.limit(start, frames)

    def __iter__(self) -> Iterator[Frame]:
        return (picture.frame for picture in self._frames)

    def timed(self) -> Iterator[TimedFrame]:
        """The pictures with their times since the first; each only once, here or without its time."""
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def limit(self, start: int, frames: int | None) -> None:
        """Give this part only, before any picture is read; what lies beside pictures is not cut by it."""
        self._frames, self.frame_count = self._selected(start, frames), self._input.frame_count
        if self.frame_count is not None:
            left = max(self.frame_count - start, 0)
            self.frame_count = left if frames is None else min(left, frames)

    def time_of(self, picture: int) -> Fraction:
        """When a picture is shown, in seconds since the first of the file, as far as packets tell."""
        clock = self._input.clock
        said = clock.time_of(picture) if clock else None
        return picture / self.format.frame_rate if said is None else said

    def picture_at(self, time: Fraction) -> int:
        """The first picture of the file that is shown at a time or later, in seconds since the first."""
        clock = self._input.clock
        said = clock.picture_at(time) if clock else None
        return ceil(time * self.format.frame_rate) if said is None else said

    def check_ahead(self) -> None:
        """See, before hours are spent, whether pictures change their size, and more; raises VideoError."""
        with as_video_errors(self._name):
            self._input.check_ahead()

    @property
    def again(self) -> Callable[..., VideoReader] | None:
        """What opens the copy of a pipe once more, as long as this is open; None where there is none."""
        return self._again if self._copy else None

    def close(self) -> None:
        """Let the file go."""
        self._input.close()
        if self._copy:
            self._copy.close()

    def _selected(self, start: int, frames: int | None) -> Iterator[TimedFrame]:
        skip = start - self._input.passed
        stop = None if frames is None else skip + frames
        origin = None
        with as_video_errors(self._name):
            for frame, time in islice(self._input.frames, skip, stop):
                origin = time if origin is None else origin
                yield TimedFrame(frame.at_depth(self.format.bit_depth), time - origin)
            self._input.read_on()
        if origin is None:
            raise VideoError(
                f"{self._name}: has no frame {start}" if start else f"{self._name}: has no frames"
            )


def is_sequence(path: str) -> bool:
    """Whether a path is a pattern of the names of numbered pictures, as shot%04d.png, and no file itself."""
    return bool(re.search(r"%\d*d", path)) and not os.path.exists(path)


def _is_raw(path: str, size: tuple[int, int] | None) -> bool:
    return Path(path).suffix.lower() in RAW_SUFFIXES or (path == "-" and size is not None)


def _pipe(path: str, size: tuple[int, int] | None) -> Pipe | None:
    """The pipe that a path names; None for bare planes, and for what is no pipe."""
    if _is_raw(path, size) or is_sequence(path):
        return None
    if path == "-":
        return Pipe(sys.stdin.buffer)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise VideoError(f"{path}: is a directory, not a video")
    return None if stat.S_ISREG(mode) else Pipe(open(path, "rb"))


def _open(
    path: str,
    name: str,
    size: tuple[int, int] | None,
    raw_pixels: str | None,
    wanted: Selection,
    pipe: Pipe | None,
) -> OpenInput:
    if _is_raw(path, size):
        return _open_raw(path, name, size, raw_pixels, wanted)
    if size:
        raise VideoError(f"{name}: the size is in the file; give it for raw planes only")
    if is_sequence(path):
        return _open_numbered(path, wanted)
    if pipe and pipe.is_plain_y4m and not wanted.deinterlace:
        if wanted.video:
            raise VideoError(f"{name}: has one video stream, which is number 0")
        return open_y4m(BufferedReader(pipe), name, None, wanted.frame_rate, strict=wanted.strict)
    if pipe:
        return ContainerInput(path, name, wanted, pipe=pipe)
    bytes_there = os.path.getsize(path)
    if bytes_there == 0:
        raise VideoError(f"{name}: is empty")
    with ExitStack() as failing:
        stream = failing.enter_context(open(path, "rb"))
        if is_plain_y4m(stream) and not wanted.deinterlace:
            plain = open_y4m(stream, name, bytes_there, wanted.frame_rate, strict=wanted.strict)
            failing.pop_all()  # the input keeps it
            return plain
        missing = max(promised_bytes(stream) - bytes_there, 0)
    return ContainerInput(path, name, wanted, missing=missing)


def _open_raw(
    path: str, name: str, size: tuple[int, int] | None, raw_pixels: str | None, wanted: Selection
) -> OpenInput:
    if wanted.deinterlace:
        raise VideoError(f"{name}: bare planes cannot be deinterlaced")
    if wanted.video:
        raise VideoError(f"{name}: has one video stream, which is number 0")
    if Path(path).suffix.lower() == NAMED:
        raw_pixels = raw_pixels or GUESSED
    if path == "-":
        return open_raw(sys.stdin.buffer, name, None, size, wanted.frame_rate, raw_pixels)
    with ExitStack() as failing:
        stream = failing.enter_context(open(path, "rb"))
        is_file = stat.S_ISREG(os.stat(path).st_mode)
        bytes_there = os.path.getsize(path) if is_file else None
        if bytes_there == 0:
            raise VideoError(f"{name}: is empty")
        plain = open_raw(stream, name, bytes_there, size, wanted.frame_rate, raw_pixels)
        failing.pop_all()  # the input keeps it
    return plain


def _open_numbered(path: str, wanted: Selection) -> OpenInput:
    pictures = ContainerInput(path, path, wanted, numbered=wanted.frame_rate or FALLBACK_RATE)
    pictures.notices += [] if wanted.frame_rate else [NO_RATE]
    return pictures


def video_packets(path: str, format: VideoFormat, raw_pixels: str | None = None) -> tuple[str, list[int]]:
    """The codec of a video file, and the bytes of the packets of its pictures, in display order.

    Of bare planes, `format` and `raw_pixels` (None: GUESSED) say the size of each. Raises VideoError.
    """
    if Path(path).suffix.lower() in RAW_SUFFIXES:
        each = raw_bytes(raw_pixels or GUESSED, (format.width, format.height))
        return "raw", [each] * (os.path.getsize(path) // each)
    with as_video_errors(path), av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        packets = [(p.pts or 0, p.size) for p in container.demux(stream) if p.size]
        return stream.codec_context.codec.canonical_name, [size for _, size in sorted(packets)]
