"""Which packets must be decoded so that some frames can be shown: these, and those that they refer to.

References follow from the headers alone. A packet that is not to be shown is held back until one that is
needed refers to it:

    coding order    I0 B*8 b4 b2 b1 b3 b6 b5 b7 B*16 b12 b10 b9 b11 b14 b13 b15
    needed for 11   I0 B*8                      B*16 b12 b10    b11
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bcodec.bitstream import FrameType, Packet
from bcodec.codec import Lost
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.errors import MissingReference


@dataclass(eq=False)
class _Node:
    """A packet, its place in coding order, and those it refers to, until it is needed."""

    packet: Packet
    place: int
    references: tuple[_Node, ...]
    needed: bool = False


def needed(packets: Iterable[Packet | Lost], start: int, count: int | None) -> Iterator[Packet | Lost]:
    """Of `packets`, those needed to show `count` frames (None: all) from poc `start` on, in coding order."""
    dpb: DecodedPictureBuffer[_Node] = DecodedPictureBuffer()
    end = None if count is None else start + count
    behind = 0  # layer 0 frames that are shown later than all of these
    missing = count
    for place, packet in enumerate(packets):
        if isinstance(packet, Lost):
            yield packet
            continue
        header = packet.header
        node = _Node(packet, place, _references(packet, dpb, start))
        if header.referenced:
            dpb.insert(HeldPicture(header.poc, header.temporal_layer, node))
        if header.poc >= start and (end is None or header.poc < end):
            yield from _with_references(node)
            missing = missing and missing - 1
        if end is not None and header.temporal_layer == 0 and header.poc >= end:
            behind += 1
        if missing == 0 or behind > 1:
            return


def _references(packet: Packet, dpb: DecodedPictureBuffer[_Node], start: int) -> tuple[_Node, ...]:
    """What must come before a packet: its references, and before an I frame the anchor of its window.

    That one must be in the DPB before the I frame is, if it is to be there for wanted frames of the window.
    """
    poc = packet.header.poc
    try:
        past, future = dpb.references(poc)
    except MissingReference:  # its decoder says so, where it has references
        return ()
    if packet.header.frame_type is FrameType.I:
        return (past.picture,) if past.poc < start < poc else ()
    return past.picture, future.picture


def _with_references(node: _Node) -> list[Packet]:
    """The packet, behind all of those that it needs and that have not been needed before."""
    found, reached = [], [node]
    while reached:
        each = reached.pop()
        if not each.needed:
            each.needed = True
            found.append(each)
            reached += each.references
            each.references = ()
    return [each.packet for each in sorted(found, key=lambda each: each.place)]
