"""What is tried for the motion of a group, and what is kept."""

from collections.abc import Callable

import pytest

from bcodec.encoder.effort import PLAIN, Effort
from bcodec.encoder.tuning import DEAR, SAVING, SHARE, Attempt, Tuning

COARSEST = 2
COARSE, WHOLE = PLAIN._replace(coarser=1), PLAIN._replace(coarser=2)


class Frame:
    """A frame that costs so much with some efforts, and 100 with others."""

    def __init__(self, costs: dict[Effort, float] | None = None, motion: float = 0.5) -> None:
        self.costs, self.motion = costs or {}, motion
        self.tried: list[Effort] = []

    def attempt(self, effort: Effort) -> Attempt[int]:
        self.tried.append(effort)
        return Attempt(effort, self.costs.get(effort, 100.0), self.motion, len(self.tried))


@pytest.fixture
def tuning() -> Tuning[int]:
    return Tuning(PLAIN)


def dear(effort: Effort) -> Effort:
    return effort._replace(motion_price=DEAR)


@pytest.mark.parametrize(
    ("coarsest", "tried"), [(COARSEST, [PLAIN, COARSE, dear(PLAIN)]), (0, [PLAIN, dear(PLAIN)])]
)
def test_a_layer_s_first_frame_tries_what_is_near(
    tuning: Tuning[int], coarsest: int, tried: list[Effort]
) -> None:
    frame = Frame()
    best = tuning.code(1, coarsest, frame.attempt)
    assert (best.effort, best.coded) == (PLAIN, 1)
    assert frame.tried == tried


def test_the_price_is_tried_with_the_best_precision(tuning: Tuning[int]) -> None:
    frame = Frame({COARSE: 90.0, dear(COARSE): 80.0})
    assert tuning.code(1, COARSEST, frame.attempt).effort == dear(COARSE)


def test_layer_by_layer_it_goes_on_from_what_was_best(tuning: Tuning[int]) -> None:
    tuning.code(1, COARSEST, Frame({COARSE: 90.0, WHOLE: 80.0}).attempt)
    frame = Frame({COARSE: 90.0, WHOLE: 80.0})
    assert tuning.code(2, COARSEST, frame.attempt).effort == WHOLE
    assert frame.tried == [COARSE, WHOLE, PLAIN, dear(WHOLE)]


def test_a_small_saving_is_not_enough(tuning: Tuning[int]) -> None:
    assert tuning.code(1, COARSEST, Frame({COARSE: 100 * (1 - SAVING) + 0.1}).attempt).effort == PLAIN
    assert tuning.code(2, COARSEST, Frame({COARSE: 100 * (1 - SAVING) - 0.1}).attempt).effort == COARSE


def test_where_there_is_little_motion_nothing_is_tried(tuning: Tuning[int]) -> None:
    frame = Frame({COARSE: 50.0}, motion=SHARE)
    assert tuning.code(1, COARSEST, frame.attempt).effort == PLAIN
    assert frame.tried == [PLAIN]


def test_after_two_layers_in_vain_no_more_are_tried(tuning: Tuning[int]) -> None:
    frames = [Frame(), Frame({COARSE: 50.0}), Frame(), Frame(), Frame({PLAIN: 50.0})]
    for layer, frame in enumerate(frames):
        tuning.code(layer, COARSEST, frame.attempt)
    assert [len(frame.tried) for frame in frames] == [3, 3, 4, 4, 1]


@pytest.mark.parametrize(("costs", "kept"), [({}, COARSE), ({PLAIN: 99.0}, PLAIN)])
def test_the_second_frame_confirms_or_revokes(
    tuning: Tuning[int], costs: dict[Effort, float], kept: Effort
) -> None:
    code: Callable[[Frame], Effort] = lambda frame: tuning.code(1, COARSEST, frame.attempt).effort  # noqa: E731
    assert code(Frame({COARSE: 90.0})) == COARSE
    second, third = Frame(costs), Frame({PLAIN: 10.0})
    assert code(second) == kept
    assert second.tried == [COARSE, PLAIN]
    assert code(third) == kept
    assert third.tried == [kept]


def test_what_did_not_change_needs_no_confirmation(tuning: Tuning[int]) -> None:
    tuning.code(1, COARSEST, Frame().attempt)
    second = Frame()
    tuning.code(1, COARSEST, second.attempt)
    assert second.tried == [PLAIN]


def test_precisions_stay_within_what_there_is(tuning: Tuning[int]) -> None:
    tuning.latest = WHOLE
    frame = Frame()
    tuning.code(1, 1, frame.attempt)
    assert [effort.coarser for effort in frame.tried] == [2, 0, 2]
