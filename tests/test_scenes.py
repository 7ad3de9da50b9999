"""Scene cuts are found, and motion, fades, flashes and repeated frames are not taken for them."""

from collections.abc import Iterable

import numpy as np
import pytest
from clips import moving
from schedules import schedule

from bcodec.encoder.groups import Group, groups
from bcodec.encoder.scenes import find_cuts, shrink
from bcodec.frame import Plane, requantized
from bcodec.gop import Closing, Slot

HEIGHT, WIDTH = 72, 128


def scene(seed: int, count: int, speed: int = 2) -> list[Plane]:
    return [frame.y for frame in moving(count, WIDTH, HEIGHT, seed=seed, speed=speed)]


def cuts(planes: Iterable[Plane]) -> list[int]:
    marked = list(find_cuts(planes, lambda plane: plane))
    return [index for index, (_, cut) in enumerate(marked) if cut]


@pytest.mark.parametrize("first", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("second", [1, 2, 3, 4, 9])
def test_a_cut_is_found_wherever_it_is(first: int, second: int) -> None:
    assert cuts(scene(0, first) + scene(1, second)) == [first]


def test_several_cuts_are_found() -> None:
    assert cuts(scene(0, 9) + scene(1, 8) + scene(2, 9, speed=3)) == [9, 17]


@pytest.mark.parametrize("speed", [0, 1, 8, 16])
def test_motion_is_no_cut(speed: int) -> None:
    assert cuts(scene(0, 20, speed)) == []


def test_motion_of_repeated_frames_is_no_cut() -> None:
    assert cuts(np.repeat(scene(0, 10, speed=12), 2, axis=0)) == []


def test_a_window_that_opens_on_a_screen_is_no_cut() -> None:
    planes = [plane.copy() for plane in scene(0, 20, speed=0)]
    for plane in planes[9:]:
        plane[20:60, 30:90] = 255 - plane[20:60, 30:90]
    assert cuts(planes) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut(length: int) -> None:
    planes = scene(0, 20)
    planes[8 : 8 + length] = [255 - plane // 8 for plane in planes[8 : 8 + length]]
    assert cuts(planes) == []


def test_a_fade_and_a_change_of_light_are_no_cuts() -> None:
    faded = [(plane * (20 - t) // 20).astype(np.uint8) for t, plane in enumerate(scene(0, 20))]
    assert cuts([*faded]) == []
    planes = scene(0, 18)
    assert cuts(planes[:9] + [(plane // 2).astype(np.uint8) for plane in planes[9:]]) == []


def test_dissolve_is_no_cut() -> None:
    pairs = zip(scene(0, 20), scene(1, 20), strict=True)
    planes = [((a * (19.0 - t) + b * t) / 19).astype(np.uint8) for t, (a, b) in enumerate(pairs)]
    assert cuts(planes) == []


def test_black_frames_are_no_trouble() -> None:
    assert cuts([np.zeros((HEIGHT, WIDTH), np.uint8)] * 9) == []


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 33), (1080, 1920)])
def test_small_pictures_are_small(shape: tuple[int, int]) -> None:
    small = shrink(np.full(shape, 7, np.uint8))
    assert np.all(small == 7)
    assert small.shape[0] <= 18
    assert small.shape[1] <= 32


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("gop_size", [1, 2, 4, 8])
@pytest.mark.parametrize("count", range(1, 12))
def test_without_cuts_groups_are_the_schedule(gop_size: int, count: int) -> None:
    frames = moving(count, WIDTH, HEIGHT)
    parts = list(groups(frames, gop_size, gop_size, scene_cut=True))
    assert slots_of(parts) == list(schedule(count, gop_size))
    assert [source.frame for part in parts for source in part.frames] == frames
    for part in parts:
        slots = slots_of([part])
        assert [part.frame(slot).frame for slot in slots] == [frames[slot.poc] for slot in slots]
        assert (part.past and part.past.frame) is (frames[part.start - 1] if part.start else None)


@pytest.mark.parametrize(("keyint", "forced"), [(2, 1), (3, 1), (4, 2), (7, 3), (100, 9)])
def test_anchors_are_i_where_the_next_would_be_too_far_away(keyint: int, forced: int) -> None:
    parts = list(groups(moving(13, WIDTH, HEIGHT), 2, keyint, scene_cut=False))
    assert [part.closings for part in parts] == [
        (Closing.INTRA,) if number % forced == 0 else (Closing.TAIL, Closing.INTRA) for number in range(7)
    ]


def slots_of(parts: list[Group]) -> list[Slot]:
    """The slots in coding order, with an I frame where there may be one."""
    return [slot for part in parts for slot in part.slots(part.closings[-1])]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_splits_the_group_around_it(cut: int) -> None:
    frames = moving(cut, WIDTH, HEIGHT) + moving(12 - cut, WIDTH, HEIGHT, seed=1)
    slots = slots_of(list(groups(frames, 4, 4, scene_cut=True)))
    before = [0, *range(4, cut, 4)]
    assert sorted(slot.poc for slot in slots) == list(range(12))
    assert [slot.poc for slot in slots if slot.intra] == [*before, *range(cut, 12, 4)]
    place = next(place for place, slot in enumerate(slots) if slot.poc == cut)
    assert {slot.poc for slot in slots[:place]} == set(range(cut))


def test_cuts_are_the_same_in_ten_bits() -> None:
    planes = [*scene(0, 8), *scene(1, 8)]
    assert cuts(planes) == cuts([requantized(plane, 8, 10) for plane in planes]) == [8]
