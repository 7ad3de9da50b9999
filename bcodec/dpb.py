"""Decoded picture buffer: which frames are held as references, and in which order frames are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from bcodec.errors import MissingPicture, MissingReference

T = TypeVar("T")


@dataclass(frozen=True)
class HeldPicture(Generic[T]):
    """A decoded frame that later ones may refer to: display index, temporal layer, and the picture."""

    poc: int
    temporal_layer: int
    picture: T


@dataclass(frozen=True)
class LostPicture:
    """The place of a frame that later ones may refer to, and that could not be decoded."""

    poc: int
    temporal_layer: int


class DecodedPictureBuffer(Generic[T]):
    """The frames held as references; at most two anchors and one frame of each temporal layer above 0."""

    def __init__(self) -> None:
        self._held: list[HeldPicture[T] | LostPicture] = []  # in coding order

    def __len__(self) -> int:
        return len(self._held)

    def insert(self, reference: HeldPicture[T] | LostPicture) -> None:
        """Hold a frame just coded, or its place, and let go of every frame that it makes dead.

        In pre-order, a frame of layer L > 0 comes after the subtrees of all earlier frames of layer >= L are
        done: only its ancestors, of layers < L, are still referred to. An anchor ends the whole bisection,
        but the anchor before it is the past of the window that now opens. A leaf need not be inserted.
        """
        if reference.temporal_layer == 0:
            survivors = [held for held in self._held if held.temporal_layer == 0][-1:]
        else:
            survivors = [held for held in self._held if held.temporal_layer < reference.temporal_layer]
        self._held = [*survivors, reference]

    def references(self, poc: int) -> tuple[HeldPicture[T], HeldPicture[T]]:
        """Return (past, future): the nearest held frames on either side of `poc`.

        Without a future it is the past twice. Raises MissingReference where no frame before `poc` is held,
        and where one of the two is lost.
        """
        past = max((held for held in self._held if held.poc < poc), key=_poc, default=None)
        if past is None:
            raise MissingReference(f"frame {poc} refers to an earlier frame, and none has been decoded")
        future = min((held for held in self._held if held.poc > poc), key=_poc, default=past)
        return _present(past), _present(future)


class DisplayOrder(Generic[T]):
    """A reorder buffer: takes items in coding order, gives each in display order as soon as it is next.

    `start` is the first poc to show. `capacity` bounds the items that wait, where given: in a window of GOP
    size N no more than ceil(log2 N) + 1 do.
    """

    def __init__(self, start: int = 0, capacity: int | None = None) -> None:
        self._next = start
        self._capacity = capacity
        self._waiting: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, poc: int, item: T) -> list[T]:
        """Take the item of `poc` and return those that can be shown now, in display order (often none).

        Raises MissingPicture for a poc already shown or waiting, and where more than `capacity` items wait.
        """
        if poc < self._next or poc in self._waiting:
            raise MissingPicture(f"frame {poc} came twice, or after its turn (next to show is {self._next})")
        self._waiting[poc] = item
        ready = self._ready()
        if self._capacity is not None and len(self._waiting) > self._capacity:
            raise MissingPicture(
                f"frame {self._next} is missing: {len(self._waiting)} later frames wait for it"
            )
        return ready

    def pass_over(self) -> list[T]:
        """Return those that can be shown where the frames before the first that waits never come."""
        order = sorted(self._waiting)
        self._next = order[0] if order else self._next
        return self._ready()

    def flush(self) -> list[T]:
        """Return all that still wait, in display order, passing over missing frames, and be empty."""
        order = sorted(self._waiting)
        self._next = order[-1] + 1 if order else self._next
        return [self._waiting.pop(poc) for poc in order]

    def _ready(self) -> list[T]:
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready


def _poc(reference: HeldPicture[T] | LostPicture) -> int:
    return reference.poc


def _present(reference: HeldPicture[T] | LostPicture) -> HeldPicture[T]:
    if isinstance(reference, LostPicture):
        raise MissingReference(f"it refers to frame {reference.poc}, which is lost")
    return reference
