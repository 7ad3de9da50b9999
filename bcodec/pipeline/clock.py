"""When the pictures of a .bcv file are shown, and which one at a time: looked up by its index."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import BinaryIO

from bcodec.bitstream import BitstreamReader
from bcodec.errors import BitstreamError


class CodedClock:
    """The times of the pictures in a file, in seconds since the first one; its reading position stays.

    Where the file is damaged or at its end, times go on at the nominal rate. The file must be seekable.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        with self._reading():
            file.seek(0)
            self._reader = BitstreamReader(file)
            self._rate, index = self._reader.header.video.frame_rate, self._reader.index
        self._count, self._starts = index.frame_count, [entry.poc for entry in index.entries]

    def time_of(self, picture: int) -> Fraction:
        """When a picture is shown."""
        last = min(picture, self._count - 1)
        place = bisect_right(self._starts, last) - 1
        if place < 0:
            return picture / self._rate
        return self._times(place)[last - self._starts[place]] + (picture - last) / self._rate

    def picture_at(self, time: Fraction) -> int:
        """The first picture that is shown at a time or later."""
        place = bisect_left(range(len(self._starts)), time, key=lambda place: self._times(place)[0]) - 1
        if place < 0:
            return 0
        found = self._starts[place] + bisect_left(self._times(place), time)
        over = (time - self.time_of(self._count)) * self._rate if found == self._count else Fraction(0)
        return found + max(-int(-over // 1), 0)

    def _times(self, place: int) -> list[Fraction]:
        """Of the pictures from one I frame to before the next."""
        begin, end, *_ = [*self._starts[place : place + 2], max(self._count, self._starts[place] + 1)]
        video, times = self._reader.header.video, {poc: poc / self._rate for poc in range(begin, end)}
        missing = set(times)
        with self._reading(), suppress(BitstreamError):
            self._reader.seek(begin)
            while missing and (packet := next(self._reader.frames(), None)):
                poc = packet.header.poc
                if poc in missing:
                    times[poc] = video.time(poc, packet.delay)
                    missing.remove(poc)
        return list(times.values())

    @contextmanager
    def _reading(self) -> Iterator[None]:
        position = self._file.tell()
        try:
            yield
        finally:
            self._file.seek(position)
