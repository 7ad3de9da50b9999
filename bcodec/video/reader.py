"""Videos in: whatever a path names, as pictures in 8-bit 4:2:0."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Self

import av

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData, StreamKind
from bcodec.errors import VideoError
from bcodec.frame import Frame, picture_bytes
from bcodec.video.base import OpenInput, Selection, TimedFrame, as_video_errors
from bcodec.video.demux import ContainerInput
from bcodec.video.wholeness import promised_bytes
from bcodec.video.y4m import RAW_SUFFIXES, is_plain_y4m, open_raw, open_y4m


class VideoReader:
    """The pictures of a video file, one after the other, each only once; a context manager.

    path: anything that PyAV opens; `.yuv` or `.i420` (planar 8-bit 4:2:0; size = (width, height) and
    frame_rate in Hz are then required, and a size else refused); `-` for y4m on the standard input.
    frame_rate: a constant rate instead of the times and the rate that the file has.
    start, frames: skip so many pictures, then give at most so many. keep: the kinds of streams whose packets
    are kept as side data (None: none of them, and a notice): take them from `side_data`, or they heap up.
    deinterlace: make a frame of two fields; else interlaced video is refused.

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
        wanted = Selection(start, frames, keep, deinterlace, frame_rate)
        with as_video_errors(self._name):
            self._input = _open(os.fspath(path), self._name, size, wanted)
        self._frames = self._selected(start, frames)
        self.format, self.notices = self._input.format, self._input.notices
        self.side_data = self._input.side_data
        self.frame_count = self._input.frame_count
        if self.frame_count is not None:
            left = max(self.frame_count - start, 0)
            self.frame_count = left if frames is None else min(left, frames)

    def __iter__(self) -> Iterator[Frame]:
        return (picture.frame for picture in self._frames)

    def timed(self) -> Iterator[TimedFrame]:
        """The pictures with their times since the first; each only once, here or without its time."""
        return self._frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._input.close()

    def _selected(self, start: int, frames: int | None) -> Iterator[TimedFrame]:
        stop = None if frames is None else start + frames
        origin = None
        with as_video_errors(self._name):
            for frame, time in islice(self._input.frames, start, stop):
                origin = time if origin is None else origin
                yield TimedFrame(frame, time - origin)
            self._input.read_on()
        if origin is None:
            raise VideoError(
                f"{self._name}: has no frame {start}" if start else f"{self._name}: has no frames"
            )


def _open(path: str, name: str, size: tuple[int, int] | None, wanted: Selection) -> OpenInput:
    raw, rate = Path(path).suffix.lower() in RAW_SUFFIXES, wanted.frame_rate
    if not raw and size:
        raise VideoError(f"{name}: the size is in the file; give it for raw .yuv only")
    if wanted.deinterlace and (raw or path == "-"):
        raise VideoError(f"{name}: only a video file can be deinterlaced, no pipe and no bare planes")
    if path == "-":
        return open_y4m(sys.stdin.buffer, name, None, rate)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise VideoError(f"{name}: is a directory, not a video")
    stream = open(path, "rb")  # noqa: SIM115 (the input keeps it)
    try:
        if not stat.S_ISREG(mode):
            return open_y4m(stream, name, None, rate)
        bytes_there = os.path.getsize(path)
        if bytes_there == 0:
            raise VideoError(f"{name}: is empty")
        if raw:
            return open_raw(stream, name, bytes_there, size, rate)
        if is_plain_y4m(stream) and not wanted.deinterlace:
            return open_y4m(stream, name, bytes_there, rate)
        missing = max(promised_bytes(stream) - bytes_there, 0)
    except BaseException:
        stream.close()
        raise
    stream.close()
    return ContainerInput(path, name, missing, wanted)


def video_packets(path: str, format: VideoFormat) -> tuple[str, list[int]]:
    """The codec of a video file, and the bytes of the packets of its pictures, in display order.

    Of bare planes, `format` says the size of each. Raises VideoError.
    """
    if Path(path).suffix.lower() in RAW_SUFFIXES:
        each = picture_bytes(format.width, format.height)
        return "raw", [each] * (os.path.getsize(path) // each)
    with as_video_errors(path), av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        packets = [(p.pts or 0, p.size) for p in container.demux(stream) if p.size]
        return stream.codec_context.codec.canonical_name, [size for _, size in sorted(packets)]
