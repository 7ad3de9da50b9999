"""Presets: how much an encoder tries before it decides. Any file decodes alike, whatever made it."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """With what a frame is coded.

    `motion_price`: what a bit of motion costs in the choice of vectors, times what it really does: motion
    that is coded pays in later frames, too, or not even in this one, which only coding can tell. `details`:
    whether blocks may have four vectors, or their mean for a prediction.
    """

    motion_price: float = 1.0
    details: bool = True
    loop_filter: bool = True


PLAIN = Effort()


class Preset(NamedTuple):
    """The efforts that B frames are coded with, of which the best is kept, and what else is tried.

    `chroma`: I frames are coded twice, to find the qp of chroma that suits them.
    """

    efforts: tuple[Effort, ...]
    chroma: bool

    @property
    def plain(self) -> Effort:
        """The effort for I frames, and the first for B frames."""
        return self.efforts[0]


PRESETS = {
    "fast": Preset((Effort(details=False, loop_filter=False),), chroma=False),
    "medium": Preset((PLAIN,), chroma=True),
    "slow": Preset((PLAIN, Effort(0.5), Effort(8.0)), chroma=True),
}
