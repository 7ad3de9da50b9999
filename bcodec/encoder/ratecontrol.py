"""Rate control: the qp that meets a target of size or quality, found by as few trials as it takes.

A file of a given size has one qp for all of its groups: constant quality, so that bits go where the video is
hard, and to the layers as LAYER_QP says. A quality is held group by group. Both are searches for the qp at
which something that rises with it (the logarithm of the size, the decibels) has a given value.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from bcodec.bitstream import MAX_QP
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, split
from bcodec.encoder.group import Anchor, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.encoder.trial import CodedFrame
from bcodec.frame import Frame
from bcodec.networks import Networks

QP_STEP = 1 / 8
SIZE_SLOPE = 0.045  # of the logarithm of the size, for each qp; a first guess
SIZE_TOLERANCE = 0.02  # of the size
SIZE_TRIALS = 6
SAMPLES = 6  # groups of a long video in the analysis
ANALYSIS_TOLERANCE = 0.03  # of the size
ANALYSIS_TRIALS = 4
QUALITY_SLOPE = 0.27  # dB for each qp; a first guess
QUALITY_TOLERANCE = 0.1  # dB
QUALITY_TRIALS = 9

log = logging.getLogger("bcodec")


class Probe(NamedTuple):
    """What was measured at a qp."""

    qp: float
    value: float


def search(
    measure: Callable[[float], float],
    target: float,
    start: float,
    *,
    slope: float,
    tolerance: float,
    trials: int,
) -> list[Probe]:
    """Make trials until `measure(qp)` is within `tolerance` of the target or as near as can be; all of them.

    `measure` should rise with qp, by about `slope` for each; where it does not, the search still ends.
    """
    made: list[Probe] = []
    below, above = Probe(-1, -math.inf), Probe(MAX_QP + 1, math.inf)
    qp = start
    while len(made) < trials and qp not in (trial.qp for trial in made):
        made.append(Probe(qp, measure(qp)))
        value = made[-1].value
        if abs(value - target) <= tolerance:
            break
        if value < target:
            below = made[-1]
        else:
            above = made[-1]
        qp = _next(below, above, made, target, slope)
    return made


def _next(below: Probe, above: Probe, made: list[Probe], target: float, slope: float) -> float:
    """The qp to try: between the two, or from the last along the slope, which may have been seen."""
    low, high = sorted((below.qp, above.qp))
    if math.isfinite(below.value) and math.isfinite(above.value):
        share = (target - below.value) / (above.value - below.value)
        qp = below.qp + share * (above.qp - below.qp)
    else:
        last, *earlier = made[::-1]
        if earlier:
            seen = (last.value - earlier[0].value) / (last.qp - earlier[0].qp)
            slope = min(max(seen, slope / 4), slope * 4)
        qp = last.qp + (target - last.value) / slope
    qp = round(qp / QP_STEP) * QP_STEP
    inside = min(max(qp, low + QP_STEP), high - QP_STEP)
    return min(max(inside, 0.0), float(MAX_QP))


def analyse(code_part: Callable[[float], float], start: float) -> float:
    """The qp at which a part of the video has the size wanted of it.

    `code_part(qp)` codes it and returns the size as a share of what is wanted.
    """

    def measure(qp: float) -> float:
        share = code_part(qp)
        log.info(f"analysis of a part at qp {qp:g}: {share - 1:+.1%} of the target")
        return math.log(share)

    made = _search_size(measure, 1.0, start, ANALYSIS_TOLERANCE, ANALYSIS_TRIALS)
    return min(made, key=lambda trial: abs(trial.value)).qp


def fit_size(code: Callable[[float], float], start: float, *, at_most: bool) -> Probe:
    """Code a file again and again until it is as large as it should be.

    `code(qp)` codes all of it and returns its size as a share of the target. `at_most`: the size may not be
    above the target, and is as near to it as can be. Returns the qp and the share of the best, which need not
    be the last, and is off where no qp meets the target.
    """
    aim = 1 / (1 + SIZE_TOLERANCE) if at_most else 1.0
    shares: dict[float, float] = {}

    def measure(qp: float) -> float:
        shares[qp] = code(qp)
        log.info(f"pass {len(shares)} at qp {qp:g}: {shares[qp] - 1:+.1%} of the target")
        return math.log(shares[qp])

    made = _search_size(measure, aim, start, SIZE_TOLERANCE * 0.99, SIZE_TRIALS)
    fitting = [trial for trial in made if not at_most or shares[trial.qp] <= 1]
    best = min(fitting or made, key=lambda trial: abs(trial.value - math.log(aim)))
    return Probe(best.qp, shares[best.qp])


def _search_size(
    measure: Callable[[float], float], aim: float, start: float, tolerance: float, trials: int
) -> list[Probe]:
    log_tolerance = math.log1p(tolerance)
    return search(measure, math.log(aim), start, slope=SIZE_SLOPE, tolerance=log_tolerance, trials=trials)


Unit: TypeAlias = list[Group]
Measure: TypeAlias = Callable[[Unit, list[CodedFrame]], float]


def mean_psnr(_: Unit, coded: list[CodedFrame]) -> float:
    """The mean PSNR (YUV 6:1:1) of coded frames, in dB."""
    return sum(frame.quality.psnr_yuv for frame in coded if frame.quality) / len(coded)


def hold_quality(
    frames: Iterable[Frame],
    settings: Settings,
    networks: Networks,
    target: float,
    quality: Measure = mean_psnr,
    *,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """Code frames so that the `quality` of each group is near `target` dB.

    `quality` is that of groups as coded; it sees all trials of some groups before any of the next, with the
    decoded `pictures` if these are wanted. An I frame that opens a scene is of one group with those that
    follow it. `settings.qp` is tried first.
    """
    coder = GroupCoder(networks, PRESETS[settings.preset], pictures=pictures)
    qp, past = settings.qp, None
    for unit in _units(split(frames, settings)):
        trials = _Trials(coder, unit, past, target, quality)
        made = search(
            trials.make,
            target,
            qp,
            slope=QUALITY_SLOPE,
            tolerance=QUALITY_TOLERANCE,
            trials=QUALITY_TRIALS,
        )
        assert trials.best
        (qp, value), coded, past = trials.best
        which = f"frames {unit[0].start} to {unit[-1].end}"
        log.debug(f"{which}: qp {qp:g}, {value:.2f} dB, {len(made)} trials")
        yield from coded


@dataclass
class _Trials:
    """Codes groups at one qp after the other, and keeps what came nearest to the target."""

    coder: GroupCoder
    unit: Unit
    past: Anchor | None
    target: float
    quality: Measure
    best: tuple[Probe, list[CodedFrame], Anchor | None] | None = None

    def make(self, qp: float) -> float:
        """Code them at a qp; their quality."""
        coded, past = list[CodedFrame](), self.past
        for closed in self.coder.chain(self.unit, qp, past):
            coded += [self.coder.shown(closed.coded), *self.coder.rest(closed)]
            past = closed.anchor
        value = self.quality(self.unit, coded)
        if not self.best or abs(value - self.target) < abs(self.best[0].value - self.target):
            self.best = Probe(qp, value), coded, past
        return value


def _units(parts: Iterable[Group]) -> Iterator[Unit]:
    opening: list[Group] = []
    for group in parts:
        if group.past is None:
            if opening:
                yield opening
            opening = [group]
        else:
            yield [*opening, group]
            opening = []
    if opening:
        yield opening
