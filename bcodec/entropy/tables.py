"""Frequency tables of the range coder: made of distributions, fitted to symbols counted, and as models.

Each of the 64 scale indices has a table of integer frequencies for each family of distributions, made once
when weights are exported and shipped with them; index 0 means that the symbol is zero and nothing is coded.
The last entry of a table is an escape.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import constriction
import numpy as np
import torch
from torch import Tensor

from bcodec.coding import SCALE_RATIO, SMALLEST_SCALE, TABLES
from bcodec.entropy.distributions import FAMILIES, LOGISTIC

REACH = 13  # deviations, times that of the logistic distribution's scale, beyond which a symbol escapes
LONGEST = 2200  # symbols on either side of zero in a table
MAGNITUDES = 16  # of symbols that may be taken nearer to zero
PRIOR = 300.0  # symbols that a table made of its family weighs against symbols counted
TOTAL = 1 << 20  # sum of the frequencies of a table


def scales() -> Tensor:
    """Standard deviations [64] of the tables, in quantization steps, float64."""
    return SMALLEST_SCALE * SCALE_RATIO ** torch.arange(TABLES, dtype=torch.float64)


def make_tables() -> list[np.ndarray]:
    """Frequency tables, int32 [2 A + 2] with sum 2^20: symbols -A..A, then the escape; 64 for each family.

    The distributions are integrated over each symbol; the range A leaves out about 2^-18 of the probability.
    """
    tables = []
    for family in FAMILIES:
        widest = max(multiple for _, multiple in family)
        for sigma in scales().tolist():
            reach = min(max(1, math.ceil(REACH * LOGISTIC * sigma * widest)), LONGEST)
            edges = np.arange(-reach, reach + 2) - 0.5
            cdf = np.zeros(len(edges))
            for share, multiple in family:
                cdf += share * _logistic(edges / (LOGISTIC * sigma * multiple))
            mass = np.append(np.diff(cdf), 2 * cdf[0])
            frequencies = 1 + np.floor(mass / mass.sum() * (TOTAL - len(mass))).astype(np.int32)
            frequencies[reach] += TOTAL - frequencies.sum()
            tables.append(frequencies)
    return tables


def fit_tables(tables: Sequence[np.ndarray], counts: Sequence[Counter[int]]) -> list[np.ndarray]:
    """Tables nearer to the symbols counted under each, as many of either sign.

    So they know what no family does: how often an encoder that weighs bits against errors takes zero.
    """
    fitted = []
    for table, count in zip(tables, counts, strict=True):
        reach = len(table) // 2 - 1
        seen = np.zeros(len(table))
        for symbol, number in count.items():
            if abs(symbol) <= reach:
                seen[reach + symbol] += number / 2
                seen[reach - symbol] += number / 2
            else:
                seen[-1] += number
        mass = (seen + PRIOR * table / TOTAL) / (seen.sum() + PRIOR)
        frequencies = np.maximum(1, np.round(mass * TOTAL)).astype(np.int32)
        frequencies[reach] += TOTAL - frequencies.sum()
        fitted.append(frequencies)
    return fitted


def _logistic(x: np.ndarray) -> np.ndarray:
    """The logistic distribution's function."""
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))  # type: ignore[no-any-return]


def folded(table: np.ndarray) -> np.ndarray:
    """Frequencies of the magnitudes 0..A and of the escape, [A + 2], of a table of symbols, [2 A + 2]."""
    reach = len(table) // 2 - 1
    both = table[reach:].copy()
    both[1:-1] += table[:reach][::-1]
    return both


def magnitude_bits(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Bits of the magnitudes 0..15 in each table, [N, 16]; what a table leaves out costs an escape."""
    bits = np.full((len(tables), MAGNITUDES), 40.0)
    for row, table in zip(bits, tables, strict=True):
        reach = len(table) // 2 - 1
        inside = -np.log2(table[reach : 2 * reach + 1][:MAGNITUDES] / TOTAL)
        row[: len(inside)] = inside
    return bits


class Tables:
    """The frequency tables as constriction's models. Raises TypeError for anything but integers."""

    def __init__(self, tables: Sequence[np.ndarray]) -> None:
        count = TABLES * len(FAMILIES)
        if len(tables) != count or not all(np.issubdtype(t.dtype, np.integer) for t in tables):
            raise TypeError(f"{count} tables of integers are needed")
        self.reach = np.array([len(t) // 2 - 1 for t in tables])
        sizes = [folded(t) for t in tables]
        self.models = [
            constriction.stream.model.Categorical(t.astype(np.float64) / TOTAL, perfect=False) for t in sizes
        ]
        self.sign, self.byte = (constriction.stream.model.Uniform(count) for count in (2, 256))
        # Of a symbol, how likely it is not zero, of TOTAL; a family's first table codes nothing.
        self.chances = np.array(
            [TOTAL - t[0] if number % TABLES else 0 for number, t in enumerate(sizes)], np.int64
        )
        self.bits = magnitude_bits(tables)
        # Bits of each letter, at the least: a model gives it up to 2^-23 of probability more than its table.
        self.costs = -np.log2((np.concatenate(sizes) + TOTAL / (1 << 23)) / TOTAL)
        self.starts = np.cumsum([0, *(len(t) for t in sizes[:-1])])  # of the tables in these
