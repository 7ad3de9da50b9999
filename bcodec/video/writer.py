"""Videos out: pictures and side data into a file of the kind that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from av.codec import Codec
from av.codec.codec import UnknownCodecError

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.light import Light
from bcodec.bitstream.sidecar import SideData
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.video.base import OpenOutput, as_video_errors
from bcodec.video.convert import PIXELS
from bcodec.video.mux import CONTAINERS, ENCODERS, ContainerOutput
from bcodec.video.y4m import RAW_SUFFIXES, PlainOutput, says_chroma

KINDS = dict.fromkeys(RAW_SUFFIXES, "yuv") | {f".{kind}": kind for kind in ("y4m", *CONTAINERS)}
BT2020, PQ, HLG = 9, 16, 18  # in numbers of H.273: primaries, and transfers of HDR
INSTEAD = {".webm": ".mkv (lossless) or .mp4", ".mov": ".mp4", ".m4v": ".mp4"}


def output_kind(path: str | os.PathLike[str]) -> str:
    """Give the kind of file that a path's ending asks for: yuv, y4m, mkv or mp4; VideoError for another."""
    if os.fspath(path) == "-":
        return "y4m"
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        what = f"{os.fspath(path)}: cannot write {suffix or 'a file without an ending'}"
        if suffix in INSTEAD:
            raise VideoError(f"{what}; write {INSTEAD[suffix]} instead")
        raise VideoError(f"{what}; known are {', '.join(KINDS)}")
    return KINDS[suffix]


class VideoWriter:
    """A video file being written, each picture at its time; a context manager, finished at its end.

    path: where to write at once (pass a temporary path and rename it for all or nothing), `-` for the
    standard output, which cannot be mp4. kind: yuv (planes alone), y4m, mkv (FFV1, lossless), mp4 (H.264
    or, of 10 bits, H.265: lossy, even sizes only), else as the path's ending says. format: written along as
    far as the kind can hold it; so are the tags and streams of `side_data`, whose packets are taken as the
    time of the pictures goes on. yuv and y4m have the constant rate of the format; where times were others, a
    notice at the end.
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
        self._size = format.width, format.height, format.bit_depth
        self._rate, self._count = format.frame_rate, 0
        kind = kind or output_kind(path)
        side_data = side_data or SideData()
        if kind == "mp4" and os.fspath(path) == "-":
            raise VideoError(f"{self._name}: cannot be mp4, which is written in no single go; take mkv")
        if kind == "mp4" and (format.width % 2 or format.height % 2):
            odd = f"{format.width}x{format.height}"
            raise VideoError(f"{self._name}: mp4 (H.264) cannot hold the odd size {odd}; write .mkv or .y4m")
        if kind in CONTAINERS and not _can_encode(kind, format.bit_depth):
            deep = f"{format.bit_depth} bits in {kind}"
            raise VideoError(f"{self._name}: this FFmpeg cannot write {deep}; write .mkv or .y4m")
        open_output: Callable[[str, VideoFormat, str, SideData], OpenOutput]
        open_output = ContainerOutput if kind in CONTAINERS else PlainOutput
        with as_video_errors(self._name):
            self._output = open_output(os.fspath(path), format, kind, side_data)
        self.notices = self._output.notices
        self.notices[:0] = [*_unsaid(format, side_data.extras.light, kind), *side_data.notices]

    def write(self, frame: Frame, time: Fraction | None = None) -> None:
        """Add one picture, shown `time` seconds after the first (None: at the format's rate).

        Times must ascend. ValueError for a picture that is not of the format's size and depth.
        """
        size = frame.width, frame.height, frame.bit_depth
        if size != self._size:
            own, wanted = ("{}x{} of {} bits".format(*each) for each in (size, self._size))
            raise ValueError(f"a picture of {own} in a video of {wanted}")
        with as_video_errors(self._name):
            self._output.write(frame, self._count / self._rate if time is None else time)
        self._count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with as_video_errors(self._name):
            try:
                if error is None:
                    self._output.finish()
            finally:
                self._output.close()


def _can_encode(kind: str, bit_depth: int) -> bool:
    """Whether FFmpeg has the encoder for a kind of file, and it takes samples of so many bits."""
    try:
        formats = Codec(ENCODERS[kind, bit_depth][0], "w").video_formats or []
    except UnknownCodecError:
        return False
    return PIXELS[bit_depth] in {pixels.name for pixels in formats}


def _unsaid(format: VideoFormat, light: Light, kind: str) -> list[str]:
    """Tell what planes alone cannot say of the pictures (bare ones are known to tell no rotation)."""
    told, lost = [], []
    if kind == "y4m" and format.rotation:
        told.append(f"y4m cannot say that the video is rotated by {format.rotation} degrees")
    if kind == "y4m" and not says_chroma(format):
        lost.append("where the samples of chroma are")
    if format.colour_primaries == BT2020 or format.colour_transfer in (PQ, HLG):  # what is usual is guessed
        lost.append("the primaries, transfer and matrix of the colours")
    if light.has_display or light.has_content:
        lost.append("what light the film was graded for")
    if lost and kind not in CONTAINERS:
        told.append(f"{kind} cannot say {', nor '.join(lost)}; mkv and mp4 can")
    return told
