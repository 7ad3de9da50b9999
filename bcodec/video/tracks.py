"""Sound and subtitles of video files, by PyAV: taken out as auxiliary packets, and put in again."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from bcodec.bitstream import AuxiliaryPacket
from bcodec.bitstream.sidecar import KEY, MOST_STREAMS, NO_DTS, NO_PTS, StreamHeader, StreamKind
from bcodec.video.adts import AdtsFilter
from bcodec.video.subtitles import SubtitleConverter

SideStream: TypeAlias = AudioStream | SubtitleStream

TEMPLATES = ("matroska", "mov")  # between them they hold whatever mkv and mp4 can hold
BITEXACT = 0x400  # FFmpeg's AVFMT_FLAG_BITEXACT: no random numbers, no version, no date
MOST_TEMPLATE = 1 << 20  # bytes; fonts and cover pictures are not part of it
OF_THE_CONTAINER = (  # tags that a muxer writes anew
    "encoder",
    "major_brand",
    "minor_version",
    "compatible_brands",
    "handler_name",
    "vendor_id",
    "duration",
    "bps",
    "number_of_",
    "_statistics",
)


def kept_tags(metadata: dict[str, str]) -> dict[str, str]:
    """Those tags of a file or stream that are the author's, not the container's."""
    return {key: value for key, value in metadata.items() if not key.lower().startswith(OF_THE_CONTAINER)}


# ---------------------------------------------------------------- out of a file


def of_kinds(container: InputContainer, kinds: Collection[StreamKind]) -> list[SideStream]:
    """The streams of these kinds."""
    streams = (s for s in container.streams if isinstance(s, AudioStream | SubtitleStream))
    return [stream for stream in streams if _kind(stream) in kinds]


def _kind(stream: SideStream) -> StreamKind:
    return StreamKind.AUDIO if isinstance(stream, AudioStream) else StreamKind.SUBTITLE


def find_tracks(streams: Iterable[SideStream], heads: dict[int, bytes]) -> tuple[dict[int, Track], list[str]]:
    """What is known of the streams by their index in the container, and a line for each that cannot be kept.

    heads: the first packet of each stream in ADTS, by the index of the stream.
    """
    found: dict[int, Track] = {}
    lines = []
    for stream in streams:
        adts = _adts(stream, heads.get(stream.index))
        template = _template(stream, adts.config if adts else None)
        if template and len(found) < MOST_STREAMS:
            header = _describe(stream, _kind(stream), len(found) + 1, template)
            found[stream.index] = Track(header, adts)
        else:
            lines.append(f"{stream.type} stream {stream.index} is left out: its codec cannot be carried")
    return found, lines


def _adts(stream: SideStream, head: bytes | None) -> AdtsFilter | None:
    try:
        return AdtsFilter(stream, head) if head and isinstance(stream, AudioStream) else None
    except (av.FFmpegError, KeyError, ValueError):
        return None


def _template(stream: SideStream, extradata: bytes | None) -> bytes:
    """A file of one short packet with all that a muxer must know of the stream; empty where none can be."""
    if stream.codec_context is None:
        return b""
    return next((data for format in TEMPLATES if (data := _trial(stream, format, extradata))), b"")


def _trial(stream: SideStream, format: str, extradata: bytes | None = None) -> bytes:
    """Write one short packet of the stream into a file of its own; empty where the format cannot hold it."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=format) as container:
            container.flags |= BITEXACT
            packet = Packet(bytes(16))
            packet.stream = added = _add(container, stream)
            if extradata:
                added.codec_context.extradata = extradata
            packet.pts, packet.dts, packet.duration, packet.is_keyframe = 0, 0, 1, True
            packet.time_base = stream.time_base or Fraction(1, 1000)
            container.mux(packet)
    except (av.FFmpegError, ValueError, OSError):
        return b""
    return file.getvalue() if len(file.getvalue()) <= MOST_TEMPLATE else b""


def _describe(stream: SideStream, kind: StreamKind, index: int, template: bytes) -> StreamHeader:
    sound = stream.codec_context if isinstance(stream, AudioStream) else None
    return StreamHeader(
        index,
        kind,
        stream.codec_context.codec.canonical_name,
        stream.time_base or Fraction(1, 1000),
        int(stream.disposition) & 0xFFFFFFFF,
        sound.sample_rate if sound else 0,
        sound.layout.name if sound else "",
        kept_tags(stream.metadata),
        template,
    )


@dataclass(frozen=True)
class Track:
    """A stream that is kept: what is said of it, and what takes off ADTS headers, where there are some."""

    header: StreamHeader
    adts: AdtsFilter | None = None

    def take(self, packet: Packet[Stream]) -> AuxiliaryPacket | None:
        """What FFmpeg's demuxer gave, as it is but for ADTS; None where it is damaged."""
        payload = self.adts.bare(bytes(packet)) if self.adts else bytes(packet)
        flags = packet.is_keyframe * KEY | (packet.pts is None) * NO_PTS | (packet.dts is None) * NO_DTS
        times = packet.pts or 0, packet.dts or 0, max(packet.duration or 0, 0)
        if not payload or packet.is_corrupt:
            return None
        return AuxiliaryPacket(self.header.index, flags, *times, payload)


# ---------------------------------------------------------------- into a file


@dataclass(frozen=True)
class OutputTrack:
    """A stream of an output: where packets go, what is said of it, and what converts its text, if any."""

    stream: Stream
    header: StreamHeader
    converter: SubtitleConverter | None = None

    def packet(self, packet: AuxiliaryPacket) -> Packet[Stream] | None:
        """The packet for FFmpeg's muxer; None where nothing is left of it."""
        payload = self.converter.convert(packet.payload) if self.converter else packet.payload
        if payload is None:
            return None
        result = Packet(payload)
        result.stream, result.time_base = self.stream, self.header.time_base
        result.pts = None if packet.flags & NO_PTS else packet.pts
        result.dts = None if packet.flags & NO_DTS else packet.dts
        result.duration = packet.duration
        result.is_keyframe = bool(packet.flags & KEY)
        return result


def add_tracks(
    container: OutputContainer, streams: Iterable[StreamHeader]
) -> tuple[dict[int, OutputTrack], list[str]]:
    """Give a container the streams that it can hold, by their index, and a line for each that it cannot."""
    added: dict[int, OutputTrack] = {}
    lines = []
    for header in streams:
        track = next(_ways_into(container, header), None)
        cannot = f"{container.format.name} cannot hold the {header}: it is"
        if track is None:
            lines.append(f"{cannot} left out")
            continue
        if track.converter:
            lines.append(f"{cannot} converted to {track.converter.codec}")
        track.stream.time_base = header.time_base
        track.stream.metadata.update(header.tags)
        track.stream.disposition = Disposition(header.disposition)
        added[header.index] = track
    return added, lines


def _ways_into(container: OutputContainer, header: StreamHeader) -> Iterator[OutputTrack]:
    """As it is or else, if it is text, converted; nothing where neither can be."""
    for template in _opened(header):
        if _trial(template, container.format.name):
            yield OutputTrack(_add(container, template), header)
    for template in _opened(header):
        if isinstance(template, SubtitleStream):
            with suppress(av.FFmpegError, ValueError):
                converter = SubtitleConverter(container, template)
                yield OutputTrack(converter.stream, header, converter)


def _opened(track: StreamHeader) -> Iterator[SideStream]:
    """The stream of a template, if it is one."""
    for format in TEMPLATES if len(track.template) <= MOST_TEMPLATE else ():
        try:
            with av.open(io.BytesIO(track.template), format=format, metadata_errors="ignore") as container:
                for stream in container.streams:
                    if isinstance(stream, AudioStream | SubtitleStream) and stream.codec_context is not None:
                        yield stream
        except (av.FFmpegError, OSError, ValueError):
            continue


def _add(container: OutputContainer, template: SideStream) -> SideStream:
    return container.add_stream_from_template(template)
