"""The pictures of an opened .bcv file, decoded by one process or by several."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

from bcodec.bitstream import Packet
from bcodec.codec import decode
from bcodec.frame import Frame
from bcodec.networks import Networks
from bcodec.pipeline.jobs import FEW_TO_DECODE, jobs_for
from bcodec.pipeline.opening import CodedVideo
from bcodec.spans import decode_in_parallel


def pictures(
    coded: CodedVideo,
    packets: Iterable[Packet],
    networks: Networks,
    jobs: int | None,
    count: int | None = None,
) -> Generator[Frame, None, None]:
    """Decode `packets`, those of `coded`, of which `count` frames are wanted at most (None: all).

    `jobs`: how many processes, None for as many as help. Raises what `decode` raises, UsageError for several
    on a device that they cannot share, and ProcessKilled. Close it to end them at once.
    """
    known = [count] if count else []
    known += [] if coded.total is None else [coded.skip + coded.total]
    header = coded.header
    frames, device = min(known, default=None), networks.device
    jobs = jobs_for(jobs, device, header.video, frames, header.gop_size, FEW_TO_DECODE)
    if jobs == 1:
        yield from decode(packets, header, networks)
    else:
        with closing(decode_in_parallel(packets, header, networks, jobs, count=count)) as shown:
            yield from shown
