"""Where the structure of a Matroska file is broken: there FFmpeg goes on at the next cluster without a word.

Elements are as in RFC 9559: an identifier, a size, a body. A segment holds clusters, a cluster blocks, and
all lie end to end; where they do not, something has been overwritten or lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

EBML, SEGMENT = 0x1A45DFA3, 0x18538067
SEEK_HEAD, INFO, TRACKS, CLUSTER = 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675
CUES, ATTACHMENTS, CHAPTERS, TAGS = 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367
VOID, CRC32 = 0xEC, 0xBF
IN_SEGMENTS = (SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, ATTACHMENTS, CHAPTERS, TAGS, VOID, CRC32)
TIMESTAMP_SCALE, TIMESTAMP, POSITION, PREVIOUS_SIZE = 0x2AD7B1, 0xE7, 0xA7, 0xAB
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xA3, 0xA0, 0xA1
FIRST_IN_CLUSTERS = (TIMESTAMP, POSITION, PREVIOUS_SIZE, VOID, CRC32)
MILLISECOND = 1_000_000  # ns
UNKNOWN = 1 << 62  # where an element ends that does not say it
CHUNK = 1 << 20  # bytes


class Break(NamedTuple):
    """A place where elements do not follow each other.

    begin: when the last block before it is shown, end: when the first cluster behind it begins (None: there
    is none), in seconds.
    """

    begin: Fraction
    end: Fraction | None


class _Element(NamedTuple):
    """An identifier, where the element and its body begin, and what follows it."""

    identifier: int
    start: int
    body: int
    end: int


def breaks(path: str) -> list[Break]:
    """Find them all; none in a file that is not Matroska.

    What is cut off at the end is no break, nor is what follows the last cluster. Raises OSError.
    """
    with open(path, "rb") as file:
        return list(_Walk(file).breaks())


class _Walk:
    """Goes from element to element, and keeps the time."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.length, self.limit = file, os.fstat(file.fileno()).st_size, UNKNOWN
        self.unit, self.cluster_time = Fraction(MILLISECOND, 10**9), Fraction(0)  # seconds
        self.block: _Element | None = None  # the last of the cluster

    def breaks(self) -> Iterator[Break]:
        header = self._element(0)
        segment = self._element(header.end) if header and header.identifier == EBML else None
        if not segment or segment.identifier != SEGMENT:
            return
        place, self.limit = segment.body, segment.end
        while place < min(self.limit, self.length):
            element = self._element(place)
            is_sound = element and element.end <= self.limit and self._is_known(element)
            is_cluster = element and element.identifier == CLUSTER
            if element and is_sound and is_cluster:
                place, is_sound = self._through(element)
            elif element and is_sound:
                self._read_unit(element)
                place = element.end
            if is_sound:
                continue
            begin, cluster = self._now(), self._next_cluster(place + 1)
            if cluster or (is_cluster and element and element.end < UNKNOWN):
                yield Break(begin, self._timestamp(cluster) if cluster else None)
            if not cluster:
                return
            place = cluster.start

    def _is_known(self, element: _Element) -> bool:
        """Whether it belongs into a segment; one that is not known here does if what follows it does."""
        after = None if element.identifier in IN_SEGMENTS else self._element(element.end)
        return element.identifier in IN_SEGMENTS or bool(after and after.identifier in IN_SEGMENTS)

    def _through(self, cluster: _Element) -> tuple[int, bool]:
        """Go through a cluster: where it ends or is broken, and whether it is sound."""
        self.block, place = None, cluster.body
        while place < min(cluster.end, self.length):
            child = self._element(place)
            if child and cluster.end == UNKNOWN and child.identifier in IN_SEGMENTS[:-2]:
                return place, True
            if not child or child.end > cluster.end or child.end == UNKNOWN:
                return place, False
            if child.identifier == TIMESTAMP:
                self.cluster_time = self._number(child) * self.unit
            if child.identifier in (SIMPLE_BLOCK, BLOCK_GROUP):
                self.block = child
            place = child.end
        return place, True

    def _now(self) -> Fraction:
        """When the last block is shown: 16 bits with a sign, behind the number of its track, say it."""
        block = self.block
        if block and block.identifier == BLOCK_GROUP:
            block = self._element(block.body)
        if not block or block.identifier not in (SIMPLE_BLOCK, BLOCK):
            return self.cluster_time
        head = self._read(block.body, 11)
        place = 9 - head[:1].ljust(1, b"\1")[0].bit_length()
        return self.cluster_time + int.from_bytes(head[place : place + 2], signed=True) * self.unit

    def _read_unit(self, info: _Element) -> None:
        place = info.body
        while info.identifier == INFO and place < info.end and (child := self._element(place)):
            if child.identifier == TIMESTAMP_SCALE:
                self.unit = Fraction(self._number(child) or MILLISECOND, 10**9)
            place = child.end

    def _next_cluster(self, place: int) -> _Element | None:
        """The first cluster from a place on that begins as one does."""
        magic = CLUSTER.to_bytes(4)
        while data := self._read(place, CHUNK):
            at = data.find(magic)
            if at < 0:
                place += max(len(data) - len(magic) + 1, 1)
                continue
            place += at
            cluster = self._element(place)
            child = self._element(cluster.body) if cluster and cluster.end <= self.limit else None
            if cluster and child and child.identifier in FIRST_IN_CLUSTERS and child.end <= cluster.end:
                return cluster
            place += 1
        return None

    def _timestamp(self, cluster: _Element) -> Fraction:
        place = cluster.body
        while (child := self._element(place)) and child.identifier in FIRST_IN_CLUSTERS:
            if child.identifier == TIMESTAMP:
                return self._number(child) * self.unit
            place = child.end
        return self._now()

    def _number(self, element: _Element) -> int:
        return int.from_bytes(self._read(element.body, min(element.end - element.body, 8)))

    def _element(self, place: int) -> _Element | None:
        """The element that begins at a place; None where none can."""
        head = self._read(place, 12)
        length = 9 - head[0].bit_length() if head else 9
        size_length = 9 - head[length].bit_length() if length <= 4 and length < len(head) else 9
        body = length + size_length
        if size_length > 8 or len(head) < body:
            return None
        size = int.from_bytes(head[length:body]) & ((1 << 7 * size_length) - 1)
        is_unknown = size == (1 << 7 * size_length) - 1
        end = UNKNOWN if is_unknown else place + body + size
        return _Element(int.from_bytes(head[:length]), place, place + body, end)

    def _read(self, place: int, count: int) -> bytes:
        self.file.seek(place)
        return self.file.read(count)
