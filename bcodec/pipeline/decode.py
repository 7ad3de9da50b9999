"""How a .bcv file becomes a video: everything before the damage, where there is some."""

from __future__ import annotations

import logging
from itertools import islice
from typing import NamedTuple

from bcodec.bitstream.sidecar import run_on
from bcodec.codec import decode
from bcodec.errors import BitstreamError, CodecError, Unreadable
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.tally import Follow, Tally, unwatched
from bcodec.video import VideoWriter

log = logging.getLogger("bcodec")


class Decoded(NamedTuple):
    """What came of a decode, and the damage that ended it too early, None if nothing did."""

    tally: Tally
    damage: Unreadable | None


def decode_file(
    coded: CodedVideo, path: str, kind: str, networks: Networks, *, follow: Follow = unwatched
) -> Decoded:
    """Write the pictures, and what lies beside them, to the video at `path`, of a `kind` as in VideoWriter.

    Damage is returned if any frame came before it. Raises Unreadable if none did, and VideoError.
    """
    damage = None
    with VideoWriter(path, coded.header.video, kind, coded.side_data) as writer:
        tally = Tally(coded.header.video, coded.total, follow)
        for notice in writer.notices:
            log.warning(notice)
        told = len(writer.notices)
        pictures = decode(coded.counted(tally), coded.header, networks)
        try:
            for frame in islice(pictures, coded.skip, coded.frames and coded.skip + coded.frames):
                writer.write(frame)
                tally.count_frame()
            if coded.frames:
                run_on(coded.packets, coded.side_data, coded.start + coded.frames)
        except (BitstreamError, CodecError) as error:
            damage = coded.unreadable(error, tally.frames)
    for notice in writer.notices[told:]:
        log.warning(notice)
    if not tally.frames:
        raise damage or coded.unreadable(None, 0)
    return Decoded(tally, damage)
