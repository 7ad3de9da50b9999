"""Passes over a video until its bitrate or the size of its file is met; of a long one, first over a part."""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TextIO, TypeAlias

from bcodec.encoder.encode import Settings
from bcodec.encoder.ratecontrol import SAMPLES, analyse, fit_size
from bcodec.errors import GoalMissed
from bcodec.pipeline.inspect import readable_bytes
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

    Raises GoalMissed where the file cannot be so small.
    """
    bitrate, max_size = passes.plan.bitrate, passes.plan.max_size
    done, lines = None, io.StringIO()
    with read_again() as reader:
        count, rate = reader.frame_count or 0, float(reader.format.frame_rate)
    every = count // settings.gop_size // SAMPLES

    def code_part(qp: float) -> float:
        with read_again() as frames:
            part = passes.run(frames, path, replace(settings, qp=qp), None, every=every)
        if not part.tally.packets:  # the input has fewer frames than it says
            return 1.0
        return part.tally.bits_per_second() / (bitrate or (max_size or 1) * 8 * rate / count)

    def code(qp: float) -> float:
        nonlocal done, lines
        lines = io.StringIO()
        with read_again() as frames:
            done = passes.run(frames, path, replace(settings, qp=qp), lines)
        if bitrate:
            return done.tally.bits_per_second() / bitrate
        return os.path.getsize(path) / (max_size or 1)

    start = analyse(code_part, settings.qp) if every > 1 else settings.qp
    qp, share = fit_size(code, start, at_most=max_size is not None)
    assert done
    if max_size and share > 1:
        size = readable_bytes(os.path.getsize(path))
        raise GoalMissed(f"--max-size cannot be met: qp {qp:g} takes {size}")
    if bitrate and abs(share - 1) > 0.05:
        log.warning(f"--bitrate cannot be met: qp {qp:g} gives {done.tally.bitrate()}")
    if log_file:
        log_file.write(lines.getvalue())
    return done


@contextmanager
def repeatable(
    reader: VideoReader, reopen: Callable[[], VideoReader] | None, passes: Passes
) -> Iterator[ReadAgain]:
    """Give what opens the input once more: `reopen` or, of a pipe, a copy of its frames."""
    if reopen:
        reader.close()
        yield reopen
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
