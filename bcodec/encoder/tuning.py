"""What suits the motion of a group of frames, found by coding some of them with several efforts.

How many vectors are worth their bits, and how precise ones, depends on the clip more than on anything else:
where motion is like noise, few and coarse vectors save a tenth of all bits. A search that looks at one block
after the other cannot know that; but what suits one frame of a temporal layer suits the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from bcodec.encoder.effort import Effort

SHARE = 0.1  # of a frame's bits must be motion for other efforts to be tried
SAVING = 0.02  # of the cost must be saved by what is to be kept
PATIENCE = 2  # layers in a row may be tried in vain before the rest are not
DEAR = 3.0  # times its bits motion costs where few vectors suit

T = TypeVar("T")


class Attempt(NamedTuple, Generic[T]):
    """A frame as it was coded with an effort, what it cost, and the share of motion in its bits."""

    effort: Effort
    cost: float
    motion: float
    coded: T


class Tuning(Generic[T]):
    """The efforts of one group, by temporal layer: found in a layer's first frame, confirmed in its second.

    The search begins with what suited the layer before. One frame alone often misleads (measured: E514 to
    E519).
    """

    def __init__(self, effort: Effort) -> None:
        self.latest = effort
        self.settled: dict[int, Effort] = {}  # by temporal layer
        self.doubted: dict[int, Effort] = {}  # what they have taken the place of
        self.in_vain = 0  # layers tried last without success

    def code(self, layer: int, coarsest: int, attempt: Callable[[Effort], Attempt[T]]) -> Attempt[T]:
        """The best of some attempts at a frame, which come in coding order; what `coarser` can be there."""
        best = first = attempt(self.settled.get(layer, self.latest))
        if layer in self.doubted:
            best = _cheaper(first, attempt(self.doubted.pop(layer)), saving=0.0)
        elif layer not in self.settled and first.motion > SHARE and self.in_vain < PATIENCE:
            best = _other_efforts(first, coarsest, attempt)
            self.in_vain += 1
            if best.effort != first.effort:
                self.doubted[layer], self.in_vain = first.effort, 0
        self.settled[layer] = self.latest = best.effort
        return best


def _other_efforts(first: Attempt[T], coarsest: int, attempt: Callable[[Effort], Attempt[T]]) -> Attempt[T]:
    """The best of a first attempt and its neighbours, first in precision, then in price."""
    own = min(first.effort.coarser, coarsest)
    best = first
    for other in (own + 1, own - 1):
        if 0 <= other <= coarsest:
            best = _cheaper(best, attempt(best.effort._replace(coarser=other)))
    price = DEAR if best.effort.motion_price == 1 else 1.0
    return _cheaper(best, attempt(best.effort._replace(motion_price=price)))


def _cheaper(one: Attempt[T], other: Attempt[T], saving: float = SAVING) -> Attempt[T]:
    return other if other.cost < (1 - saving) * one.cost else one
