"""When a picture of a video is shown, found without decoding: what is before it need not be decoded then."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
from av.video.stream import VideoStream

DEEPEST = 64  # packets by which a picture may come behind one that is shown later
LEADS = (Fraction(10), Fraction(60))  # seconds before a picture where decoding begins, the second if need be


def time_of(path: str, index: int, picture: int, since: Fraction) -> Fraction | None:
    """When the picture of that number is shown, in seconds; that shown at `since` is number 0.

    index: of the video stream. Packets before `since` were not decoded: a recording may begin anywhere. None
    where packets do not tell, or their times go back, or there are too few.
    Raises av.FFmpegError where the file cannot be opened.
    """
    shown: list[int] = []
    decoded: list[int] = []
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        try:
            for packet in container.demux(stream):
                if not packet.size or packet.is_discard:
                    continue
                if packet.pts is None:
                    return None
                shown += [packet.pts] if packet.pts * packet.time_base >= since else []
                decoded += [] if packet.dts is None else [packet.dts]
                if len(shown) > picture + DEEPEST:
                    break
        except av.FFmpegError:
            return None
        in_order = all(before <= after for before, after in pairwise(decoded))
        found = sorted(shown)[picture] if in_order and picture < len(shown) else None
        return None if found is None or not stream.time_base else found * stream.time_base
