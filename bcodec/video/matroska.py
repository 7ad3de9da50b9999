"""The size at which a Matroska file is to be shown: FFmpeg's muxer writes none unless its stream says so, and
PyAV cannot make it say so.

Elements are as in RFC 9559: an identifier, a size, a body. What the muxer leaves void behind the description
of a video stream has room for the two numbers, so that nothing else in the file moves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple
from zlib import crc32

SEGMENT, TRACKS, TRACK, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
VOID, CRC32 = 0xEC, 0xBF
HEAD = 1 << 16  # bytes in which streams are described
SHORT = 126  # the longest body whose size takes one byte


class Element(NamedTuple):
    """An element's identifier, and where it, its body, and what follows begin."""

    identifier: int
    start: int
    body: int
    end: int


def write_aspect(path: str, aspect: Fraction, width: int, height: int) -> bool:
    """Make a file's video of width x height be shown with a sample aspect ratio; False if it has no room."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(HEAD))
        changed = _described(head, _display(aspect, width, height))
        if changed:
            file.seek(0)
            file.write(head)
            file.flush()
            os.fsync(file.fileno())
    return changed


def _display(aspect: Fraction, width: int, height: int) -> bytes:
    """The elements of the display size: in samples, times what makes the width whole."""
    shown = aspect * width
    sizes = (DISPLAY_WIDTH, shown.numerator), (DISPLAY_HEIGHT, height * shown.denominator)
    return b"".join(_element(identifier, _number(size)) for identifier, size in sizes)


def _described(head: bytearray, display: bytes) -> bool:
    """Put the display size into the description of the first video stream."""
    segment = _child(head, Element(0, 0, 0, len(head)), SEGMENT)
    tracks = segment and _child(head, segment, TRACKS)
    for track in _children(head, tracks) if tracks else ():
        video = _child(head, track, VIDEO) if track.identifier == TRACK else None
        void = _child(head, track, VOID)
        if not (tracks and video and void and void.start >= video.end):
            continue
        kept = (e for e in _children(head, video) if e.identifier != DISPLAY_UNIT)
        body = b"".join(head[e.start : e.end] for e in kept) + display
        room = void.end - void.start + (video.end - video.start) - len(_element(VIDEO, body))
        if len(body) > SHORT or not 2 <= room <= SHORT:
            return False
        between = bytes(head[video.end : void.start])
        head[video.start : void.end] = _element(VIDEO, body) + between + _element(VOID, bytes(room - 2))
        check = next(_children(head, tracks))
        if check.identifier == CRC32:
            head[check.body : check.end] = crc32(head[check.end : tracks.end]).to_bytes(4, "little")
        return True
    return False


def _child(data: bytearray, parent: Element, identifier: int) -> Element | None:
    return next((e for e in _children(data, parent) if e.identifier == identifier), None)


def _children(data: bytearray, parent: Element) -> Iterator[Element]:
    place = parent.body
    while place < min(parent.end, len(data)):
        length = 9 - data[place].bit_length()
        identifier = int.from_bytes(data[place : place + length])
        start = place + length
        length = 9 - data[start].bit_length() if start < len(data) else 9
        if length > 8:
            return
        body = start + length
        size = int.from_bytes(data[start:body]) & ((1 << 7 * length) - 1)
        yield Element(identifier, place, body, body + size)
        place = body + size


def _number(value: int) -> bytes:
    return value.to_bytes(math.ceil(value.bit_length() / 8))


def _element(identifier: int, body: bytes) -> bytes:
    """An element with a body of at most 126 bytes."""
    return _number(identifier) + (0x80 | len(body)).to_bytes() + body
