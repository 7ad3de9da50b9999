"""Videos in: whatever a path names, as pictures in 4:2:0 of 8 or 10 bits."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Self

import av

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData, StreamKind
from bcodec.errors import VideoError
from bcodec.frame import Frame, picture_bytes
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
from bcodec.video.wholeness import promised_bytes
from bcodec.video.y4m import RAW_SUFFIXES, is_plain_y4m, open_raw, open_y4m


class VideoReader:
    """The pictures of a video file, one after the other, each only once; a context manager.

    path: anything that PyAV opens; `.yuv` or `.i420` (planar 4:2:0; size = (width, height) and
    frame_rate in Hz are then required, and a size else refused; raw_depth is 8 or 10 bits, of 10 a sample has
    two bytes, the lower one first); `-` for the standard input, which is y4m or, where a size is given, bare
    planes; a pattern like `shot%04d.png` for numbered pictures, else at 25 Hz.
    frame_rate: a constant rate instead of the times and the rate that the file has.
    start, frames: skip so many pictures, then give at most so many. keep: the kinds of streams whose packets
    are kept as side data (None: none of them, and a notice): take them from `side_data`, or they heap up.
    deinterlace: make a frame of two fields; else interlaced video is refused.
    bit_depth: that of the pictures, 8 or 10, whatever the file has (None: as it has, but at most 10).
    video: which video stream of a container, counted from 0 (None: the film, not a cover). strict: damage is
    raised; else reading goes on behind it, and `damage` counts it.

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
        bit_depth: int | None = None,
        raw_depth: int = 8,
    ) -> None:
        self._name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
        if start < 0 or (frames is not None and frames < 1):
            raise VideoError(f"{self._name}: cannot read {frames} frames from frame {start}")
        wanted = Selection(start, frames, keep, deinterlace, frame_rate, video, strict, bit_depth)
        self._input: OpenInput
        with as_video_errors(self._name):
            if is_sequence(os.fspath(path)) and not size:
                self._input = _open_numbered(os.fspath(path), wanted)
            else:
                self._input = _open(os.fspath(path), self._name, size, raw_depth, wanted)
        self._frames = self._selected(start, frames)
        self.format, self.notices = self._input.format, self._input.notices
        if bit_depth:
            self.format = replace(self.format, bit_depth=bit_depth)
        self.side_data, self.damage = self._input.side_data, self._input.damage
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

    def check_size(self) -> None:
        """See, before hours are spent, that the pictures keep their size; raises VideoError."""
        with as_video_errors(self._name):
            self._input.check_size()

    def close(self) -> None:
        """Let the file go."""
        self._input.close()

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


def _open_numbered(path: str, wanted: Selection) -> OpenInput:
    pictures = ContainerInput(path, path, 0, wanted, wanted.frame_rate or FALLBACK_RATE)
    pictures.notices += [] if wanted.frame_rate else [NO_RATE]
    return pictures


def _open(path: str, name: str, size: tuple[int, int] | None, raw_depth: int, wanted: Selection) -> OpenInput:
    raw = Path(path).suffix.lower() in RAW_SUFFIXES or (path == "-" and size is not None)
    rate, strict = wanted.frame_rate, wanted.strict
    if not raw and size:
        raise VideoError(f"{name}: the size is in the file; give it for raw planes only")
    if wanted.deinterlace and (raw or path == "-"):
        raise VideoError(f"{name}: only a video file can be deinterlaced, no pipe and no bare planes")
    if wanted.video and (raw or path == "-"):
        raise VideoError(f"{name}: has one video stream, which is number 0")
    if path == "-" and raw:
        return open_raw(sys.stdin.buffer, name, None, size, rate, raw_depth)
    if path == "-":
        return open_y4m(sys.stdin.buffer, name, None, rate, strict=strict)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise VideoError(f"{name}: is a directory, not a video")
    stream = open(path, "rb")  # noqa: SIM115 (the input keeps it)
    try:
        if not stat.S_ISREG(mode):
            return open_y4m(stream, name, None, rate, strict=strict)
        bytes_there = os.path.getsize(path)
        if bytes_there == 0:
            raise VideoError(f"{name}: is empty")
        if raw:
            return open_raw(stream, name, bytes_there, size, rate, raw_depth)
        if is_plain_y4m(stream) and not wanted.deinterlace:
            return open_y4m(stream, name, bytes_there, rate, strict=strict)
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
        each = picture_bytes(format.width, format.height, format.bit_depth)
        return "raw", [each] * (os.path.getsize(path) // each)
    with as_video_errors(path), av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        packets = [(p.pts or 0, p.size) for p in container.demux(stream) if p.size]
        return stream.codec_context.codec.canonical_name, [size for _, size in sorted(packets)]
