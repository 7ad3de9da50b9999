"""Groups: the frames of one window, with what it takes to code them apart from all others.

Frames come in display order. A full window closes with an I frame where the last is as far away as I frames
may be, and else with the anchor that pays, I or B*; a scene cut ends a window early, and the new scene begins
with an I frame of its own:

    no cut     I | B B B ? | B B B I | B B B ? | B B*
    a cut      I | B B B ? | B B* | I | B B B ?
                                    ^ first frame of the new scene
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile

from bcodec.encoder.scenes import find_cuts
from bcodec.encoder.temporalfilter import REACH, Neighbour, Source
from bcodec.frame import Frame, Plane
from bcodec.gop import Closing, Slot, intra_anchor, window


@dataclass(frozen=True, eq=False)
class Group:
    """Frames coded together, in display order, the first of poc `start`.

    `past` is the anchor at poc `start - 1` that B frames refer to, None where there are no B frames. With it,
    the group may close in several ways, of which the encoder takes one; without, it is one I frame.
    """

    start: int
    frames: list[Source]
    past: Source | None
    closings: tuple[Closing, ...]
    gop_size: int

    def slots(self, closing: Closing) -> list[Slot]:
        """All that is coded, in coding order, if it closes in that way."""
        if self.past is None:
            return [intra_anchor(self.start, self.gop_size)]
        return window(self.start - 1, len(self.frames), self.gop_size, closing)

    def frame(self, slot: Slot) -> Source:
        """Return the picture of a slot."""
        return self.frames[slot.poc - self.start]

    @property
    def end(self) -> int:
        """The poc of the last frame in display order."""
        return self.start + len(self.frames) - 1


def groups(
    frames: Iterable[Frame], gop_size: int, keyint: int, *, scene_cut: bool, temporal_filter: bool = False
) -> Iterator[Group]:
    """Split frames in display order into groups, to be filtered by their neighbours or not.

    `keyint`: how far apart the I frames of a scene are at most, not below `gop_size`. Holds one group, and a
    few frames for cuts and neighbours. Raises ValueError, after the groups before it, for a frame of another
    size or depth than the first.
    """
    alike = _of_one_size(frames)
    marked = find_cuts(alike, _luma) if scene_cut and gop_size > 1 else ((frame, False) for frame in alike)
    start, past, waiting = 0, None, list[Source]()
    since = 0  # frames from the last I frame that had to be one to the past

    def closed(*closings: Closing) -> Group:
        return Group(start, waiting, past, closings, gop_size)

    for frame, cut in sources(marked, REACH if gop_size > 1 else 0, filtered=temporal_filter):
        if past is None or cut:
            if waiting:
                yield closed(Closing.TAIL)
            start += len(waiting)
            yield Group(start, [frame], None, (Closing.INTRA,), gop_size)
            start, past, waiting, since = start + 1, frame, [], 0
            continue
        waiting.append(frame)
        if len(waiting) == gop_size:
            since += gop_size
            if gop_size == 1 or since + gop_size > keyint:
                yield closed(Closing.INTRA)
                since = 0
            else:
                yield closed(Closing.TAIL, Closing.INTRA)
            start, past, waiting = start + gop_size, frame, []
    if waiting:
        yield closed(Closing.TAIL)


def sources(
    marked: Iterable[tuple[Frame, bool]], reach: int, *, filtered: bool
) -> Iterator[tuple[Source, bool]]:
    """Each frame with its neighbours of the same scene, and again whether a scene begins at it."""
    before, ahead = deque[Frame](maxlen=reach), deque[tuple[Frame, bool]]()

    def first() -> tuple[Source, bool]:
        frame, cut = ahead.popleft()
        if cut:
            before.clear()
        after = [other for other, _ in takewhile(lambda item: not item[1], ahead)]
        sides = (reversed(before), after)
        beside = tuple(Neighbour(other, far) for side in sides for far, other in enumerate(side, 1))
        source = Source(frame, beside, filtered, first=not before, last=not after)
        before.append(frame)
        return source, cut

    for item in marked:
        ahead.append(item)
        if len(ahead) > reach:
            yield first()
    while ahead:
        yield first()


def sample(parts: Iterable[Group], every: int) -> Iterator[Group]:
    """Give one group in so many, of those that do not begin a scene."""
    return islice((group for group in parts if group.past), every // 2, None, every)


def _luma(frame: Frame) -> Plane:
    return frame.y


def _of_one_size(frames: Iterable[Frame]) -> Iterator[Frame]:
    size = None
    for poc, frame in enumerate(frames):
        own = frame.width, frame.height, frame.bit_depth
        size = size or own
        if own != size:
            raise ValueError(f"frame {poc} is {own[0]}x{own[1]} of {own[2]} bits, the first is not")
        yield frame
