from collections.abc import Iterator

import pytest
from schedules import schedule

from bcodec.dpb import DecodedPictureBuffer, DisplayOrder, HeldPicture, LostPicture
from bcodec.errors import MissingPicture, MissingReference
from bcodec.gop import Closing, Slot, window


def depth(gop_size: int) -> int:
    """Temporal layers above 0: log2 of the GOP size, rounded up."""
    return (gop_size - 1).bit_length()


def bisection_ends(anchor: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield (poc, references) of the frames between two anchors, by the definition and not by any buffer."""
    if end - anchor > 1:
        middle = (anchor + end) // 2
        yield middle, (anchor, end)
        yield from bisection_ends(anchor, middle)
        yield from bisection_ends(middle, end)


def references_of(slots: list[Slot], *, leaves: bool) -> tuple[dict[int, tuple[int, int]], int]:
    """Run the slots through a buffer, with or without the leaves; return the references and the most held."""
    dpb = DecodedPictureBuffer[None]()
    references, most = {}, 0
    for slot in slots:
        if not slot.intra:
            past, future = dpb.references(slot.poc)
            references[slot.poc] = past.poc, future.poc
        if leaves or slot.referenced:
            dpb.insert(HeldPicture(slot.poc, slot.temporal_layer, None))
        most = max(most, len(dpb))
    return references, most


@pytest.mark.parametrize("gop_size", range(1, 130))
def test_references_are_the_ends_of_the_bisection_and_few_frames_are_held(gop_size: int) -> None:
    count = 2 * gop_size + 1 + gop_size // 2
    tail = gop_size // 2
    expected = dict(bisection_ends(0, gop_size)) | dict(bisection_ends(gop_size, 2 * gop_size))
    if tail:
        expected[2 * gop_size + tail] = 2 * gop_size, 2 * gop_size
        expected |= dict(bisection_ends(2 * gop_size, 2 * gop_size + tail))

    slots = list(schedule(count, gop_size))
    references, most = references_of(slots, leaves=True)
    assert references == expected
    assert most <= depth(gop_size) + 2
    references, most = references_of(slots, leaves=False)
    assert references == expected
    assert most <= max(depth(gop_size), 1) + 1


@pytest.mark.parametrize("length", range(1, 9))
def test_references_do_not_cross_a_scene_cut(length: int) -> None:
    cut = 8 + length
    slots = [*schedule(9, 8), *window(8, length, 8, Closing.TAIL), *window(cut, 1, 8, Closing.INTRA)]
    references, _ = references_of([*slots, *window(cut + 1, 8, 8)], leaves=False)
    assert references[cut] == (8, 8)
    assert {poc: references[poc] for poc in range(cut + 2, cut + 9)} == dict(bisection_ends(cut + 1, cut + 9))


def test_b_frame_without_a_past_is_an_error() -> None:
    dpb = DecodedPictureBuffer[str]()
    with pytest.raises(MissingReference, match="frame 4"):
        dpb.references(4)
    dpb.insert(HeldPicture(8, 0, "joined here"))
    with pytest.raises(MissingReference, match="frame 4"):
        dpb.references(4)
    assert [reference.picture for reference in dpb.references(9)] == ["joined here"] * 2


@pytest.mark.parametrize("gop_size", range(1, 65))
def test_display_order_shows_each_picture_as_soon_as_it_is_next(gop_size: int) -> None:
    count = 2 * gop_size + 2
    display = DisplayOrder[str](capacity=depth(gop_size) + 1)
    shown: list[str] = []
    coded: set[int] = set()
    for slot in schedule(count, gop_size):
        shown += display.push(slot.poc, f"picture {slot.poc}")
        coded.add(slot.poc)
        assert len(shown) == next(poc for poc in range(count + 1) if poc not in coded)
    assert shown == [f"picture {poc}" for poc in range(count)]
    assert display.flush() == []


def test_display_order_can_start_anywhere() -> None:
    display = DisplayOrder[int](start=8)
    assert [display.push(poc, poc) for poc in (8, 10, 9)] == [[8], [], [9, 10]]


def test_flush_passes_over_missing_pictures() -> None:
    display = DisplayOrder[int]()
    assert [display.push(poc, poc) for poc in (0, 4, 2)] == [[0], [], []]
    assert display.flush() == [2, 4]
    assert len(display) == 0
    assert display.push(5, 5) == [5]


def test_picture_that_comes_twice_or_never_is_an_error() -> None:
    display = DisplayOrder[int](capacity=2)
    display.push(0, 0)
    with pytest.raises(MissingPicture, match="frame 0 came twice"):
        display.push(0, 0)
    display.push(2, 2)
    with pytest.raises(MissingPicture, match="frame 2 came twice"):
        display.push(2, 2)
    display.push(3, 3)
    with pytest.raises(MissingPicture, match="frame 1 is missing"):
        display.push(4, 4)


def test_what_never_comes_is_passed_over() -> None:
    display = DisplayOrder[int]()
    assert [display.push(poc, poc) for poc in (2, 4, 3)] == [[], [], []]
    assert display.pass_over() == [2, 3, 4]
    assert display.pass_over() == []
    assert display.push(5, 5) == [5]


def test_nothing_can_refer_to_a_lost_picture() -> None:
    dpb = DecodedPictureBuffer[None]()
    dpb.insert(HeldPicture(0, 0, None))
    dpb.insert(LostPicture(4, 0))
    with pytest.raises(MissingReference, match="it refers to frame 4, which is lost"):
        dpb.references(2)
    dpb.insert(HeldPicture(2, 1, None))
    assert [held.poc for held in dpb.references(1)] == [0, 2]
