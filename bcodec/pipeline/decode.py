"""How a .bcv file becomes a video: everything that is not lost by damage, where there is some."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

from bcodec.crew import Jobs
from bcodec.decoder import Gap
from bcodec.errors import BitstreamError, CodecError, Unreadable
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.pictures import pictures, pictures_around_damage
from bcodec.pipeline.tally import Follow, Tally, in_frames, unwatched
from bcodec.video import VideoWriter

log = logging.getLogger("bcodec")


class Decoded(NamedTuple):
    """What came of a decode, and what was lost by damage, None if nothing was.

    `ended`: nothing comes behind the damage.
    """

    tally: Tally
    damage: Unreadable | None
    ended: bool


def decode_file(
    coded: CodedVideo,
    path: str,
    kind: str,
    networks: Networks,
    *,
    frame_rate: Fraction | None = None,
    bit_depth: int | None = None,
    jobs: Jobs = 1,
    strict: bool = False,
    follow: Follow = unwatched,
) -> Decoded:
    """Write the pictures, and what lies beside them, to the video at `path`, of a `kind` as in VideoWriter.

    `frame_rate`, in Hz: the pictures are written at this constant rate instead of at their times.
    `bit_depth`: they are written in 8 or 10 bits (None: as they were coded).
    `jobs`: processes that decode at the same time, Auto for as many as help, or a crew.
    Frames that are lost by damage are told, each gap in a line, and left out; if `strict`, nothing comes
    behind the first. Raises Unreadable if no frame came, VideoError, and ProcessKilled.
    """
    gaps: list[Gap] = []
    damage, ended = None, True
    decode = pictures if strict else pictures_around_damage
    timeless = kind in ("y4m", "yuv") or frame_rate is not None
    video = coded.header.video
    if frame_rate:
        video = replace(video, frame_rate=frame_rate, time_base=1 / frame_rate)
    if bit_depth:
        video = replace(video, bit_depth=bit_depth)
    with VideoWriter(path, video, kind, coded.side_data) as writer:
        tally = Tally(coded.header.video, coded.total, follow)
        for notice in writer.notices:
            log.warning(notice)
        told = len(writer.notices)
        try:
            parts = decode(coded, coded.counted(tally), networks, jobs, coded.frames, bit_depth)
            with closing(parts) as decoded:
                for picture in decoded:
                    if isinstance(picture, Gap):
                        gaps.append(picture)
                        if picture.last is not None:
                            log.warning(_told(picture, timeless=timeless))
                        continue
                    time = coded.time(picture.poc)
                    writer.write(picture.frame, None if frame_rate or (timeless and gaps) else time)
                    tally.count_frame()
            coded.read_on()
        except (BitstreamError, CodecError) as error:
            damage = coded.unreadable(error, tally.frames)
    if gaps:
        damage, ended = _damage(coded, gaps), len(gaps) == 1 and gaps[0].last is None
    for notice in writer.notices[told:]:
        log.warning(notice)
    if not tally.frames:
        raise damage or coded.unreadable(None, 0)
    return Decoded(tally, damage, ended)


def _told(gap: Gap, *, timeless: bool) -> str:
    """What is lost, why, and how it goes on, in a line."""
    assert gap.last is not None
    lost = f"frame {gap.first} is" if gap.first == gap.last else f"frames {gap.first} to {gap.last} are"
    earlier = f", {in_frames(gap.last + 1 - gap.first)} too early" if timeless else ""
    reason = str(gap.error or "there is no packet").removeprefix(f"frame {gap.first}: ")
    return f"{lost} lost: {reason}; decoding goes on at frame {gap.last + 1}{earlier}"


def _damage(coded: CodedVideo, gaps: list[Gap]) -> Unreadable:
    """What to tell at the end, where the last gap may be one without end."""
    first, last, error = gaps[-1]
    lost = sum(gap.last + 1 - gap.first for gap in gaps if gap.last is not None)
    trailer = coded.reader.trailer
    if last is None and trailer and first >= trailer.frame_count:
        if not lost:
            return Unreadable(f"{coded.name}: {error}; no frame is lost")
    elif last is None:
        if not lost:
            return coded.unreadable(error, first - coded.start)
        return Unreadable(
            f"{coded.name}: {in_frames(lost)} and what comes from frame {first} on lost by damage"
        )
    return Unreadable(f"{coded.name}: {in_frames(lost)} lost by damage")
