"""Decoding the windows of one video by a crew: the same frames as by one process, in the same order.

When an anchor is coded, the DPB lets go of all but it and the anchor before. So what follows an anchor, up to
the next one, refers to nothing else but these two and to itself. This process decodes the anchors, one
after the other, and gives each window, with its two anchors, to the crew:

    coding order    I0  I4 | B2 B1 B3 |  B*8 | B6 B5 B7 |  I12 | B10 B9 B11 |
    a task          I0  I4   B2 B1 B3                            decoded already: I0 I4
    the next            I4               B*8   B6 B5 B7          decoded already: I4 B*8
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import NamedTuple, TypeAlias

import torch

from bcodec.bitstream import FrameType, Packet
from bcodec.codec import Decoded, FrameCodec, FrameDecoder, Lost
from bcodec.crew import Crew
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.errors import MissingReference
from bcodec.frame import Frame


class DecodedFrame(NamedTuple):
    """A picture as it comes out of the decoder: in coding order, with its display index."""

    poc: int
    frame: Frame


Outcome: TypeAlias = DecodedFrame | Lost
Task: TypeAlias = list[Packet | Decoded | Lost]


def decode_alone(coded: Iterable[Packet | Decoded | Lost], codec: FrameCodec) -> Iterator[Outcome]:
    """What becomes of packets in coding order, from an I frame on, each as soon as it is decoded."""
    return map(_outcome, FrameDecoder(codec).run(coded))


def decode_in_parallel(
    packets: Iterable[Packet | Lost],
    open_codec: Callable[[], FrameCodec],
    gop_size: int,
    crew: Crew,
) -> Generator[Outcome, None, None]:
    """What `decode_alone` gives, computed by a crew and by this process, which decodes anchors.

    `open_codec` can be pickled: each of the crew has a codec of its own. Tasks are of at least `gop_size`
    frames. Raises what the crew raises, as ProcessKilled. Close it to end the work.
    """
    split = Windows(packets, open_codec(), gop_size)
    with closing(crew.work(partial(_worker, open_codec), split.tasks())) as results:
        for result in results:
            inside = iter(result)
            for outcome in split.places.popleft():
                yield outcome or next(inside)
    yield from split.rest


@dataclass
class _Task:
    """What the crew gets, and what comes of the frames among it: None for those that it decodes."""

    items: Task = field(default_factory=list)
    places: list[Outcome | None] = field(default_factory=list)

    def add(self, outcome: Decoded | Lost) -> None:
        """An anchor is decoded."""
        self.items.append(outcome)
        self.places.append(_outcome(outcome))

    def add_window(self, window: Iterable[Packet | Lost]) -> None:
        """Packets are still to be decoded, and what is none has no part in it."""
        for packet in window:
            if isinstance(packet, Packet):
                self.items.append(packet)
            self.places.append(None if isinstance(packet, Packet) else packet)


class Windows:
    """Splits packets into tasks for a crew, and decodes their anchors.

    places: those of each task that was given, in coding order. rest: what comes behind the last task, decoded
    here when it is asked for; no encoder leaves any, since it is what is no window: B anchors that refer to
    other frames than anchors, and all behind them, and windows without end.
    """

    MOST = 256  # packets of a window; a GOP is less

    def __init__(self, packets: Iterable[Packet | Lost], codec: FrameCodec, gop_size: int) -> None:
        self.places: deque[list[Outcome | None]] = deque()
        self.rest: Iterator[Outcome] = iter(())
        self._packets, self._codec, self._gop_size = iter(packets), codec, gop_size
        self._decoder = FrameDecoder(codec)
        self._headers: DecodedPictureBuffer[None] = DecodedPictureBuffer()
        self._anchors: deque[Decoded | Lost] = deque(maxlen=2)
        self._unkept: deque[Decoded | Lost] = deque(maxlen=2)  # to these no anchor has referred

    def tasks(self) -> Iterator[Task]:
        """Each as soon as it is complete: the anchors before, then packets, with the anchors among them."""
        task = _Task()
        window: list[Packet | Lost] = []
        for packet in self._packets:
            if isinstance(packet, Lost):
                window.append(packet)
                continue
            is_anchor = _is_anchor(packet)
            if len(window) == self.MOST or (is_anchor and self._leans_on_window(packet)):
                self.rest = self._alone([*window, packet])
                window = []
                break
            if is_anchor or (self._is_closed() and len(task.places) + len(window) >= self._gop_size):
                task.add_window(window)
                window = []
                if len(task.places) >= self._gop_size:
                    yield self._give(task)
                    task = _Task([*self._anchors] if not is_anchor else [self._anchors[-1]])
            if is_anchor:
                task.add(self._decode(packet))
            else:
                window.append(packet)
            if packet.header.referenced:
                self._headers.insert(HeldPicture(packet.header.poc, packet.header.temporal_layer, None))
        task.add_window(window)
        if task.places:
            yield self._give(task)

    def _give(self, task: _Task) -> Task:
        self.places.append(task.places)
        return task.items

    def _alone(self, packets: list[Packet | Lost]) -> Iterator[Outcome]:
        """Decode packets behind the anchors, and all that follow."""
        known = [*self._anchors]
        outcomes = decode_alone(chain(known, packets, self._packets), self._codec)
        return islice(outcomes, len(known), None)

    def _leans_on_window(self, anchor: Packet) -> bool:
        """Whether it refers to a frame that is none."""
        if anchor.header.frame_type is FrameType.I:
            return False
        try:
            return any(held.temporal_layer for held in self._headers.references(anchor.header.poc))
        except MissingReference:
            return False

    def _is_closed(self) -> bool:
        """Whether what comes can refer to nothing but anchors."""
        return len(self._headers) == len(self._anchors)

    def _decode(self, anchor: Packet) -> Decoded | Lost:
        if anchor.header.frame_type is FrameType.B:
            for before in self._unkept:
                self._decoder.keep(before)
            self._unkept.clear()
        with _one_thread():
            outcome = self._decoder.decode(anchor)
        self._anchors.append(outcome)
        self._unkept.append(outcome)
        return outcome


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as the other processes do: they need the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_anchor(packet: Packet) -> bool:
    return packet.header.referenced and packet.header.temporal_layer == 0


def _outcome(outcome: Decoded | Lost) -> Outcome:
    return outcome if isinstance(outcome, Lost) else DecodedFrame(outcome.header.poc, outcome.frame)


def _worker(open_codec: Callable[[], FrameCodec]) -> Callable[[Task], list[Outcome]]:
    return partial(_decode_task, open_codec())


def _decode_task(codec: FrameCodec, task: Task) -> list[Outcome]:
    outcomes = zip(task, decode_alone(task, codec), strict=True)
    return [outcome for item, outcome in outcomes if isinstance(item, Packet)]
