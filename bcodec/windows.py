"""Decoding the parts of one video by a crew: the same frames as by one process, in the same order.

When an anchor is coded, the DPB lets go of all but it and the anchor before. So what follows an anchor, up to
the next one, its window, refers to nothing else but these two and to itself. This process decodes the
anchors, and in long windows the frames in the middle between them; each of the parts between these goes to
the crew, with the decoded frames that it refers to:

    coding order    I0 I16 | B8 | B4 B2 B1 B3 B6 B5 B7 | B12 B10 ... B15 | B*24 | B20 B18 B17 B19 ...
    a part                        B4 B2 B1 B3 B6 B5 B7                            decoded here: I0 B8
    the next                                             B12 B10 ... B15          decoded here: I16 B8
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple, TypeAlias

from bcodec.bitstream import FrameType, Packet
from bcodec.codec import Decoded, FrameCodec, FrameDecoder, Lost
from bcodec.crew import Crew
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.errors import MissingReference
from bcodec.frame import Frame
from bcodec.gop import PART, parts


class DecodedFrame(NamedTuple):
    """A picture as it comes out of the decoder: in coding order, with its display index."""

    poc: int
    frame: Frame


Outcome: TypeAlias = DecodedFrame | Lost
# Decoded frames in coding order, and behind them packets that refer to these and to each other.
Task: TypeAlias = list[Packet | Decoded | Lost]


def decode_alone(coded: Iterable[Packet | Decoded | Lost], codec: FrameCodec) -> Iterator[Outcome]:
    """What becomes of packets in coding order, from an I frame on, each as soon as it is decoded."""
    return map(_outcome, FrameDecoder(codec).run(coded))


def decode_in_parallel(
    packets: Iterable[Packet | Lost], open_codec: Callable[[], FrameCodec], crew: Crew
) -> Generator[Outcome, None, None]:
    """What `decode_alone` gives, computed by a crew and by this process, which decodes anchors.

    `open_codec` can be pickled: each of the crew has a codec of its own. Raises what the crew raises, as
    ProcessKilled. Close it to end the work.
    """
    split = Windows(packets, open_codec())
    with closing(crew.work(partial(_worker, open_codec), split.tasks())) as results:
        for result in results:
            inside = iter(result)
            for outcome in split.places.popleft():
                yield outcome or next(inside)
    yield from filter(None, split.places.popleft())
    yield from split.rest


class Windows:
    """Splits packets into tasks for a crew, and decodes what is in none.

    places: what becomes of packets, in coding order, up to the end of each task that was given, and behind
    the last: None for what comes of the task. rest: what comes behind that, decoded here when it is asked
    for; no encoder leaves any, since it is what is no window: frames that refer to what is in another part,
    and all behind them, and windows without end.
    """

    MOST = 256  # packets of a window; a GOP is less

    def __init__(self, packets: Iterable[Packet | Lost], codec: FrameCodec) -> None:
        self.places = deque([list[Outcome | None]()])
        self.rest: Iterator[Outcome] = iter(())
        self._packets, self._codec, self._decoder = iter(packets), codec, FrameDecoder(codec)
        self._dpb: DecodedPictureBuffer[Decoded | Lost | None] = DecodedPictureBuffer()  # None: in a part
        self._anchors: deque[Decoded | Lost] = deque(maxlen=2)
        self._unkept: list[Decoded | Lost] = []  # decoded here, and no frame decoded here came after them

    def tasks(self) -> Iterator[Task]:
        """Each as soon as all that it takes is decoded."""
        window: list[Packet | Lost] = []
        for packet in self._packets:
            if isinstance(packet, Packet) and _is_anchor(packet):
                told = yield from self._split(window)
                if told < len(window) or self._leans(packet):
                    self.rest = self._alone([*window, packet], told)
                    return
                window = []
                self._decode(packet)
                if len(self.places[-1]) > PART:  # there is nothing but anchors
                    yield self._given([])
                continue
            window.append(packet)
            if len(window) == self.MOST:
                self.rest = self._alone(window, 0)
                return
            if len(window) >= PART and not any(map(_is_referenced, window)):
                yield from self._split(window)
                window = []
        told = yield from self._split(window)
        if told < len(window):
            self.rest = self._alone(window, told)

    def _split(self, window: list[Packet | Lost]) -> Generator[Task, None, int]:
        """Give the parts of a window, and decode what lies between; returns how far it could be split."""
        spots = [spot for spot, each in enumerate(window) if isinstance(each, Packet)]
        layers = [each.header.temporal_layer for each in window if isinstance(each, Packet)]
        done = 0
        for place in parts(layers):
            end = 1 + spots[place if isinstance(place, int) else place.stop - 1]
            own = window[done:end]  # with what is lost before and among them
            packets = [each for each in own if isinstance(each, Packet)]
            if isinstance(place, int):
                if self._leans(packets[0]):
                    return done
                self.places[-1] += _lost(own)
                self._decode(packets[0])
            else:
                known = self._known(packets)
                if known is None:
                    return done
                self.places[-1] += [each if isinstance(each, Lost) else None for each in own]
                yield self._given([*known, *packets])
            done = end
        self.places[-1] += _lost(window[done:])
        return len(window)

    def _known(self, part: list[Packet]) -> list[Decoded | Lost] | None:
        """The frames decoded here that those of a part refer to; None where they refer to another part."""
        known: dict[tuple[int, int], Decoded | Lost] = {}
        own: set[int] = set()
        for packet in part:
            for held in self._references(packet):
                if held.picture is not None:
                    known[held.temporal_layer, held.poc] = held.picture
                elif id(held) not in own:
                    return None
            if packet.header.referenced:
                own.add(id(self._hold(packet, None)))
        return [outcome for _, outcome in sorted(known.items(), key=itemgetter(0))]  # in coding order

    def _leans(self, packet: Packet) -> bool:
        """Whether a frame to be decoded here refers to one that is not."""
        return any(held.picture is None for held in self._references(packet))

    def _references(self, packet: Packet) -> Sequence[HeldPicture[Decoded | Lost | None]]:
        if packet.header.frame_type is FrameType.B:
            with suppress(MissingReference):
                return self._dpb.references(packet.header.poc)
        return ()

    def _decode(self, packet: Packet) -> None:
        """Decode a frame here, behind those that it may refer to."""
        if packet.header.frame_type is FrameType.B:
            for before in self._unkept:
                self._decoder.keep(before)
            self._unkept.clear()
        outcome = self._decoder.decode(packet)
        self.places[-1].append(_outcome(outcome))
        if packet.header.referenced:
            self._hold(packet, outcome)
            if _is_anchor(packet):
                self._unkept = [each for each in self._unkept if each is self._anchors[-1]]
                self._anchors.append(outcome)
            self._unkept.append(outcome)

    def _hold(self, packet: Packet, outcome: Decoded | Lost | None) -> HeldPicture[Decoded | Lost | None]:
        held = HeldPicture(packet.header.poc, packet.header.temporal_layer, outcome)
        self._dpb.insert(held)
        return held

    def _given(self, task: Task) -> Task:
        self.places.append([])
        return task

    def _alone(self, window: list[Packet | Lost], told: int) -> Iterator[Outcome]:
        """Decode what is left of a window, behind its anchors, and all that follows."""
        known = [*self._anchors]
        outcomes = decode_alone(chain(known, window, self._packets), self._codec)
        return islice(outcomes, len(known) + told, None)


def _lost(items: Iterable[Packet | Lost]) -> list[Lost]:
    return [each for each in items if isinstance(each, Lost)]


def _is_referenced(item: Packet | Lost) -> bool:
    return isinstance(item, Packet) and item.header.referenced


def _is_anchor(packet: Packet) -> bool:
    return packet.header.referenced and packet.header.temporal_layer == 0


def _outcome(outcome: Decoded | Lost) -> Outcome:
    return outcome if isinstance(outcome, Lost) else DecodedFrame(outcome.header.poc, outcome.frame)


def _worker(open_codec: Callable[[], FrameCodec]) -> Callable[[Task], list[Outcome]]:
    return partial(_decode_task, open_codec())


def _decode_task(codec: FrameCodec, task: Task) -> list[Outcome]:
    outcomes = zip(task, decode_alone(task, codec), strict=True)
    return [outcome for item, outcome in outcomes if isinstance(item, Packet)]
