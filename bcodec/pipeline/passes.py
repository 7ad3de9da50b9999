"""One pass over a video: its pictures are coded, and go into a file with what lies beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple, TextIO

from bcodec.bitstream import ARITHMETIC_VERSION, SequenceHeader
from bcodec.bitstream.sidecar import InterleavedWriter
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, code_groups, split
from bcodec.encoder.groups import sample
from bcodec.encoder.parallel import code_in_parallel
from bcodec.encoder.ratecontrol import hold_quality, mean_psnr
from bcodec.encoder.resume import go_on, kept_packets
from bcodec.encoder.trial import CodedFrame
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.networks import Networks
from bcodec.pipeline.beside import Beside, UnitXpsnr
from bcodec.pipeline.jobs import FEW_TO_ENCODE, crew_for
from bcodec.pipeline.journal import Journal
from bcodec.pipeline.plan import Plan
from bcodec.pipeline.spool import Spool
from bcodec.pipeline.stdio import open_binary
from bcodec.pipeline.tally import Follow, Tally
from bcodec.video import Damage, VideoReader

log = logging.getLogger("bcodec")


class Encoded(NamedTuple):
    """What came of a pass, the bytes of the file, and the damage in the input that was passed over."""

    tally: Tally
    journal: Journal
    size: int
    damage: Damage


@dataclass
class Passes:
    """What is the same in all passes over a video; each notice of the input is told once."""

    networks: Networks
    plan: Plan
    follow: Follow
    began: float = field(default_factory=time.monotonic)
    told: set[str] = field(default_factory=set)

    def run(
        self,
        reader: VideoReader | Spool,
        path: str,
        settings: Settings,
        log_file: TextIO | None,
        *,
        every: int = 1,
        resume: bool = False,
    ) -> Encoded:
        """Code the frames into the file at `path`: all of them, or for measuring one GOP in so many.

        `resume`: go on with what is in the file.
        """
        journal = Journal(log_file)
        header = SequenceHeader(reader.format, settings.gop_size, ARITHMETIC_VERSION, self.networks.model_id)
        tally = Tally(reader.format, reader.frame_count, self.follow, self.began)
        delays: list[int] = []  # by poc, of the pictures read so far
        sources = self._watched(reader, delays)
        beside = Beside(reader.format, journal) if self.plan.sees_pictures and every == 1 else None
        if beside:
            sources = beside.watch(sources)
        with (
            _closing(
                self._coded(sources, delays, settings, header, tally.total, every, path if resume else "")
            ) as frames,
            open_binary(path, over=resume) as file,
            InterleavedWriter(file, header, reader.side_data) as writer,
        ):
            for coded in frames:
                poc = coded.packet.header.poc
                written = writer.write(replace(coded.packet, delay=delays[poc]))
                tally.count_packet(written, reader.format.time(poc, delays[poc]) if every == 1 else None)
                tally.count_frame()
                journal.add(coded, written)
                if beside:
                    beside.add(coded)
        if every > 1 and delays:  # the part is as long as its share of the pictures
            end = reader.format.time(len(delays) - 1, delays[-1]) + 1 / reader.format.frame_rate
            tally.duration = end * tally.packets / len(delays)
        journal.close(bytes=writer.position, bitrate=tally.bits_per_second())
        return Encoded(tally, journal, writer.position, reader.damage)

    def _coded(
        self,
        frames: Iterator[Frame],
        delays: list[int],
        settings: Settings,
        header: SequenceHeader,
        count: int | None,
        every: int,
        unfinished: str,
    ) -> Iterator[CodedFrame]:
        qp, networks, preset, plan = settings.qp, self.networks, PRESETS[settings.preset], self.plan
        pictures = plan.sees_pictures and every == 1
        if target := plan.target_psnr or plan.target_xpsnr:
            quality = UnitXpsnr(header.video) if plan.target_xpsnr else mean_psnr
            return hold_quality(frames, settings, networks, target, quality, pictures=pictures)
        groups = split(frames, settings)
        if every > 1:
            groups, count = sample(groups, every), count and count // every
        crew = crew_for(plan.jobs, networks.device, header.video, count, FEW_TO_ENCODE)
        how = partial(code_in_parallel, crew=crew) if crew else code_groups
        code = partial(how, qp=qp, networks=networks, preset=preset, pictures=pictures)
        if not unfinished:
            return code(groups)
        return go_on(groups, kept_packets(unfinished, header, delays), qp, networks, preset, code)

    def _watched(self, reader: VideoReader | Spool, delays: list[int]) -> Iterator[Frame]:
        """Give the pictures, note their delays and tell the notices; at damage say what can be done."""
        try:
            for frame, time in reader.timed():
                self.tell(reader.notices)
                delays.append(reader.format.delay(len(delays), time))
                yield frame
        except VideoError as error:
            if not delays:
                raise
            hint = f"nothing was kept; --frames {len(delays)} encodes what comes before"
            raise VideoError(f"{error}; {hint}") from error

    def tell(self, notices: list[str]) -> None:
        """Log those that are new."""
        for notice in notices:
            if notice not in self.told:
                log.warning(notice)
        self.told.update(notices)


@contextmanager
def _closing(frames: Iterator[CodedFrame]) -> Iterator[Iterator[CodedFrame]]:
    """End what codes the frames, processes perhaps, when they are no longer wanted."""
    try:
        yield frames
    finally:
        if isinstance(frames, Generator):
            frames.close()
