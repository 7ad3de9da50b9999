"""Groups: the frames of one window, with what it takes to code them apart from all others.

Frames come in display order. A full window closes with an I frame; a scene cut ends a window early, and the
new scene begins with an I frame of its own:

    no cut     I | B B B I | B B B I | B B B*
    a cut      I | B B B I | B B* | I | B B B I
                                    ^ first frame of the new scene
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from bcodec.encoder.scenes import find_cuts
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
    frames: list[Frame]
    past: Frame | None

    def frame(self, slot: Slot) -> Frame:
        """Return the picture of a slot."""
        return self.frames[slot.poc - self.start]

    @property
    def end(self) -> int:
        """The poc of the last frame in display order."""
        return self.start + len(self.frames) - 1


def groups(frames: Iterable[Frame], gop_size: int, *, scene_cut: bool) -> Iterator[Group]:
    """Split frames in display order into groups; holds one group of them, and three frames for the cuts.

    Raises ValueError, after the groups before it, for a frame of another size or depth than the first.
    """
    alike = _of_one_size(frames)
    marked = find_cuts(alike, _luma) if scene_cut and gop_size > 1 else ((frame, False) for frame in alike)
    start, past, waiting = 0, None, list[Frame]()
    for frame, cut in marked:
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
