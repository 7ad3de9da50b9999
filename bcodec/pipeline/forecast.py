"""How long a search will take and how large its file will be, told once, from what of it has been coded."""

from __future__ import annotations

import logging

from bcodec.encoder.ratecontrol import SIZE_TRIALS
from bcodec.pipeline.inspect import readable_bytes
from bcodec.pipeline.passes import Encoded
from bcodec.pipeline.tally import Follow, Tally

UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
TELLING = 4  # GOPs by which a forecast is made; of a video that is no longer than four times that, none

log = logging.getLogger("bcodec")


def readable_time(seconds: float) -> str:
    """A time in words, roughly: two digits of the largest unit of which it is two or more."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= 2 * size), UNITS[-1])
    return f"{float(f'{seconds / size:.2g}'):g} {unit}"


def forecast_passes(part: Encoded, wall: float, frames: int, part_jobs: int, jobs: int) -> None:
    """Tell how long passes over all `frames` by `jobs` processes take.

    A `part` was coded by `part_jobs` processes in `wall` seconds. What a pass takes is coding, in proportion
    to the frames coded, and reading, which is the same.
    """
    coding = part.journal.seconds / part.tally.packets * frames
    whole = max(wall - part.journal.seconds / part_jobs, 0) + coding / (jobs if part_jobs > 1 else 1)
    most = SIZE_TRIALS + 1  # the best is coded again if it was not the last
    log.info(f"a pass over all {frames} frames takes about {readable_time(whole)}; 1 to {most} will be made")


def forecasting(follow: Follow, gop_size: int) -> Follow:
    """Follow a single pass in which each GOP has several trials, and tell what its beginning foretells."""

    def watch(tally: Tally) -> None:
        follow(tally)
        known = tally.frames
        if known == TELLING * gop_size + 1 and tally.total and tally.total >= TELLING * known:
            more = tally.total / known
            size = readable_bytes(round(tally.bytes * more))
            foretold = f"about {readable_time(tally.seconds * more)} in all, and {size} for pictures"
            log.info(f"by the first {known} of {tally.total} frames: {foretold}")

    return watch
