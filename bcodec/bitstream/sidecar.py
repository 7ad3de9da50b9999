"""Side data, which auxiliary packets carry: sound, subtitles, tags, chapters and attachments of a video.

Auxiliary stream 0 is the file itself, 1..255 are streams of sound or subtitles. Before the first frame of the
bitstream stands one header packet of each stream that the file has; a reader passes over packets of a stream
without one. The other packets of streams 1..255 are what the demuxer gave, unchanged, but for AAC: its ADTS
headers are taken off. Those of stream 0 stand before the first frame, too. Little-endian.

    flags of an auxiliary packet    bit 0  header        bit 1  key packet
                                    bit 2  without pts   bit 3  without dts   (the field is then 0)

    payload of a header, stream 0               payload of a header, streams 1..255
       0   8  when the first picture is            0   1  kind (0 audio, 1 subtitle)
              shown: numerator, signed             1   4  time base: numerator, 5   4  denominator
       8   4  denominator; in seconds              9   4  disposition (FFmpeg's bits)
      12   m  tags                                13   4  sample rate in Hz (0 for subtitles)
                                                  17   1  length c of the codec's name
    tag, UTF-8                                    18   1  length l of the channel layout's name
       0   1  length k of the key                 19   2  length t of the tags
       1   2  length v of the value               21   c  codec, l  layout, t  tags (language, title, ...)
       3   k  key, v  value                            m  template

    payload of a packet of stream 0 that is no header: a reader passes over kinds that it does not know
       0   1  kind: 0 chapter, 1 attachment, 2 the stream of the pictures, 3 light

    chapter: pts is its begin, its duration     attachment: a font, or a cover picture
             in nanoseconds                        1   4  disposition (FFmpeg's bits; 1024 is a cover)
       1   m  tags (title, ...)                    5   2  length t of the tags
                                                   7   t  tags (filename, mimetype, ...)
    the stream of the pictures                         m  the attached file
       1   4  disposition (FFmpeg's bits)
       5   m  tags (language, title, ...)

    light, as HDR10 describes it (0: not known)
       1  16  x and y of the mastering display's red, green, blue and white, 2 bytes each, in 1/50000
      17   4  its highest luminance,  21   4  its lowest, in 1/10000 cd/m2
      25   2  light of the brightest sample,  27   2  of the brightest picture, in cd/m2

The template is a file of one short packet, Matroska or else QuickTime: what FFmpeg must know of the stream
(codec, extradata, layout). Times count from where those of the source do: 0 is not always the first picture.

A packet with time t stands behind every packet of layer 0 whose picture is shown at or before t, as far as
the source gave it in time: who begins at the packet of an I frame has what sounds from there on.
"""

import struct
from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fractions import Fraction
from itertools import chain
from typing import BinaryIO, Self

from bcodec.bitstream.extras import Chapter, Extras
from bcodec.bitstream.records import MAX_FRAMES, AuxiliaryPacket, Packet, SequenceHeader
from bcodec.bitstream.tags import split, tags_from_bytes, tags_to_bytes, text
from bcodec.bitstream.writer import BitstreamWriter
from bcodec.errors import BitstreamError, Corrupt

HEADER, KEY, NO_PTS, NO_DTS = 1, 2, 4, 8  # flags
MOST_STREAMS = 255
MOST_WAITING = 1 << 26  # bytes that wait for their place: a source that is not interleaved may have more

_FILE = struct.Struct("<qI")
_STREAM = struct.Struct("<BIIIIBBH")


class StreamKind(IntEnum):
    """What a stream carries."""

    AUDIO = 0
    SUBTITLE = 1


@dataclass(frozen=True)
class FileHeader:
    """Of the file: when the first picture is shown, in seconds, and tags such as title."""

    start: Fraction = Fraction(0)
    tags: dict[str, str] = field(default_factory=dict)

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out; ValueError for a start beyond all bounds."""
        try:
            payload = _FILE.pack(*self.start.as_integer_ratio()) + tags_to_bytes(self.tags)
        except struct.error:
            raise ValueError(f"the start {self.start} s cannot be written") from None
        return AuxiliaryPacket(0, HEADER, 0, 0, 0, payload)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read it back; raises BitstreamError for what `to_packet` does not write."""
        head, tags = split(payload, _FILE.size)
        numerator, denominator = _FILE.unpack(head)
        if not denominator:
            raise Corrupt("the denominator of the start is 0")
        return cls(Fraction(numerator, denominator), tags_from_bytes(tags))


@dataclass(frozen=True)
class StreamHeader:
    """Of one stream of sound or subtitles: all that another container needs to carry its packets.

    `index` 1..255; `time_base` in seconds; `disposition` FFmpeg's bits; `sample_rate` in Hz, 0 for subtitles.
    """

    index: int
    kind: StreamKind
    codec: str
    time_base: Fraction
    disposition: int = 0
    sample_rate: int = 0
    layout: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    template: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        rate = f"{self.sample_rate} Hz" if self.sample_rate else ""
        return " ".join(filter(None, (self.kind.name.lower(), self.codec, rate, self.layout, self.language)))

    @property
    def language(self) -> str:
        """ISO 639-2, "" where unknown."""
        return self.tags.get("language", "").replace("und", "")

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out."""
        codec, layout = self.codec.encode()[:255], self.layout.encode()[:255]
        tags, base = tags_to_bytes(self.tags), self.time_base.as_integer_ratio()
        lengths = len(codec), len(layout), len(tags)
        head = _STREAM.pack(self.kind, *base, self.disposition, self.sample_rate, *lengths)
        payload = head + codec + layout + tags + self.template
        return AuxiliaryPacket(self.index, HEADER, 0, 0, 0, payload)

    @classmethod
    def parse(cls, index: int, payload: bytes) -> Self:
        """Read it back; raises BitstreamError for what `to_packet` does not write."""
        head, rest = split(payload, _STREAM.size)
        kind, numerator, denominator, disposition, rate, *lengths = _STREAM.unpack(head)
        if kind not in list(StreamKind) or not numerator or not denominator:
            raise Corrupt(f"stream {index} is of kind {kind} with time base {numerator}/{denominator}")
        codec, rest = split(rest, lengths[0])
        layout, rest = split(rest, lengths[1])
        tags, template = split(rest, lengths[2])
        base = Fraction(numerator, denominator)
        words = text(codec), base, disposition, rate, text(layout), tags_from_bytes(tags)
        return cls(index, StreamKind(kind), *words, template)

    def seconds(self, packet: AuxiliaryPacket) -> Fraction | None:
        """When a packet of this stream is shown, or at least decoded; None if it does not say."""
        if not packet.flags & NO_PTS:
            return packet.pts * self.time_base
        return None if packet.flags & NO_DTS else packet.dts * self.time_base


@dataclass(frozen=True)
class TimeRange:
    """What time is wanted: `begin` to before `end` (None: no bound), then moved `back`; all in seconds."""

    begin: Fraction | None = None
    end: Fraction | None = None
    back: Fraction = Fraction(0)

    def cut(self, packet: AuxiliaryPacket, stream: StreamHeader) -> AuxiliaryPacket | None:
        """The packet as it is in this range, None outside.

        Sound that begins before the range is left out; of a subtitle that is still shown the rest stays.
        """
        time = stream.seconds(packet)
        if time is None:
            return packet
        if self.end is not None and time >= self.end:
            return None
        late = 0
        if self.begin is not None and time < self.begin:
            late = -int((time - self.begin) // stream.time_base)  # in units of the time base, rounded up
            if stream.kind is StreamKind.AUDIO or late >= packet.duration:
                return None
        move = late - round(self.back / stream.time_base)
        pts = packet.pts if packet.flags & NO_PTS else packet.pts + move
        dts = packet.dts if packet.flags & NO_DTS else packet.dts + move
        return replace(packet, pts=pts, dts=dts, duration=packet.duration - late)


@dataclass
class SideData:
    """All side data of one file: headers, and packets that wait for their place.

    The time range may become known late, its end after some packets were taken. `notices` has a line for each
    stream that is left out. expected: what the range will be about, for chapters, which come before pictures.
    """

    file: FileHeader = field(default_factory=FileHeader)
    streams: dict[int, StreamHeader] = field(default_factory=dict)  # by their index
    extras: Extras = field(default_factory=Extras)
    time_range: TimeRange = field(default_factory=TimeRange)
    expected: TimeRange = field(default_factory=TimeRange)
    notices: list[str] = field(default_factory=list)
    _waiting: deque[tuple[AuxiliaryPacket, int]] = field(default_factory=deque, repr=False)
    _waiting_bytes: int = 0

    @classmethod
    def of(
        cls, packets: Iterable[AuxiliaryPacket], kinds: Container[StreamKind] = frozenset(StreamKind)
    ) -> Self:
        """Read the headers; one that is damaged is told in `notices`, and its stream passed over."""
        result = cls()
        for packet in packets:
            try:
                if packet.flags & HEADER and packet.stream:
                    stream = StreamHeader.parse(packet.stream, packet.payload)
                    if stream.kind in kinds:
                        result.streams[stream.index] = stream
                elif packet.flags & HEADER:
                    result.file = FileHeader.parse(packet.payload)
                elif not packet.stream:
                    result.extras.read(packet)
            except BitstreamError as error:
                result.notices.append(f"auxiliary stream {packet.stream} is left out: {error}")
        return result

    def headers(self) -> list[AuxiliaryPacket]:
        """The packets that must stand before the first frame; none for a file with nothing to tell."""
        file = [self.file.to_packet()] if self.file != FileHeader() else []
        extras = replace(self.extras, chapters=self.chapters()).to_packets()
        return [*file, *extras, *(stream.to_packet() for stream in self.streams.values())]

    def chapters(self) -> list[Chapter]:
        """The chapters as they are in the time that is wanted, as far as it is known beforehand."""
        wanted = self.expected
        cut = (each.within(wanted.begin, wanted.end, wanted.back) for each in self.extras.chapters)
        return [chapter for chapter in cut if chapter]

    def add(self, packet: AuxiliaryPacket, before: int = 0) -> None:
        """Let a packet wait, if it is of a stream and time that are wanted; it came before that picture."""
        if packet.stream in self.streams and not packet.flags & HEADER and self._cut(packet):
            self._wait(packet, before)

    def begin_at(self, time: Fraction, back: Fraction) -> None:
        """Let the time range begin at `time` and be moved `back`, and forget what waits and is not in it."""
        self.time_range = replace(self.time_range, begin=time, back=back)
        for packet, before in self._taken():
            if self._cut(packet):
                self._wait(packet, before)

    def end_at(self, time: Fraction) -> None:
        """Let the time range end at `time`."""
        self.time_range = replace(self.time_range, end=time)

    def until(self, time: Fraction | None, picture: int = MAX_FRAMES) -> list[AuxiliaryPacket]:
        """Give away, in order, what waits and belongs before `time` (seconds, once moved; None: all).

        What came behind `picture` waits on: how far ahead the source has been read then makes no difference.
        """
        everything = time is None or self._waiting_bytes > MOST_WAITING
        due = []
        for packet, before in self._taken():
            moved = self._cut(packet)
            when = self.streams[packet.stream].seconds(moved) if moved else None
            if not everything and (
                before > picture or (when is not None and time is not None and when >= time)
            ):
                self._wait(packet, before)
            elif moved:
                due.append(moved)
        return due

    def _cut(self, packet: AuxiliaryPacket) -> AuxiliaryPacket | None:
        return self.time_range.cut(packet, self.streams[packet.stream])

    def _wait(self, packet: AuxiliaryPacket, before: int) -> None:
        self._waiting.append((packet, before))
        self._waiting_bytes += len(packet.payload)

    def _taken(self) -> deque[tuple[AuxiliaryPacket, int]]:
        """Take all that waits."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, deque(), 0
        return waiting


class InterleavedWriter(BitstreamWriter):
    """A BitstreamWriter that takes frame packets, and writes the side data in its place."""

    def __init__(self, file: BinaryIO, header: SequenceHeader, side_data: SideData) -> None:
        super().__init__(file, header)
        self._side_data, self._video = side_data, header.video
        self._add(side_data.headers())

    def write(self, packet: Packet | AuxiliaryPacket) -> int:
        """Append a packet, and before it what belongs there; return the size of this packet alone."""
        if isinstance(packet, Packet) and packet.header.temporal_layer == 0:
            shown = self._side_data.file.start + self._video.time(packet.header.poc, packet.delay)
            self._add(self._side_data.until(shown, packet.header.poc))
        size = super().write(packet)
        self._file.flush()  # who reads a pipe has it at once
        return size

    def close(self) -> None:
        """Write what is left, and the trailer; a second call does nothing."""
        self._add(self._side_data.until(None))
        super().close()

    def _add(self, packets: list[AuxiliaryPacket]) -> None:
        for packet in packets:
            super().write(packet)


def leading(
    packets: Iterator[Packet | AuxiliaryPacket],
) -> tuple[list[AuxiliaryPacket], Iterator[Packet | AuxiliaryPacket]]:
    """Take the auxiliary packets before the first frame; give them, and what then follows.

    Damage is raised, as BitstreamError, by what follows.
    """
    taken: list[AuxiliaryPacket] = []
    try:
        for packet in packets:
            if isinstance(packet, Packet):
                return taken, chain([packet], packets)
            taken.append(packet)
    except BitstreamError as error:
        return taken, chain(_raising(error), packets)
    return taken, iter(())


def _raising(error: BitstreamError) -> Iterator[Packet]:
    raise error
    yield  # a generator: it raises when it is asked
