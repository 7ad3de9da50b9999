"""Presets: how much an encoder tries before it decides. Any file decodes alike, whatever made it."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """With what a frame is coded.

    `motion_price`: what a bit of motion costs in the choice of vectors, times what it really does: motion
    that is coded pays in later frames, too, or not even in this one, which only coding can tell. `coarser`:
    by how many steps vectors are less precise than is usual at a qp. `details`: whether blocks may have four
    vectors, or their mean for a prediction.
    """

    motion_price: float = 1.0
    coarser: int = 0
    details: bool = True

    def at_price(self, factor: float) -> Effort:
        """The same where a bit of motion costs so many times as much."""
        return self._replace(motion_price=self.motion_price * factor)


PLAIN = Effort()


class Preset(NamedTuple):
    """The effort that coding begins with, and what else is tried.

    `chroma`: I frames are coded twice, to find the qp of chroma that suits them. `tuned`: so are the first B
    frames of each temporal layer, and more often, to find how precise and how dear motion should be there.
    `prices`: times the motion price, at each of which B frames are coded; the best is kept. `again`: how
    often, at most, a frame that others refer to is coded again, by temporal layer.
    """

    effort: Effort = PLAIN
    chroma: bool = False
    tuned: bool = True
    prices: tuple[float, ...] = (1.0,)
    again: tuple[int, ...] = ()


# Each on the hull of time against bits (measured: E626 to E643).
PRESETS = {
    "fast": Preset(Effort(details=False), tuned=False, again=(1, 1, 1)),
    "medium": Preset(again=(2, 2, 2, 1, 1)),
    "slow": Preset(chroma=True, prices=(1.0, 0.5, 8.0), again=(3, 3, 3, 3, 3)),
}
