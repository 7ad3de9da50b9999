"""Passes over a video until its bitrate or the size of its file is met; of a long one, first over a part."""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from hashlib import sha256
from typing import TextIO, TypeAlias

from bcodec.bitstream import ARITHMETIC_VERSION
from bcodec.encoder.encode import Settings
from bcodec.encoder.ratecontrol import SAMPLES, analyse, fit_size
from bcodec.errors import GoalMissed
from bcodec.pipeline.forecast import forecast_passes
from bcodec.pipeline.inspect import readable_bytes
from bcodec.pipeline.jobs import FEW_TO_ENCODE, crew_for
from bcodec.pipeline.notes import PassNotes
from bcodec.pipeline.passes import Encoded, Passes
from bcodec.pipeline.spool import Spool
from bcodec.pipeline.stdio import open_binary
from bcodec.video import VideoReader

ReadAgain: TypeAlias = Callable[[], AbstractContextManager[VideoReader | Spool]]

log = logging.getLogger("bcodec")


def fit(
    passes: Passes, read_again: ReadAgain, path: str, settings: Settings, log_file: TextIO | None
) -> Encoded:
    """Meet the bitrate or the largest size of the plan, from `settings.qp` on; only the last pass is logged.

    What earlier passes found is noted beside an unfinished file. Raises GoalMissed where the file cannot be
    so small, and CodecError where the unfinished file is of another input or other settings.
    """
    bitrate, max_size = passes.plan.bitrate, passes.plan.max_size
    done, lines = dict[float, Encoded](), io.StringIO()
    with read_again() as reader:
        count, video, device = reader.frame_count or 0, reader.format, passes.networks.device
        notes = PassNotes(path if passes.plan.resume else None, _key(passes, reader, settings))
    every = count // settings.gop_size // SAMPLES

    def code_part(qp: float) -> float:
        if (every, qp) in notes.shares:
            return notes.shares[every, qp]
        began = time.monotonic()
        with read_again() as frames:
            part = passes.run(frames, os.devnull, replace(settings, qp=qp), None, every=every)
        if not part.tally.packets:  # the input has fewer frames than it says
            return 1.0
        if not notes.shares:
            crews = [
                crew_for(passes.plan.jobs, device, video, n, FEW_TO_ENCODE) for n in (count // every, count)
            ]
            forecast_passes(
                part, time.monotonic() - began, count, *(crew.size if crew else 1 for crew in crews)
            )
        whole = part.tally.bytes * count / part.tally.packets
        share = part.tally.bits_per_second() / bitrate if bitrate else whole / (max_size or 1)
        notes.add(every, qp, share)
        return share

    def code(qp: float) -> float:
        if (1, qp) not in notes.shares:
            make(qp)
        return notes.shares[1, qp]

    def make(qp: float) -> Encoded:
        nonlocal lines
        lines, resume = io.StringIO(), notes.begin(qp)
        done.clear()
        with read_again() as frames:
            done[qp] = passes.run(frames, path, replace(settings, qp=qp), lines, resume=resume)
        size = done[qp].tally.bits_per_second() if bitrate else os.path.getsize(path)
        notes.add(1, qp, size / (bitrate or max_size or 1))
        return done[qp]

    start = analyse(code_part, settings.qp) if every > 1 else settings.qp
    qp, share = fit_size(code, start, at_most=max_size is not None)
    encoded = done.get(qp) or make(qp)
    if max_size and share > 1:
        notes.forget()
        raise GoalMissed(f"--max-size cannot be met: qp {qp:g} takes {readable_bytes(encoded.size)}")
    if bitrate and abs(share - 1) > 0.05:
        log.warning(f"--bitrate cannot be met: qp {qp:g} gives {encoded.tally.bitrate()}")
    if log_file:
        log_file.write(lines.getvalue())
    return encoded


def _key(passes: Passes, reader: VideoReader | Spool, settings: Settings) -> str:
    """What tells a search from all others: its aim, settings and networks, and the input as far as one sees.

    Of the pictures only the first is seen: the rest is checked where the unfinished file is gone on with.
    """
    picture = next(iter(reader.timed())).frame
    plan, model = passes.plan, passes.networks.model_id.hex()
    facts = [ARITHMETIC_VERSION, model, settings, plan.bitrate, plan.max_size]
    beside = [packet.payload for packet in reader.side_data.headers()]
    facts += [reader.format, reader.frame_count, sha256(picture.to_bytes() + b"".join(beside)).hexdigest()]
    return sha256(repr(facts).encode()).hexdigest()


@contextmanager
def repeatable(
    reader: VideoReader, reopen: Callable[[], VideoReader] | None, passes: Passes
) -> Iterator[ReadAgain]:
    """Give what opens the input once more: `reopen` or, of a pipe, a copy of it or of its frames."""
    passes.tell(reader.notices)
    if reopen:
        reader.close()
        yield reopen
    elif reader.again:
        yield reader.again
    else:
        with Spool(reader.format, reader.timed(), reader.damage) as spool:
            passes.tell(reader.notices)
            yield lambda: nullcontext(spool)


@contextmanager
def rewritable(path: str) -> Iterator[str]:
    """Give a file that can be written several times; if `path` is none, it is copied there at the end."""
    if path != "-" and os.path.isfile(path):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".bcv") as file:
        yield file.name
        with open(file.name, "rb") as coded, open_binary(path) as out:
            shutil.copyfileobj(coded, out)
