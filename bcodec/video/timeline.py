"""The times of a file's packets, made one line: joined recordings begin anew, and broadcasts jump."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

BROADCAST = ("mpegts", "mpeg")  # containers whose times begin anywhere
EDITED = (
    "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name: edit lists repeat pictures that are not shown, times and all
)
LONGEST_GAP = Fraction(10)  # seconds, as in FFmpeg's programs; a shorter one is a pause
LONGEST_OVERLAP = Fraction(2)  # seconds by which the streams of a recording begin apart
LATE = 2  # packets by which a parser may say too early that one is incomplete
MOST_HELD = 500  # packets; a film that comes no more does not hold up its sound
WHOLE = "whole"  # what `opaque` of a packet is that says without reason that it is incomplete
JITTER = Fraction(1, 10)  # seconds by which decoding times may go back in a careless file


class Timeline:
    """Moves the times of packets where they jump back or, in broadcasts, far on; a pause of one stream stays.

    What lies between two jumps is moved as one, so that its streams stay in step.
    """

    def __init__(self, *, closes_gaps: bool) -> None:
        self.closes_gaps = closes_gaps
        self.moves = [Fraction(0)]  # in seconds, of each part
        self.parts: dict[int, int] = {}  # in which part a stream is
        self.said: dict[int, Fraction] = {}  # the last time of a stream, as it was in the file
        self.due: dict[int, Fraction] = {}  # when a stream's next packet should come
        self.over: dict[int, Fraction] = {}  # when a stream's last packet of an earlier part is over
        self.jumps: list[Fraction] = []  # where the parts but the first begin, in seconds

    def straighten(self, packet: Packet[Stream]) -> bool:
        """Move the packet's times; False if it must be left out, since what came before lasts longer."""
        index, unit = packet.stream.index, packet.time_base
        part = self.parts.setdefault(index, len(self.moves) - 1)
        time = None if packet.dts is None else packet.dts * unit
        if time is not None and index in self.due and self._jumps(index, time):
            part = self.parts[index] = self._next_part(part, time)
            if isinstance(packet.stream, VideoStream):  # no picture can be left out
                self.moves[part] = max(self.moves[part], self.due[index] - time)
            else:
                self.over[index] = self.due[index]
        moved = round(self.moves[part] / unit)
        packet.pts = None if packet.pts is None else packet.pts + moved
        packet.dts = None if packet.dts is None else packet.dts + moved
        if time is None:
            return True
        self.said[index], now = time, time + self.moves[part]
        if now < self.over.get(index, now):
            return False
        self.due[index] = now + (packet.duration or 0) * unit
        return True

    def _jumps(self, index: int, time: Fraction) -> bool:
        moved, end = time + self.moves[self.parts[index]], max(self.due.values())
        return time < self.said[index] - JITTER or (self.closes_gaps and moved > end + LONGEST_GAP)

    def _next_part(self, part: int, time: Fraction) -> int:
        """The part of a packet that is not of this one: the last part if it fits there, else a new one."""
        end, newest = max(self.due.values()), len(self.moves) - 1
        if part == newest or not end - LONGEST_OVERLAP <= time + self.moves[newest] <= end + LONGEST_GAP:
            self.moves.append(end - time)
            self.jumps.append(end)
        return len(self.moves) - 1


def whole_at_jumps(packets: Iterable[tuple[Packet[Stream], bool]], film: int) -> Iterator[Packet[Stream]]:
    """Give the packets, and mark one of the film as WHOLE that says it is incomplete, just before a jump.

    packets: each with whether its stream jumps there. FFmpeg knows the end of a picture in MPEG-TS by the
    next one, and takes the other count of another recording for a loss.
    """
    held: list[Packet[Stream]] = []
    later = 0  # packets of the film behind the one that says so
    for packet, jumps in packets:
        is_film = packet.stream.index == film
        if held and is_film:
            later += 1
            if jumps:
                held[0].opaque = WHOLE
        if held and ((jumps and is_film) or later > LATE or len(held) == MOST_HELD):
            yield from held
            held.clear()
        if held or (is_film and packet.is_corrupt):
            later = later if held else 0
            held.append(packet)
        else:
            yield packet
    yield from held
