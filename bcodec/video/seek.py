"""When a picture of a video is shown, found without decoding: what is before it need not be decoded then."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from statistics import median

import av
from av.video.stream import VideoStream

DEEPEST = 64  # packets by which a picture may come behind one that is shown later
MANY = 500  # packets by which the usual rate is found
LEADS = (Fraction(10), Fraction(60))  # seconds before a picture where decoding begins, the second if need be


class PacketClock:
    """The times of the pictures of a video file, in seconds since the one shown at `since`, by its packets.

    index: of the video stream. Packets before `since` were not decoded: a recording may begin anywhere.
    Raises av.FFmpegError where the file cannot be opened.
    """

    def __init__(self, path: str, index: int, since: Fraction) -> None:
        self.path, self.index, self.since = path, index, since

    def time_of(self, picture: int) -> Fraction | None:
        """When a picture is shown; None where packets do not tell, or times go back, or there is none."""
        shown = self._shown(lambda times: len(times) > picture + DEEPEST)
        return shown[picture] if shown and picture < len(shown) else None

    def picture_at(self, time: Fraction) -> int | None:
        """The first picture that is shown at a time or later; None where packets do not tell."""
        shown = self._shown(lambda times: len(times) > DEEPEST and min(times[-DEEPEST:]) >= time)
        return bisect_left(shown, time) if shown else None

    def usual_step(self) -> Fraction | None:
        """The median of the times from one picture to the next, as far as one looks."""
        shown = self._shown(lambda times: len(times) > MANY)
        return median(after - before for before, after in pairwise(shown)) if shown and shown[1:] else None

    def _shown(self, enough: Callable[[list[Fraction]], bool]) -> list[Fraction] | None:
        """When pictures are shown, ascending, of so many packets as are enough; None if they do not tell."""
        shown: list[Fraction] = []
        decoded: list[int] = []
        with av.open(f"file:{self.path}", metadata_errors="ignore") as container:
            stream = container.streams[self.index]
            assert isinstance(stream, VideoStream)
            try:
                for packet in container.demux(stream):
                    if not packet.size or packet.is_discard:
                        continue
                    if packet.pts is None:
                        return None
                    time = packet.pts * packet.time_base - self.since
                    shown += [time] if time >= 0 else []
                    decoded += [] if packet.dts is None else [packet.dts]
                    if enough(shown):
                        break
            except av.FFmpegError:
                return None
        in_order = all(before <= after for before, after in pairwise(decoded))
        return sorted(shown) if in_order else None
