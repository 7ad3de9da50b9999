"""What a Matroska file says otherwise than FFmpeg's muxer lets it: the size to show, and finer times.

The muxer writes no size unless its stream says so, and PyAV cannot make it say so. It counts times in
milliseconds, which are too coarse for the highest rates: there it is given longer times, and the file is told
afterwards that its unit is as much shorter.

Elements are as in RFC 9559: an identifier, a size, a body. What the muxer leaves void behind the description
of a video stream has room for the two numbers of the size, so that nothing else in the file moves.

A file of no picture says what no stream of PyAV can be told, but what FFmpeg copies from a stream to another.
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
INFO, TIMESTAMP_SCALE, CODEC_DELAY = 0x1549A966, 0x2AD7B1, 0x56AA
COLOUR, CHROMA_ACROSS, CHROMA_DOWN = 0x55B0, 0x55B7, 0x55B8
CHROMA_PLACES = (None, None), (1, 2), (2, 2), (1, 1), (2, 1), (1, 3), (2, 3)  # by FFmpeg's number
TAGS, TAG, SIMPLE_TAG, TAG_NAME, TAG_STRING = 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487
VOID, CRC32 = 0xEC, 0xBF
EBML, DOC_TYPE, DOC_TYPE_VERSION = 0x1A45DFA3, 0x4282, 0x4287
TRACK_NUMBER, TRACK_UID, TRACK_TYPE, CODEC_ID = 0xD7, 0x73C5, 0x83, 0x86
CLUSTER, TIMESTAMP = 0x1F43B675, 0xE7
HEAD = 1 << 16  # bytes in which streams are described
BEFORE_PICTURES = 1 << 26  # bytes: attachments, too, stand before what else is known of the streams
MILLISECOND = 1_000_000  # ns
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


def time_factor(rate: Fraction) -> int:
    """By how much times must be finer than milliseconds for a rate in Hz: a power of ten up to 1000."""
    return 1 if rate <= 250 else next((f for f in (10, 100) if rate <= 100 * f), 1000)


def codec_delay(file: bytes) -> Fraction:
    """The delay of its codec, in seconds, that the bytes of a Matroska file tell of its first stream."""
    return Fraction(_first_number(file, SEGMENT, TRACKS, TRACK, CODEC_DELAY) or 0, 10**9)


def chroma_location(file: bytes) -> int:
    """Where the chroma of its first stream is, as the bytes of a Matroska file tell it, in FFmpeg's numbers.

    0 is unknown.
    """
    path = SEGMENT, TRACKS, TRACK, VIDEO, COLOUR
    place = _first_number(file, *path, CHROMA_ACROSS), _first_number(file, *path, CHROMA_DOWN)
    return CHROMA_PLACES.index(place) if place in CHROMA_PLACES else 0


def _first_number(file: bytes, *path: int) -> int | None:
    """The number that the first of each of the nested elements leads to; None where there is none."""
    element = Element(0, 0, 0, len(file))
    for identifier in path:
        found = _child(bytearray(file), element, identifier)
        if not found:
            return None
        element = found
    return int.from_bytes(file[element.body : element.end])


def refine_times(path: str, factor: int) -> None:
    """Make all times of a file so many times shorter: its unit, and the durations in its tags."""
    with open(path, "r+b") as file:
        head = bytearray(file.read(BEFORE_PICTURES))
        segment = _child(head, Element(0, 0, 0, len(head)), SEGMENT)
        info = segment and _child(head, segment, INFO)
        unit = info and _child(head, info, TIMESTAMP_SCALE)
        if not (segment and info and unit):
            raise OSError(f"{path}: no Matroska file")
        head[unit.body : unit.end] = (MILLISECOND // factor).to_bytes(unit.end - unit.body)
        _check_anew(head, info)
        for tags in _children(head, segment):
            if tags.identifier == TAGS:
                _shorten_durations(head, tags, factor)
                _check_anew(head, tags)
        file.seek(0)
        file.write(head)


def _shorten_durations(head: bytearray, tags: Element, factor: int) -> None:
    """Divide what the muxer writes of each stream, such as 00:00:01.500000000."""
    for tag in _children(head, tags):
        for simple in _children(head, tag) if tag.identifier == TAG else ():
            name, value = _child(head, simple, TAG_NAME), _child(head, simple, TAG_STRING)
            if name and value and head[name.body : name.end] == b"DURATION":
                hours, minutes, seconds = head[value.body : value.end].rstrip(b"\0").decode().split(":")
                whole = (int(hours) * 60 + int(minutes)) * 60 * 10**9 + int(Fraction(seconds) * 10**9)
                minutes_left, nanoseconds = divmod(whole // factor, 60 * 10**9)
                text = f"{minutes_left // 60:02}:{minutes_left % 60:02}:{nanoseconds / 1e9:012.9f}"
                head[value.body : value.end] = text.encode().ljust(value.end - value.body, b"\0")


def _check_anew(head: bytearray, element: Element) -> None:
    """Write the checksum of an element that has one."""
    check = next(_children(head, element))
    if check.identifier == CRC32:
        head[check.body : check.end] = crc32(head[check.end : element.end]).to_bytes(4, "little")


def _display(aspect: Fraction, width: int, height: int) -> bytes:
    """The elements of the display size: in samples, times what makes the width whole."""
    shown = aspect * width
    sizes = (DISPLAY_WIDTH, shown.numerator), (DISPLAY_HEIGHT, height * shown.denominator)
    return b"".join(element(identifier, number(size)) for identifier, size in sizes)


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
        room = void.end - void.start + (video.end - video.start) - len(element(VIDEO, body))
        if not 2 <= room <= SHORT:
            return False
        between = bytes(head[video.end : void.start])
        head[video.start : void.end] = element(VIDEO, body) + between + element(VOID, bytes(room - 2))
        _check_anew(head, tracks)
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


def matroska(codec: bytes, video: bytes) -> bytes:
    """A file of no picture, whose one stream has a codec and is described by these elements."""
    head = element(DOC_TYPE, b"matroska") + element(DOC_TYPE_VERSION, number(4))
    info = element(TIMESTAMP_SCALE, number(MILLISECOND))
    track = b"".join(element(name, number(1)) for name in (TRACK_NUMBER, TRACK_UID, TRACK_TYPE))
    track = element(TRACK, track + element(CODEC_ID, codec) + element(VIDEO, video))
    parts = (INFO, info), (TRACKS, track), (CLUSTER, element(TIMESTAMP, b"\0"))
    return element(EBML, head) + element(SEGMENT, b"".join(element(*part) for part in parts))


def number(value: int) -> bytes:
    """The body of an element that is a number of 1 or more."""
    return value.to_bytes(math.ceil(value.bit_length() / 8))


def element(identifier: int, body: bytes) -> bytes:
    """An element with a body of less than 16 kB."""
    short = len(body) <= SHORT
    size = (0x80 | len(body)).to_bytes(1) if short else (0x4000 | len(body)).to_bytes(2)
    return number(identifier) + size + body
