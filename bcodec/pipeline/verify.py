"""Whether a .bcv file is whole, and decodes to the pictures that were encoded."""

from __future__ import annotations

from bcodec.codec import decode
from bcodec.errors import BitstreamError, CodecError
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.tally import Follow, Tally, unwatched


def verify_file(coded: CodedVideo, networks: Networks, *, follow: Follow = unwatched) -> Tally:
    """Decode all of it without output; every picture is compared with its hash. Raises Unreadable."""
    tally = Tally(coded.header.video, coded.total, follow)
    try:
        pictures = decode(coded.counted(tally), coded.header, networks)
        for _ in zip(pictures, coded.times(), strict=False):  # times that nobody takes would heap up
            tally.count_frame()
    except (BitstreamError, CodecError) as error:
        raise coded.unreadable(error, tally.frames) from error
    if not tally.frames:
        raise coded.unreadable(None, 0)
    return tally
