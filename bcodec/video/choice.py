"""Which video stream of a container is the film, and the first packets, which tell that and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from bcodec.errors import VideoError
from bcodec.video.adts import is_adts
from bcodec.video.base import Damage
from bcodec.video.extras import NOT_THE_FILM, is_cover

AnyPackets: TypeAlias = "Iterator[Packet[Stream]]"

MOST_AHEAD = 500  # packets; who has shown one picture by then is no film
MOST_BYTES_AHEAD = 1 << 26


@dataclass
class Choice:
    """The film; the packets of it and of the `others`, from the first on, with some of no interest between.

    covers, heads: by the index of their stream, the first packet of each cover, and of each stream in ADTS.
    """

    film: VideoStream
    packets: AnyPackets
    covers: dict[int, bytes]
    heads: dict[int, bytes]


def choose(
    container: InputContainer, number: int | None, others: Sequence[Stream], damage: Damage | None
) -> Choice:
    """Find the film: video stream `number`, from 0, or (None) one that moves, by preference the default.

    damage: where to count what cannot be read; None raises av.FFmpegError instead, where it is met. Raises
    VideoError, without the name of the file, if there is no film.
    """
    films = _candidates(container, number)
    covers = [stream for stream in container.streams if is_cover(stream) and stream not in films]
    wanted = {
        s.index: 1 for s in [*covers, *(s for s in others if isinstance(s, AudioStream) and is_adts(s))]
    }
    if len(films) > 1:
        wanted |= {film.index: 2 for film in films if film.frames == 0}
    packets = read_packets(container, [*films, *covers, *others], damage)
    ahead, packets = _read_ahead(packets, wanted)
    seen = Counter(packet.stream.index for packet in ahead)
    moving = [film for film in films if film.frames > 1 or seen[film.index] > 1] or films
    film = max(moving, key=lambda film: bool(film.disposition & Disposition.default))
    first = {packet.stream.index: bytes(packet) for packet in reversed(ahead)}
    return Choice(
        film,
        packets,
        {stream.index: first[stream.index] for stream in covers if stream.index in first},
        {
            stream.index: first[stream.index]
            for stream in others
            if stream.index in wanted.keys() & first.keys()
        },
    )


def _candidates(container: InputContainer, number: int | None) -> list[VideoStream]:
    videos = list(container.streams.video)
    if number is not None:
        if number >= len(videos):
            last = f"they are 0 to {len(videos) - 1}" if videos else "it has none"
            raise VideoError(f"has no video stream {number}: {last}")
        return [videos[number]]
    moving = [stream for stream in videos if not stream.disposition & NOT_THE_FILM]
    if not moving:
        raise VideoError(
            f"has no video in it, {'only audio' if container.streams.audio else 'nothing to show'}"
        )
    return moving


def _read_ahead(packets: AnyPackets, wanted: dict[int, int]) -> tuple[list[Packet[Stream]], AnyPackets]:
    """Read until so many packets of each wanted stream have come; give them, and all packets once more."""
    taken: list[Packet[Stream]] = []
    missing, size = Counter(wanted), 0
    try:
        while any(count > 0 for count in missing.values()):
            packet = next(packets, None)
            if packet is None or len(taken) >= MOST_AHEAD or size > MOST_BYTES_AHEAD:
                taken += [packet] if packet else []
                break
            taken.append(packet)
            size += packet.size
            missing[packet.stream.index] -= 1
    except av.FFmpegError as error:
        return taken, chain(taken, _raising(error))
    return taken, chain(taken, packets)


def read_packets(container: InputContainer, streams: Sequence[Stream], damage: Damage | None) -> AnyPackets:
    """All packets that hold something, from where the container is on.

    Reading goes on behind what cannot be read, as long as more comes, and `damage` counts it; where that is
    None, av.FFmpegError is raised instead.
    """
    more = True
    while more:
        more = False
        try:
            for packet in container.demux(streams):
                if packet.size:
                    more = True
                    yield packet
            return
        except av.FFmpegError:
            if damage is None:
                raise
            damage.count()


def _raising(error: Exception) -> AnyPackets:
    raise error
    yield  # a generator: it raises when it is asked
