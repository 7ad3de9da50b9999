"""Groups: the frames of one window, with what it takes to code them apart from all others.

Frames come in display order. A full window closes with an I frame; a scene cut ends a window early, and the
new scene begins with an I frame of its own:

    no cut     I | B B B I | B B B I | B B B*
    a cut      I | B B B I | B B* | I | B B B I
                                    ^ first frame of the new scene
"""

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
    """Frames coded together.

    `slots` in coding order; `frames` in display order, the first of poc `start`; `past` is the I frame at poc
    `start - 1` that B frames refer to, None where there are no B frames.
    """

    start: int
    slots: list[Slot]
    frames: list[Source]
    past: Source | None

    def frame(self, slot: Slot) -> Source:
        """Return the picture of a slot."""
        return self.frames[slot.poc - self.start]

    @property
    def end(self) -> int:
        """The poc of the last frame in display order."""
        return self.start + len(self.frames) - 1


def groups(
    frames: Iterable[Frame], gop_size: int, *, scene_cut: bool, temporal_filter: bool = False
) -> Iterator[Group]:
    """Split frames in display order into groups, with neighbours for a temporal filter or without.

    Holds one group of them, and a few frames for cuts and neighbours. Raises ValueError, after the groups
    before it, for a frame of another size than the first.
    """
    alike = _of_one_size(frames)
    marked = find_cuts(alike, _luma) if scene_cut and gop_size > 1 else ((frame, False) for frame in alike)
    start, past, waiting = 0, None, list[Source]()
    for frame, cut in sources(marked, REACH if temporal_filter and gop_size > 1 else 0):
        if past is None or cut:
            if past and waiting:
                yield Group(start, window(start - 1, len(waiting), gop_size, Closing.TAIL), waiting, past)
            start += len(waiting)
            yield Group(start, [intra_anchor(start, gop_size)], [frame], None)
            start, past, waiting = start + 1, frame, []
            continue
        waiting.append(frame)
        if len(waiting) == gop_size:
            yield Group(start, window(start - 1, gop_size, gop_size), waiting, past)
            start, past, waiting = start + gop_size, frame, []
    if past and waiting:
        yield Group(start, window(start - 1, len(waiting), gop_size), waiting, past)


def sources(marked: Iterable[tuple[Frame, bool]], reach: int) -> Iterator[tuple[Source, bool]]:
    """Each frame with its neighbours of the same scene, and again whether a scene begins at it."""
    before, ahead = deque[Frame](maxlen=reach), deque[tuple[Frame, bool]]()

    def first() -> tuple[Source, bool]:
        frame, cut = ahead.popleft()
        if cut:
            before.clear()
        after = (other for other, _ in takewhile(lambda item: not item[1], ahead))
        sides = (reversed(before), after)
        beside = tuple(Neighbour(other, far) for side in sides for far, other in enumerate(side, 1))
        before.append(frame)
        return Source(frame, beside), cut

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
        size = size or (frame.width, frame.height)
        if (frame.width, frame.height) != size:
            raise ValueError(f"frame {poc} is {frame.width}x{frame.height}, the first is not")
        yield frame
