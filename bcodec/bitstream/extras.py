"""What belongs to a file as a whole: chapters, attachments such as fonts and covers, words on its pictures.

Each is a packet of auxiliary stream 0 that is no header; the module `sidecar` has the diagrams.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import Self

from bcodec.bitstream.light import Light
from bcodec.bitstream.records import MAX_PAYLOAD, AuxiliaryPacket
from bcodec.bitstream.tags import split, tags_from_bytes, tags_to_bytes
from bcodec.errors import Corrupt

COVER = 1 << 10  # FFmpeg's disposition of an attached picture
NANOSECONDS = 10**9  # in a second
LATEST_CHAPTER = 1 << 60  # nanoseconds; 36 years
MOST_TAGS = 1 << 16  # bytes

_ATTACHMENT = struct.Struct("<IH")
_PICTURES = struct.Struct("<I")


class ExtraKind(IntEnum):
    """What a packet of the file is."""

    CHAPTER = 0
    ATTACHMENT = 1
    PICTURES = 2
    LIGHT = 3


@dataclass(frozen=True)
class Chapter:
    """A part of the time, in seconds from `begin` to before `end`; its title is a tag."""

    begin: Fraction
    end: Fraction
    tags: dict[str, str] = field(default_factory=dict)

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out, in nanoseconds."""
        begin, end = round(self.begin * NANOSECONDS), round(self.end * NANOSECONDS)
        payload = bytes([ExtraKind.CHAPTER]) + tags_to_bytes(self.tags)
        return AuxiliaryPacket(0, 0, begin, begin, max(end - begin, 0), payload)

    @classmethod
    def parse(cls, packet: AuxiliaryPacket) -> Self:
        """Read it back; raises Corrupt for what `to_packet` does not write."""
        begin, end = packet.pts, packet.pts + packet.duration
        if begin < 0 or end > LATEST_CHAPTER:
            raise Corrupt(f"a chapter begins at {begin} ns")
        tags = tags_from_bytes(packet.payload[1:])
        return cls(Fraction(begin, NANOSECONDS), Fraction(end, NANOSECONDS), tags)

    def within(self, begin: Fraction | None, end: Fraction | None, back: Fraction) -> Self | None:
        """The part of it from `begin` to before `end` (None: no bound), moved `back`; None if nothing is."""
        first = max(self.begin, begin or self.begin, back)
        last = self.end if end is None else min(self.end, end)
        outside = (begin is not None or end is not None) and first >= last
        return None if outside or first > last else type(self)(first - back, last - back, self.tags)


@dataclass(frozen=True)
class Attachment:
    """A file within the file; `disposition` FFmpeg's bits, of which COVER is one; tags filename, mimetype."""

    data: bytes = field(repr=False)
    disposition: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = "cover picture" if self.is_cover else "attachment"
        return f"{kind} {self.name}".strip()

    @property
    def is_cover(self) -> bool:
        """Whether it is a picture that stands for the film."""
        return bool(self.disposition & COVER)

    @property
    def name(self) -> str:
        """The file's name, "" where unknown."""
        return self.tags.get("filename", "")

    @property
    def fits(self) -> bool:
        """Whether a packet can hold it: it has some bytes, and is shorter than 64 MiB less its tags."""
        return 0 < len(self.data) <= MAX_PAYLOAD - MOST_TAGS - 1 - _ATTACHMENT.size

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out."""
        tags = tags_to_bytes(self.tags)
        head = bytes([ExtraKind.ATTACHMENT]) + _ATTACHMENT.pack(self.disposition, len(tags))
        return AuxiliaryPacket(0, 0, 0, 0, 0, head + tags + self.data)

    @classmethod
    def parse(cls, packet: AuxiliaryPacket) -> Self:
        """Read it back; raises Corrupt for what `to_packet` does not write."""
        head, rest = split(packet.payload[1:], _ATTACHMENT.size)
        disposition, length = _ATTACHMENT.unpack(head)
        tags, data = split(rest, length)
        if not data:
            raise Corrupt("an attachment is empty")
        return cls(data, disposition, tags_from_bytes(tags))


@dataclass(frozen=True)
class PictureWords:
    """What the source said of the stream of its pictures: FFmpeg's disposition; tags language, title, ..."""

    disposition: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out."""
        payload = bytes([ExtraKind.PICTURES]) + _PICTURES.pack(self.disposition) + tags_to_bytes(self.tags)
        return AuxiliaryPacket(0, 0, 0, 0, 0, payload)

    @classmethod
    def parse(cls, packet: AuxiliaryPacket) -> Self:
        """Read it back; raises Corrupt for what `to_packet` does not write."""
        head, tags = split(packet.payload[1:], _PICTURES.size)
        return cls(_PICTURES.unpack(head)[0], tags_from_bytes(tags))


@dataclass
class Extras:
    """All that belongs to one file as a whole."""

    chapters: list[Chapter] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    pictures: PictureWords = field(default_factory=PictureWords)
    light: Light = field(default_factory=Light)

    def __str__(self) -> str:
        chapters = f"{len(self.chapters)} chapter{'s' * (len(self.chapters) > 1)}" if self.chapters else ""
        return ", ".join(filter(None, (chapters, *map(str, self.attachments))))

    def read(self, packet: AuxiliaryPacket) -> None:
        """Take what a packet of the file holds; raises Corrupt. Kinds of later versions are passed over."""
        kind = packet.payload[:1]
        if kind == bytes([ExtraKind.CHAPTER]):
            self.chapters.append(Chapter.parse(packet))
        elif kind == bytes([ExtraKind.ATTACHMENT]):
            self.attachments.append(Attachment.parse(packet))
        elif kind == bytes([ExtraKind.PICTURES]):
            self.pictures = PictureWords.parse(packet)
        elif kind == bytes([ExtraKind.LIGHT]):
            self.light = Light.from_bytes(packet.payload[1:])

    def to_packets(self) -> Iterable[AuxiliaryPacket]:
        """All of it, as it stands before the first frame."""
        yield from [self.pictures.to_packet()] if self.pictures != PictureWords() else []
        if self.light != Light():
            payload = bytes([ExtraKind.LIGHT]) + self.light.to_bytes()
            yield AuxiliaryPacket(0, 0, 0, 0, 0, payload)
        yield from (chapter.to_packet() for chapter in self.chapters)
        yield from (attachment.to_packet() for attachment in self.attachments)
