"""Signs that are not written: in each group of symbols the sum of magnitudes tells the sign of the first.

Sign bit hiding, after G. Clare, F. Henry and J. Jung, "Sign Data Hiding" (JCTVC-G271, 2011): an encoder whose
sum tells the wrong sign takes one symbol of the group a step up or down, the one that costs least. HEVC
groups by place; here a group ends when so many of its symbols are expected to be nonzero that a bit is worth
that, as the tables tell before anything is read.
"""

from __future__ import annotations

import numpy as np

from bcodec.coding import TABLES
from bcodec.entropy.tables import MAGNITUDES, TOTAL, Tables

EXPECTED = 8  # nonzero symbols in a group
LEAST = 2  # sum of magnitudes from which on it tells a sign


class Groups:
    """Groups of symbols [N] that are coded with the tables `indices` [N], in their order."""

    def __init__(self, tables: Tables, indices: np.ndarray) -> None:
        self._tables, self._indices = tables, indices
        # Of each symbol the number of its group, ascending.
        self._numbers = np.cumsum(tables.chances[indices]) // (EXPECTED * TOTAL)

    def told(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places whose signs the magnitudes [N] tell, ascending, and whether these are negative.

        An escape, which has a sign of its own, counts as 0.
        """
        places, sums = self._firsts(sizes)
        tells = sums >= LEAST
        return places[tells], sums[tells] % 2 == 1

    def agree(self, symbols: np.ndarray, ratio: np.ndarray, worth: np.ndarray) -> None:
        """Change symbols [N] where sums do not tell signs, one in each group, at the least cost.

        `ratio` [N] is what they stand for, in steps; `worth` [N] the bits that a squared error of one step is
        worth, infinite where symbols stay as they are.
        """
        reach = np.where(self._indices % TABLES > 0, self._tables.reach[self._indices], 0)
        sizes = np.where(np.abs(symbols) <= reach, np.abs(symbols), 0)
        firsts, sums = self._firsts(sizes)
        wrong = firsts[(sums >= LEAST) & ((sums % 2 == 1) != (symbols[firsts] < 0))]
        if not len(wrong):
            return
        first = np.full(self._numbers[-1] + 1, len(symbols))
        first[self._numbers[wrong]] = wrong
        own = np.flatnonzero((np.abs(symbols) <= reach) & (reach > 0) & np.isfinite(worth))
        own = own[own >= first[self._numbers[own]]]  # or another symbol would be the first
        size = sizes[own]
        sign = np.where(size > 0, np.sign(symbols[own]), np.where(ratio[own] < 0, -1, 1))
        off = sign * ratio[own] - size
        less, here, more = (
            self._tables.bits[self._indices[own], np.clip(size + change, 0, MAGNITUDES - 1)]
            for change in (-1, 0, 1)
        )
        up = np.where(size < reach[own], worth[own] * (1 - 2 * off) + more - here, np.inf)
        last = size <= (own == first[self._numbers[own]])  # what it has, or may give
        down = np.where(last, np.inf, worth[own] * (1 + 2 * off) + less - here)
        best = _cheapest(self._numbers[own], np.minimum(up, down))
        symbols[own[best]] += sign[best] * np.where(up[best] <= down[best], 1, -1)

    def _firsts(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the first nonzero symbols of groups stand, and the groups' sums of magnitudes [N]."""
        places = np.flatnonzero(sizes)
        starts = np.flatnonzero(np.diff(self._numbers[places], prepend=-1))
        return places[starts], np.add.reduceat(sizes[places], starts) if len(starts) else places


def _cheapest(numbers: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Where the least cost of each group stands, for ascending numbers of groups [N], not empty."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    least = np.minimum.reduceat(costs, starts)
    best = np.flatnonzero(costs == np.repeat(least, np.diff(starts, append=len(numbers))))
    first: np.ndarray = best[np.diff(numbers[best], prepend=-1) > 0]
    return first
