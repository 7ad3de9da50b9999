"""The pictures of an opened .bcv file, decoded by one process or by a crew."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from bcodec.bitstream import Packet
from bcodec.crew import Crew, Jobs
from bcodec.decoder import Gap, decode_around_damage, decode_part
from bcodec.errors import BitstreamError
from bcodec.networks import Networks
from bcodec.pipeline.jobs import FEW_TO_DECODE, crew_for
from bcodec.pipeline.opening import CodedVideo
from bcodec.windows import DecodedFrame


def pictures(
    coded: CodedVideo,
    packets: Iterable[Packet | BitstreamError],
    networks: Networks,
    jobs: Jobs,
    count: int | None,
    bit_depth: int | None = None,
) -> Generator[DecodedFrame, None, None]:
    """Decode `packets`, those of `coded`, of which `count` frames are wanted at most (None: all).

    `bit_depth` as for `decode`. `jobs`: how many processes, Auto for as many as help, or a crew. Raises what
    `decode_part` raises, and UsageError for a device that they cannot share. Close it to end their work.
    """
    crew = _crew(coded, networks, jobs, count)
    parts = decode_part(
        packets, coded.header, networks, start=coded.start, count=count, crew=crew, bit_depth=bit_depth
    )
    yield from parts


def pictures_around_damage(
    coded: CodedVideo,
    packets: Iterable[Packet | BitstreamError],
    networks: Networks,
    jobs: Jobs,
    count: int | None,
    bit_depth: int | None = None,
) -> Generator[DecodedFrame | Gap, None, None]:
    """What `pictures` gives, and where frames are lost a Gap, and those behind it."""
    crew = _crew(coded, networks, jobs, count)
    parts = decode_around_damage(
        packets, coded.header, networks, start=coded.start, count=count, crew=crew, bit_depth=bit_depth
    )
    yield from parts


def _crew(coded: CodedVideo, networks: Networks, asked: Jobs, count: int | None) -> Crew | None:
    known = [frames for frames in (count, coded.total) if frames is not None]
    header, frames = coded.header, min(known, default=None)
    return crew_for(asked, networks.device, header.video, frames, FEW_TO_DECODE)
