"""Whether a .bcv file is whole, and decodes to the pictures that were encoded."""

from __future__ import annotations

from contextlib import closing

from bcodec.crew import Jobs
from bcodec.errors import BitstreamError, CodecError
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.pictures import pictures
from bcodec.pipeline.tally import Follow, Tally, unwatched


def verify_file(
    coded: CodedVideo, networks: Networks, *, jobs: Jobs = 1, follow: Follow = unwatched
) -> Tally:
    """Decode all of it without output; every picture is compared with its hash.

    `jobs`: processes that decode at the same time, Auto for as many as help, or a crew. Raises Unreadable
    and ProcessKilled.
    """
    tally = Tally(coded.header.video, coded.total, follow)
    try:
        with closing(pictures(coded, coded.counted(tally), networks, jobs, None)) as decoded:
            for picture in decoded:
                coded.time(picture.poc)  # those that nobody takes would heap up
                tally.count_frame()
    except (BitstreamError, CodecError) as error:
        raise coded.unreadable(error, tally.frames) from error
    if not tally.frames:
        raise coded.unreadable(None, 0)
    return tally
