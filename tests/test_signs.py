"""Magnitudes tell the signs that are not written, and cost as little as they can for it."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latents import CODER, FREQUENCIES, latent

from bcodec.coding import TABLES, Part
from bcodec.encoder.rdoq import ThriftyWriter
from bcodec.entropy.coder import ESCAPE_RANGE, RangeReader, RangeWriter
from bcodec.entropy.signs import EXPECTED, LEAST, Groups
from bcodec.entropy.tables import TOTAL

Numbers = npt.NDArray[np.int32]
WORTH = 8.0


def drawn(
    seed: int, count: int, lowest: int = 0
) -> tuple[npt.NDArray[np.uint8], Numbers, npt.NDArray[np.float32]]:
    """Tables, the nearest symbols and what they stand for, some beyond their tables."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(lowest, TABLES, count).astype(np.uint8)
    ratio = (rng.laplace(0, 1, count) * 0.07 * 1.1355**indices).astype(np.float32)
    ratio[rng.random(count) < 0.01] *= 100
    ratio = ratio.clip(-ESCAPE_RANGE, ESCAPE_RANGE - 1)
    symbols = np.where(indices > 0, np.round(ratio), 0).astype(np.int32)
    return indices, symbols, ratio


def magnitudes(indices: npt.NDArray[np.uint8], symbols: Numbers) -> Numbers:
    """Of escapes 0."""
    sizes = np.abs(symbols)
    return np.where(sizes <= CODER.reach[indices], sizes, 0).astype(np.int32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3000))
def test_an_encoder_makes_magnitudes_tell_the_signs(seed: int, count: int) -> None:
    indices, symbols, ratio = drawn(seed, count)
    groups = Groups(CODER, indices)
    groups.agree(symbols, ratio, np.full(count, WORTH, np.float32))
    places, negative = groups.told(magnitudes(indices, symbols))
    assert np.array_equal(symbols[places] < 0, negative)
    assert (symbols[places] != 0).all()
    assert not symbols[indices == 0].any()


def test_one_symbol_of_a_group_changes_by_one_step_and_none_where_the_sign_is_right() -> None:
    indices, nearest, ratio = drawn(1, 20000)
    groups, symbols = Groups(CODER, indices), nearest.copy()
    worth = np.full(len(indices), WORTH, np.float32)
    groups.agree(symbols, ratio, worth)
    changed = np.flatnonzero(symbols != nearest)
    assert (np.abs(symbols - nearest)[changed] == 1).all()
    before = magnitudes(indices, nearest)
    places, negative = groups.told(before)
    wrong = np.count_nonzero((nearest[places] < 0) != negative)
    assert 0.4 * len(places) < wrong == len(changed)
    again = symbols.copy()
    groups.agree(again, ratio, worth)
    assert np.array_equal(again, symbols)


def test_of_all_single_steps_that_make_the_sign_right_the_cheapest_is_taken() -> None:
    rng = np.random.default_rng(2)
    indices = np.full(8, 30, np.uint8)
    for _ in range(40):
        ratio = rng.laplace(0, 1.5, len(indices)).astype(np.float32)
        nearest = np.round(ratio).astype(np.int32)
        groups, symbols = Groups(CODER, indices), nearest.copy()
        assert len(groups.told(np.ones_like(symbols))[0]) == 1  # they are one group
        groups.agree(symbols, ratio, np.full(len(ratio), WORTH, np.float32))

        def cost(each: Numbers, ratio: npt.NDArray[np.float32] = ratio) -> float:
            return float((CODER.bits[30, np.abs(each)] + WORTH * (each - ratio) ** 2).sum())

        def right(each: Numbers) -> bool:
            places, negative = Groups(CODER, indices).told(magnitudes(indices, each))
            return np.array_equal(each[places] < 0, negative)

        if right(nearest):
            assert np.array_equal(symbols, nearest)
            continue
        first = np.flatnonzero(nearest)[0]
        steps = (nearest + change * (np.arange(8) == place) for place in range(8) for change in (-1, 1))
        others = [each for each in steps if right(each) and np.flatnonzero(each)[:1] == first]
        assert cost(symbols) == pytest.approx(min(map(cost, others)))


def test_a_group_ends_when_enough_of_it_are_expected_to_be_nonzero() -> None:
    """Told by the tables alone, in integers: a reader knows it before it reads."""
    indices = np.repeat(np.arange(TABLES, dtype=np.uint8), 500)
    places, _ = Groups(CODER, indices).told(np.full(len(indices), LEAST))
    chances = np.array([0, *(TOTAL - table[len(table) // 2 - 1] for table in FREQUENCIES[1:TABLES])])
    expected = np.add.reduceat(chances[indices], places)[:-1] / TOTAL
    assert (np.abs(expected - EXPECTED) <= 1).all()


def test_each_sign_that_is_told_saves_a_bit() -> None:
    indices, symbols, ratio = drawn(3, 30000, lowest=8)
    groups = Groups(CODER, indices)
    groups.agree(symbols, ratio, np.full(len(indices), WORTH, np.float32))
    told = len(groups.told(magnitudes(indices, symbols))[0])
    with_all, without = RangeWriter(CODER), RangeWriter(CODER)
    with_all.transfer(indices, symbols)
    without.transfer(indices, symbols, groups)
    assert 8 * (len(with_all.payload) - len(without.payload)) == pytest.approx(told, abs=16)
    assert told > 1000
    read = RangeReader(CODER, without.payload).transfer(indices, None, groups)
    assert np.array_equal(read, symbols)


def test_only_the_content_has_signs_that_are_not_written() -> None:
    """Elsewhere the nearest symbols stand: a vector a step off, or a flag, would cost more than a bit."""
    y, mean, scale, step, _ = latent(4, side=16, lowest=30, outliers=0)
    values = {part: RangeWriter(CODER).code(part, y, mean, scale, step) for part in Part}
    nearest = values.pop(Part.MOTION)
    assert not torch.equal(values.pop(Part.CONTENT), nearest)
    assert all(torch.equal(value, nearest) for value in values.values())


def test_the_padding_is_never_what_makes_a_sign_right() -> None:
    y, mean, scale, step, _ = latent(5, side=8, lowest=30)
    inside = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    inside[..., :3, :5] = True
    value = ThriftyWriter(CODER, inside).code(Part.CONTENT, y, mean, scale, step)
    assert torch.equal(value, torch.where(inside, value, mean))
    assert (value != mean).any()
