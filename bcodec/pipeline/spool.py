"""Frames kept in a temporary file: y4m or planes of a pipe, for an encode that reads them several times."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Self

from bcodec.bitstream import VideoFormat
from bcodec.bitstream.sidecar import SideData
from bcodec.frame import Frame, picture_bytes
from bcodec.video import Damage, TimedFrame


class Spool:
    """The frames of a video and their times, from first to last as often as wanted; a context manager.

    `format`, `frame_count` and `damage` as in VideoReader. It takes as much space among the temporary files
    as the uncompressed video. Raises OSError, naming their folder, if that is not there.
    """

    def __init__(self, format: VideoFormat, pictures: Iterable[TimedFrame], damage: Damage) -> None:
        self.format, self.frame_count, self.damage = format, 0, damage
        self.notices: list[str] = []
        self.side_data = SideData()  # nothing: y4m has no sound
        self._times: list[Fraction] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        try:
            for frame, time in pictures:
                self._keep(frame)
                self._times.append(time)
        except BaseException:
            self.close()
            raise

    def _keep(self, frame: Frame) -> None:
        try:
            self._file.write(frame.to_bytes())
            self._file.flush()
        except OSError as error:
            error.filename = tempfile.gettempdir()
            raise
        self.frame_count += 1

    def timed(self) -> Iterator[TimedFrame]:
        """The frames with their times."""
        shape = self.format.width, self.format.height, self.format.bit_depth
        self._file.seek(0)
        for time in self._times:
            yield TimedFrame(Frame.from_bytes(self._file.read(picture_bytes(*shape)), *shape), time)

    def close(self) -> None:
        """Let go of the frames."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
