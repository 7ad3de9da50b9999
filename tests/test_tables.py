"""Frequency tables leave out no symbol, and stand for the deviations that they say."""

from collections import Counter

import numpy as np
import pytest
from latents import DEVIATIONS, FREQUENCIES

from bcodec.coding import TABLES
from bcodec.entropy.distributions import FAMILIES
from bcodec.entropy.tables import TOTAL, Tables, fit_tables


def test_tables_are_integers_that_sum_to_2_to_the_20_with_no_symbol_left_out() -> None:
    assert len(FREQUENCIES) == TABLES * len(FAMILIES)
    for table in FREQUENCIES:
        assert np.issubdtype(table.dtype, np.integer)
        assert table.sum() == TOTAL
        assert table.min() >= 1


def test_tables_are_symmetric_and_fall_away_from_zero() -> None:
    for table in FREQUENCIES:
        symbols = table[:-1]
        middle = len(symbols) // 2
        assert np.array_equal(symbols, symbols[::-1])
        assert (np.diff(symbols[middle:]) <= 0).all()


def test_tables_have_the_deviation_they_stand_for() -> None:
    for table, sigma in list(zip(FREQUENCIES[:TABLES], DEVIATIONS.tolist(), strict=True))[20:54]:
        symbols = np.arange(len(table) - 1) - (len(table) // 2 - 1)
        measured = np.sqrt((table[:-1] * symbols**2.0).sum() / TOTAL)
        assert measured == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.03)


def test_fitted_tables_take_fewer_bits_for_what_was_counted_and_keep_every_symbol() -> None:
    table = 20
    seen = Counter({0: 6000, 1: 900, -1: 1100, 5: 20, 10**5: 3})
    counts = [seen if number == table else Counter[int]() for number in range(len(FREQUENCIES))]
    fitted = fit_tables(FREQUENCIES, counts)
    for number, (before, after) in enumerate(zip(FREQUENCIES, fitted, strict=True)):
        assert after.sum() == TOTAL
        assert after.min() > 0
        assert np.array_equal(after[:-1], after[-2::-1])
        assert np.array_equal(after, before) == (number != table)
    middle = len(FREQUENCIES[table]) // 2 - 1
    bits = [
        sum(-number * np.log2(t[middle + s] / TOTAL) for s, number in seen.items() if abs(s) <= 5)
        for t in (FREQUENCIES[table], fitted[table])
    ]
    assert bits[1] < 0.8 * bits[0]


def test_anything_but_128_tables_of_integers_is_a_type_error() -> None:
    for wrong in (FREQUENCIES[:-1], [t.astype(np.float64) for t in FREQUENCIES], []):
        with pytest.raises(TypeError, match="tables of integers"):
            Tables(wrong)
