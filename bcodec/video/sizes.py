"""Whether the pictures of a video keep their size, found by their key frames before hours of coding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from bcodec.bitstream.sidecar import TimeRange
from bcodec.video.timeline import BROADCAST, EDITED, Timeline

APART = Fraction(1)  # second; of a video all of key frames, no more are looked at


class Change(NamedTuple):
    """Where the size changes: the time in seconds, and what it is then."""

    time: Fraction
    width: int
    height: int


def first_change(path: str, index: int, size: tuple[int, int], wanted: TimeRange) -> Change | None:
    """The first key frame of a stream, in the time that is wanted, that has not this size.

    What is damaged, and a change between key frames, it passes over. Raises av.FFmpegError where the file
    cannot be opened.
    """
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        with suppress(av.FFmpegError):
            for found in _key_sizes(container, stream, wanted):
                if found[1:] != size:
                    return found
    return None


def _key_sizes(container: InputContainer, stream: VideoStream, wanted: TimeRange) -> Iterator[Change]:
    context, due = stream.codec_context, wanted.begin
    timeline, part = Timeline(closes_gaps=container.format.name in BROADCAST), 0
    streams: list[Stream] = [stream]
    for packet in container.demux(streams):
        if packet.size and container.format.name != EDITED:
            timeline.straighten(packet)
        if not packet.size or not packet.is_keyframe or packet.is_corrupt or packet.pts is None:
            continue
        time = packet.pts * packet.time_base
        if wanted.end is not None and time >= wanted.end:
            return
        begins_anew = len(timeline.jumps) > part and (wanted.begin is None or time >= wanted.begin)
        if due is None or time >= due or begins_anew:
            with suppress(av.FFmpegError):
                context.decode(packet)
                yield Change(time, context.width, context.height)
            due, part = time + APART, len(timeline.jumps)
