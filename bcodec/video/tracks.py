"""Sound and subtitles of video files, by PyAV: taken out as auxiliary packets, and put in again unchanged."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
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


def find_tracks(
    container: InputContainer, kinds: Collection[StreamKind]
) -> tuple[dict[int, StreamHeader], list[str]]:
    """The streams of these kinds by their index in the container, and a line for each that cannot be kept."""
    found: dict[int, StreamHeader] = {}
    lines = []
    for stream in container.streams:
        if not isinstance(stream, AudioStream | SubtitleStream):
            continue
        kind = StreamKind.AUDIO if isinstance(stream, AudioStream) else StreamKind.SUBTITLE
        if kind not in kinds:
            continue
        template = _template(stream)
        if template and len(found) < MOST_STREAMS:
            found[stream.index] = _describe(stream, kind, len(found) + 1, template)
        else:
            lines.append(f"{stream.type} stream {stream.index} is left out: its codec cannot be carried")
    return found, lines


def _template(stream: SideStream) -> bytes:
    """A file of one short packet with all that a muxer must know of the stream; empty where none can be."""
    if stream.codec_context is None:
        return b""
    return next((data for format in TEMPLATES if (data := _trial(stream, format))), b"")


def _trial(stream: SideStream, format: str) -> bytes:
    """Write one short packet of the stream into a file of its own; empty where the format cannot hold it."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=format) as container:
            container.flags |= BITEXACT
            packet = Packet(bytes(16))
            packet.stream = _add(container, stream)
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


def from_container(packet: Packet[Stream], track: StreamHeader) -> AuxiliaryPacket:
    """What FFmpeg's demuxer gave, as it is."""
    flags = packet.is_keyframe * KEY | (packet.pts is None) * NO_PTS | (packet.dts is None) * NO_DTS
    times = packet.pts or 0, packet.dts or 0, max(packet.duration or 0, 0)
    return AuxiliaryPacket(track.index, flags, *times, bytes(packet))


# ---------------------------------------------------------------- into a file


def add_tracks(
    container: OutputContainer, streams: Iterable[StreamHeader]
) -> tuple[dict[int, tuple[Stream, StreamHeader]], list[str]]:
    """Give a container the streams that it can hold, by their index, and a line for each that it cannot."""
    added: dict[int, tuple[Stream, StreamHeader]] = {}
    lines = []
    for track in streams:
        for template in _opened(track):
            if track.index not in added and _trial(template, container.format.name):
                stream = _add(container, template)
                stream.time_base = track.time_base
                stream.metadata.update(track.tags)
                stream.disposition = Disposition(track.disposition)
                added[track.index] = stream, track
        if track.index not in added:
            lines.append(f"{container.format.name} cannot hold the {track}: it is left out")
    return added, lines


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


def to_container(packet: AuxiliaryPacket, stream: Stream, track: StreamHeader) -> Packet[Stream]:
    """The packet for FFmpeg's muxer."""
    result = Packet(packet.payload)
    result.stream, result.time_base = stream, track.time_base
    result.pts = None if packet.flags & NO_PTS else packet.pts
    result.dts = None if packet.flags & NO_DTS else packet.dts
    result.duration = packet.duration
    result.is_keyframe = bool(packet.flags & KEY)
    return result
