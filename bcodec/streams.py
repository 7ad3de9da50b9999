"""What auxiliary packets mean: the sound, the subtitles and the tags that lie beside the pictures.

Auxiliary stream 0 is the file itself, 1..255 are streams of sound or subtitles. Before the first frame of the
bitstream stands one header packet of each stream that the file has; a reader passes over packets of a stream
without one. All other packets are what the demuxer gave, unchanged. Little-endian.

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

The template is a file of one short packet, Matroska or else QuickTime: what FFmpeg must know of the stream
(codec, extradata, layout). Times count from where those of the source do: 0 is not always the first picture.

A packet with time t stands behind every packet of layer 0 whose picture is shown at or before t, as far as
the source gave it in time: who begins at the packet of an I frame has what sounds from there on.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from fractions import Fraction
from itertools import chain
from typing import Self

from bcodec.bitstream import AuxiliaryPacket, BitstreamError, Corrupt, Packet

HEADER, KEY, NO_PTS, NO_DTS = 1, 2, 4, 8  # flags
MOST_STREAMS = 255
MOST_WAITING = 1 << 26  # bytes that wait for their place: a source that is not interleaved may have more

_FILE = struct.Struct("<qI")
_STREAM = struct.Struct("<BIIIIBBH")
_TAG = struct.Struct("<BH")


class Kind(IntEnum):
    """What a stream carries."""

    AUDIO = 0
    SUBTITLE = 1


@dataclass(frozen=True)
class FileHeader:
    """Of the file: when the first picture is shown, in seconds, and tags such as title. ValueError if too large."""

    start: Fraction = Fraction(0)
    tags: dict[str, str] = field(default_factory=dict)

    def to_packet(self) -> AuxiliaryPacket:
        """Lay it out."""
        try:
            payload = _FILE.pack(*self.start.as_integer_ratio()) + _tags_to_bytes(self.tags)
        except struct.error:
            raise ValueError(f"the start {self.start} s cannot be written") from None
        return AuxiliaryPacket(0, HEADER, 0, 0, 0, payload)

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """Read it back; raises BitstreamError for what `to_packet` does not write."""
        head, tags = _split(payload, _FILE.size)
        numerator, denominator = _FILE.unpack(head)
        if not denominator:
            raise Corrupt("the denominator of the start is 0")
        return cls(Fraction(numerator, denominator), _tags_from_bytes(tags))


@dataclass(frozen=True)
class StreamHeader:
    """Of one stream of sound or subtitles: all that another container needs to carry its packets.

    `index` 1..255; `time_base` in seconds; `disposition` FFmpeg's bits; `sample_rate` in Hz, 0 for subtitles.
    """

    index: int
    kind: Kind
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
        tags, base = _tags_to_bytes(self.tags), self.time_base.as_integer_ratio()
        lengths = len(codec), len(layout), len(tags)
        head = _STREAM.pack(self.kind, *base, self.disposition, self.sample_rate, *lengths)
        payload = head + codec + layout + tags + self.template
        return AuxiliaryPacket(self.index, HEADER, 0, 0, 0, payload)

    @classmethod
    def parse(cls, index: int, payload: bytes) -> Self:
        """Read it back; raises BitstreamError for what `to_packet` does not write."""
        head, rest = _split(payload, _STREAM.size)
        kind, numerator, denominator, disposition, rate, *lengths = _STREAM.unpack(head)
        if kind not in list(Kind) or not numerator or not denominator:
            raise Corrupt(f"stream {index} is of kind {kind} with time base {numerator}/{denominator}")
        codec, rest = _split(rest, lengths[0])
        layout, rest = _split(rest, lengths[1])
        tags, template = _split(rest, lengths[2])
        base = Fraction(numerator, denominator)
        words = _text(codec), base, disposition, rate, _text(layout), _tags_from_bytes(tags)
        return cls(index, Kind(kind), *words, template)

    def seconds(self, packet: AuxiliaryPacket) -> Fraction | None:
        """When a packet of this stream is shown, or at least decoded; None if it does not say."""
        if not packet.flags & NO_PTS:
            return packet.pts * self.time_base
        return None if packet.flags & NO_DTS else packet.dts * self.time_base

    def cut(
        self, packet: AuxiliaryPacket, begin: Fraction | None, end: Fraction | None, back: Fraction
    ) -> AuxiliaryPacket | None:
        """The packet moved `back` in time if it belongs between begin and end (seconds, None: all), else None.

        Sound that begins earlier is left out; a subtitle that is still shown then is shown from `begin` on.
        """
        time = self.seconds(packet)
        if time is None:
            return packet
        if end is not None and time >= end:
            return None
        late = 0
        if begin is not None and time < begin:
            late = -int((time - begin) // self.time_base)  # in units of the time base, rounded up
            if self.kind is Kind.AUDIO or late >= packet.duration:
                return None
        move = late - round(back / self.time_base)
        pts = packet.pts if packet.flags & NO_PTS else packet.pts + move
        dts = packet.dts if packet.flags & NO_DTS else packet.dts + move
        return replace(packet, pts=pts, dts=dts, duration=packet.duration - late)


@dataclass
class Beside:
    """All that lies beside the pictures of one file: headers, and packets that wait for their place.

    `notices` has a line for each stream that is left out.
    """

    file: FileHeader = field(default_factory=FileHeader)
    streams: list[StreamHeader] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    _waiting: deque[AuxiliaryPacket] = field(default_factory=deque, repr=False)
    _bytes: int = 0

    @classmethod
    def of(cls, packets: Iterable[AuxiliaryPacket]) -> Self:
        """Read the headers; one that is damaged or unknown is told in `notices`, and its stream passed over."""
        result = cls()
        for packet in packets:
            if not packet.flags & HEADER:
                result.add(packet)
                continue
            try:
                if packet.stream:
                    result.streams.append(StreamHeader.parse(packet.stream, packet.payload))
                else:
                    result.file = FileHeader.parse(packet.payload)
            except BitstreamError as error:
                result.notices.append(f"auxiliary stream {packet.stream} is left out: {error}")
        return result

    def headers(self) -> list[AuxiliaryPacket]:
        """The packets that must stand before the first frame; none for a file with nothing to tell."""
        file = [self.file.to_packet()] if self.file != FileHeader() else []
        return file + [stream.to_packet() for stream in self.streams]

    def add(self, packet: AuxiliaryPacket) -> None:
        """Let a packet wait."""
        self._waiting.append(packet)
        self._bytes += len(packet.payload)

    def until(self, time: Fraction | None) -> Iterator[AuxiliaryPacket]:
        """Give away, in order, what waits and belongs before `time` (seconds; None: all)."""
        if self._bytes > MOST_WAITING:
            time = None
        of = {stream.index: stream for stream in self.streams}
        waiting, self._waiting, self._bytes = self._waiting, deque(), 0
        for packet in waiting:
            stream = of.get(packet.stream)
            when = stream.seconds(packet) if stream else None
            if time is None or when is None or when < time:
                yield packet
            else:
                self.add(packet)


def interleave(
    packets: Iterable[Packet], beside: Beside, frame_period: Fraction
) -> Iterator[Packet | AuxiliaryPacket]:
    """Give frame packets, which come as the source is read, with all that lies beside them in its place."""
    yield from beside.headers()
    for packet in packets:
        if packet.header.temporal_layer == 0:
            yield from list(beside.until(beside.file.start + packet.header.poc * frame_period))
        yield packet
    yield from list(beside.until(None))


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
        return taken, _raising(error)
    return taken, iter(())


def _raising(error: BitstreamError) -> Iterator[Packet]:
    raise error
    yield  # a generator: it raises when it is asked


def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise Corrupt("its header is too short")
    return data[:size], data[size:]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Corrupt("its header has words that are not UTF-8") from None


def _tags_to_bytes(tags: dict[str, str]) -> bytes:
    """Lay out the tags; those that are too long, or for which there is no room, are left out."""
    data = bytearray()
    for key, value in tags.items():
        k, v = key.encode(errors="replace"), value.encode(errors="replace")
        if len(k) < 1 << 8 and len(v) + len(k) + _TAG.size + len(data) < 1 << 16:
            data += _TAG.pack(len(k), len(v)) + k + v
    return bytes(data)


def _tags_from_bytes(data: bytes) -> dict[str, str]:
    tags = {}
    while data:
        head, data = _split(data, _TAG.size)
        of_key, of_value = _TAG.unpack(head)
        key, data = _split(data, of_key)
        value, data = _split(data, of_value)
        tags[_text(key)] = _text(value)
    return tags
