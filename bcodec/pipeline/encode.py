"""How a video becomes a file: constant quality, or coded again and again until its rate or size is met."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TextIO

import click

from bcodec.bitstream import ARITHMETIC_VERSION, SequenceHeader
from bcodec.bitstream.sidecar import InterleavedWriter
from bcodec.cli import console
from bcodec.cli.console import log
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, code_groups, split
from bcodec.encoder.group import CodedFrame
from bcodec.encoder.groups import Group, sample
from bcodec.encoder.parallel import code_in_parallel
from bcodec.encoder.ratecontrol import SAMPLES, analyse, fit_size, hold_psnr
from bcodec.encoder.resume import go_on, kept_packets
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.networks import Networks
from bcodec.pipeline.inspect import readable_bytes
from bcodec.pipeline.journal import Journal
from bcodec.pipeline.spool import Spool
from bcodec.video import VideoReader


@dataclass
class Encoder:
    """How frames become a file; `run` may be called several times, with other qps."""

    settings: Settings
    networks: Networks
    jobs: int
    resume: bool
    target_psnr: float | None

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.told: set[str] = set()

    def run(
        self, reader: VideoReader | Spool, path: str, log_file: TextIO | None, *, every: int = 1
    ) -> Encoded:
        """Code the frames into the file at `path`: all of them, or for measuring one GOP in so many."""
        journal = Journal(log_file)
        model = self.networks.model_id
        header = SequenceHeader(reader.format, self.settings.gop_size, ARITHMETIC_VERSION, model)
        with (
            console.Progress(reader.frame_count, header, self.began) as progress,
            _coding(self._coded(_watched(reader, progress, self.told), header, path, every)) as frames,
            console.open_binary(path, over=self.resume) as file,
            InterleavedWriter(file, header, reader.side_data) as writer,
        ):
            for coded in frames:
                written = writer.write(coded.packet)
                progress.count_packet(written)
                progress.count_frame()
                journal.add(coded, written)
        journal.close(bytes=progress.bytes, bitrate=progress.bits_per_second())
        return Encoded(progress, journal)

    def _coded(
        self, frames: Iterator[Frame], header: SequenceHeader, path: str, every: int
    ) -> Iterator[CodedFrame]:
        qp, networks, preset = self.settings.qp, self.networks, PRESETS[self.settings.preset]
        code: Callable[[Iterator[Group]], Iterator[CodedFrame]]
        if self.target_psnr is not None:
            return hold_psnr(frames, self.settings, networks, self.target_psnr)
        groups = split(frames, self.settings)
        if every > 1:
            groups = sample(groups, every)
        if self.jobs > 1:
            code = partial(code_in_parallel, qp=qp, networks=networks, preset=preset, jobs=self.jobs)
        else:
            code = partial(code_groups, qp=qp, networks=networks, preset=preset)
        if not self.resume:
            return code(groups)
        return go_on(groups, kept_packets(path, header), qp, networks, preset, code)


@contextmanager
def _coding(frames: Iterator[CodedFrame]) -> Iterator[Iterator[CodedFrame]]:
    """End what codes the frames, processes perhaps, when they are no longer wanted."""
    try:
        yield frames
    finally:
        if isinstance(frames, Generator):
            frames.close()


class Encoded(NamedTuple):
    """What came of an encode."""

    progress: console.Progress
    journal: Journal

    def tell(self, target: str, target_psnr: float | None, *, psnr: bool) -> None:
        """Say what came of it."""
        progress, quality = self.progress, self.journal.quality
        if target_psnr and quality and abs(quality.psnr_yuv - target_psnr) > 0.2:
            log.warning(f"no qp gives {target_psnr:g} dB; the mean is {quality.psnr_yuv:.2f} dB")
        result = f"{readable_bytes(progress.bytes)}, {progress.bitrate()}"
        log.info(f"{progress.summary()}: {result} to {console.shown(target, 'output')}")
        if psnr:
            console.say(self.journal.to_line())


def fit(
    work: Encoder,
    read_again: Callable[[], AbstractContextManager[VideoReader | Spool]],
    path: str,
    log_file: TextIO | None,
    *,
    bitrate: float | None,
    max_size: float | None,
) -> Encoded:
    """Code the video again and again until it has the bitrate or the size; of a long one, a part first."""
    done, lines = None, io.StringIO()
    with read_again() as reader:
        count, rate = reader.frame_count or 0, float(reader.format.frame_rate)
    every = count // work.settings.gop_size // SAMPLES

    def code_part(qp: float) -> float:
        work.settings = replace(work.settings, qp=qp)
        with read_again() as frames:
            part = work.run(frames, path, None, every=every)
        if not part.progress.packets:  # the input has fewer frames than it says
            return 1.0
        return part.progress.bits_per_second() / (bitrate or (max_size or 1) * 8 * rate / count)

    def code(qp: float) -> float:
        nonlocal done, lines
        lines, work.settings = io.StringIO(), replace(work.settings, qp=qp)
        with read_again() as frames:
            done = work.run(frames, path, lines)
        if bitrate:
            return done.progress.bits_per_second() / bitrate
        return os.path.getsize(path) / (max_size or 1)

    start = analyse(code_part, work.settings.qp) if every > 1 else work.settings.qp
    qp, share = fit_size(code, start, at_most=max_size is not None)
    assert done
    if max_size and share > 1:
        size = readable_bytes(os.path.getsize(path))
        raise click.ClickException(f"--max-size cannot be met: qp {qp:g} takes {size}")
    if bitrate and abs(share - 1) > 0.05:
        log.warning(f"--bitrate cannot be met: qp {qp:g} gives {done.progress.bitrate()}")
    if log_file:
        log_file.write(lines.getvalue())
    return done


@contextmanager
def repeatable(
    source: str, reader: VideoReader, open_input: Callable[[], VideoReader], work: Encoder
) -> Iterator[Callable[[], AbstractContextManager[VideoReader | Spool]]]:
    """Give what opens the input once more: itself if it is a file, a copy of its frames if it is a pipe."""
    if os.path.isfile(source):
        reader.close()
        yield open_input
    else:
        with Spool(reader.format, reader) as spool:
            for notice in reader.notices:
                log.warning(notice)
            yield lambda: nullcontext(spool)


@contextmanager
def rewritable(path: str, target: str) -> Iterator[str]:
    """Give a file that can be written several times; if `path` is none, it is copied there at the end."""
    if path not in ("-", target):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".bcv") as file:
        yield file.name
        with open(file.name, "rb") as coded, console.open_binary(path) as out:
            shutil.copyfileobj(coded, out)


def _watched(reader: VideoReader | Spool, progress: console.Progress, told: set[str]) -> Iterator[Frame]:
    """Give the pictures and tell the notices; where they end in damage, say what can be done."""
    count = 0
    try:
        for frame in reader:
            for notice in reader.notices:
                if notice not in told:
                    progress.say(notice)
            told.update(reader.notices)
            count += 1
            yield frame
    except VideoError as error:
        if not count:
            raise
        hint = f"nothing was kept; --frames {count} encodes what comes before the damage"
        raise click.ClickException(f"{error}; {hint}") from error
