"""Text subtitles brought from one codec to another, by FFmpeg's decoders and encoders."""

from __future__ import annotations

import av
from av.codec.context import CodecContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

TEXT = ("subrip", "text", "mov_text", "webvtt", "ass")
TEXT_OF = {"matroska": "subrip", "mp4": "mov_text"}  # what a container holds
LONGEST = 10_000  # ms; FFmpeg's encoders of text do not write how long it is shown
DEFAULTS = (rb"{\fs16}", rb"{\1c&HFFFFFF&}", rb"{\1a&H00&}")  # mov_text states these with every style


class SubtitleConverter:
    """A new stream of a container, for text whose own codec the container cannot hold.

    Raises ValueError where there is no way from the codec of `template` into the container.
    """

    def __init__(self, container: OutputContainer, template: SubtitleStream) -> None:
        source, target = template.codec_context.codec.canonical_name, TEXT_OF.get(container.format.name)
        if source not in TEXT or target is None:
            raise ValueError(f"no way from {source} into {container.format.name}")
        self.codec = target
        self._decoder = _context(source)
        self._decoder.extradata = template.codec_context.extradata
        self._decoder.open()
        stream = container.add_stream(target)
        assert isinstance(stream, SubtitleStream)
        self.stream, self._encoder = stream, stream.codec_context
        self._encoder.subtitle_header = self._decoder.subtitle_header

    def convert(self, payload: bytes) -> bytes | None:
        """The same words for the container; None where there are none, or they cannot be read."""
        try:
            found = self._decoder.decode2(_shown(payload))
            texts = [rect.ass for rect in found or () if isinstance(rect, AssSubtitle)]
            if not any(texts):
                return None
            text = b"\\N".join([texts[0], *(t.split(b",", 8)[-1] for t in texts[1:])])
            for default in DEFAULTS:
                text = text.replace(default, b"")
            return bytes(self._encoder.encode_subtitle(SubtitleSet.create(text, 0, LONGEST))) or None
        except av.FFmpegError:
            return None


def _context(codec: str) -> SubtitleCodecContext:
    context = CodecContext.create(codec, "r")
    assert isinstance(context, SubtitleCodecContext)
    return context


def _shown(payload: bytes) -> Packet[Stream]:
    packet = Packet(payload)
    packet.pts = packet.dts = 0
    packet.duration = LONGEST
    return packet
