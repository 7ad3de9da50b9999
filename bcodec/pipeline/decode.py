"""How a .bcv file becomes a video: everything before the damage, where there is some."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

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
    coded: CodedVideo,
    path: str,
    kind: str,
    networks: Networks,
    *,
    frame_rate: Fraction | None = None,
    follow: Follow = unwatched,
) -> Decoded:
    """Write the pictures, and what lies beside them, to the video at `path`, of a `kind` as in VideoWriter.

    `frame_rate`, in Hz: the pictures are written at this constant rate instead of at their times.
    Damage is returned if any frame came before it. Raises Unreadable if none did, and VideoError.
    """
    damage = None
    video = coded.header.video
    if frame_rate:
        video = replace(video, frame_rate=frame_rate, time_base=1 / frame_rate)
    with VideoWriter(path, video, kind, coded.side_data) as writer:
        tally = Tally(coded.header.video, coded.total, follow)
        for notice in writer.notices:
            log.warning(notice)
        told = len(writer.notices)
        pictures = decode(coded.counted(tally), coded.header, networks)
        try:
            wanted = islice(pictures, coded.skip, coded.frames and coded.skip + coded.frames)
            for frame, time in zip(wanted, coded.times(), strict=False):
                writer.write(frame, None if frame_rate else time)
                tally.count_frame()
            coded.read_on()
        except (BitstreamError, CodecError) as error:
            damage = coded.unreadable(error, tally.frames)
    for notice in writer.notices[told:]:
        log.warning(notice)
    if not tally.frames:
        raise damage or coded.unreadable(None, 0)
    return Decoded(tally, damage)
