from itertools import chain

import pytest
from schedules import schedule

from bcodec.gop import Closing, Slot, window


def test_gop_of_eight_is_the_pre_order_of_the_bisection() -> None:
    order = [(slot.poc, slot.temporal_layer) for slot in window(8, 8, 8)]
    assert order == [(16, 0), (12, 1), (10, 2), (9, 3), (11, 3), (14, 2), (13, 3), (15, 3)]


def test_full_window_closes_with_an_intra_frame_and_a_tail_with_a_b_frame() -> None:
    assert window(0, 4, 4)[0] == Slot(4, 0, intra=True, referenced=True)
    assert window(0, 3, 4)[0] == Slot(3, 0, intra=False, referenced=True)
    assert window(0, 1, 4) == [Slot(1, 0, intra=False, referenced=False)]


def test_caller_may_choose_how_a_window_closes() -> None:
    assert window(5, 3, 8, Closing.INTRA)[0] == Slot(8, 0, intra=True, referenced=True)
    assert window(5, 8, 8, Closing.TAIL)[0] == Slot(13, 0, intra=False, referenced=True)
    assert window(5, 1, 8, Closing.INTRA) == [Slot(6, 0, intra=True, referenced=True)]


def test_gop_size_one_is_all_intra_and_nothing_is_referenced() -> None:
    assert list(schedule(3, 1)) == [Slot(poc, 0, intra=True, referenced=False) for poc in range(3)]
    with pytest.raises(ValueError, match="all intra"):
        window(0, 1, 1, Closing.TAIL)


@pytest.mark.parametrize("gop_size", range(1, 65))
def test_every_frame_is_coded_once_whatever_the_count(gop_size: int) -> None:
    for count in range(1, 2 * gop_size + 3):
        slots = list(schedule(count, gop_size))
        assert sorted(slot.poc for slot in slots) == list(range(count))
        assert [slot.poc for slot in slots if slot.intra] == list(range(0, count, gop_size))
        assert all(slot.temporal_layer == 0 for slot in slots if slot.intra)


@pytest.mark.parametrize("gop_size", range(2, 65))
def test_referenced_is_true_of_exactly_those_b_frames_that_lie_next_to_a_later_one(gop_size: int) -> None:
    for closing, length in chain.from_iterable(((c, gop_size), (c, gop_size - 1)) for c in Closing):
        slots = window(0, length, gop_size, closing)
        used: set[int] = set()
        coded = [0]
        for slot in slots:
            used.add(max(poc for poc in coded if poc < slot.poc))
            used.update([min((poc for poc in coded if poc > slot.poc), default=0)])
            coded.append(slot.poc)
        assert [slot.referenced for slot in slots] == [slot.poc in used or slot.intra for slot in slots]


@pytest.mark.parametrize(("anchor", "length", "gop_size"), [(-1, 1, 8), (0, 0, 8), (0, 9, 8), (0, 1, 0)])
def test_impossible_window_is_refused(anchor: int, length: int, gop_size: int) -> None:
    with pytest.raises(ValueError, match="no window"):
        window(anchor, length, gop_size)
