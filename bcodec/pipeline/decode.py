"""How a .bcv file becomes a video: everything before the damage, where there is some."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import NamedTuple

from bcodec.errors import BitstreamError, CodecError, Unreadable
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.pictures import pictures
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
    jobs: int | None = 1,
    follow: Follow = unwatched,
) -> Decoded:
    """Write the pictures, and what lies beside them, to the video at `path`, of a `kind` as in VideoWriter.

    `frame_rate`, in Hz: the pictures are written at this constant rate instead of at their times.
    `jobs`: processes that decode at the same time, None for as many as help.
    Damage is returned if any frame came before it. Raises Unreadable if none did, VideoError, and
    ProcessKilled.
    """
    damage = None
    count = coded.frames and coded.skip + coded.frames
    video = coded.header.video
    if frame_rate:
        video = replace(video, frame_rate=frame_rate, time_base=1 / frame_rate)
    with VideoWriter(path, video, kind, coded.side_data) as writer:
        tally = Tally(coded.header.video, coded.total, follow)
        for notice in writer.notices:
            log.warning(notice)
        told = len(writer.notices)
        try:
            with closing(pictures(coded, coded.counted(tally), networks, jobs, count)) as decoded:
                for frame, time in zip(islice(decoded, coded.skip, count), coded.times(), strict=False):
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
