"""The slots of a whole video, as windows laid end to end."""

from collections.abc import Iterator

from bcodec.gop import Slot, intra_anchor, window


def schedule(count: int, gop_size: int) -> Iterator[Slot]:
    """Yield the slots of `count` frames, poc 0 to count - 1, in coding order."""
    yield intra_anchor(0, gop_size)
    for anchor in range(0, count - 1, gop_size):
        yield from window(anchor, min(gop_size, count - 1 - anchor), gop_size)
