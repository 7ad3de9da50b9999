"""AAC without its ADTS headers, as MPEG-TS has them: other containers say once what these say each time."""

from __future__ import annotations

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

ADTS_TO_ASC = "aac_adtstoasc"  # FFmpeg's name of the filter: to an AudioSpecificConfig, of ISO/IEC 14496-3


def is_adts(stream: AudioStream) -> bool:
    """Whether a stream is AAC that says in its packets what it is."""
    context = stream.codec_context
    return context is not None and context.codec.canonical_name == "aac" and not context.extradata


class AdtsFilter:
    """Takes the ADTS headers off the packets of a stream.

    `config` is what they say, an AudioSpecificConfig, found in a first packet. Raises av.FFmpegError or
    KeyError where that packet is not ADTS.
    """

    def __init__(self, stream: AudioStream, first: bytes) -> None:
        (bare,) = BitStreamFilterContext(ADTS_TO_ASC, stream).filter(Packet(first))
        self.config = bytes(bare.get_sidedata("new_extradata"))
        self._filter = BitStreamFilterContext(ADTS_TO_ASC, stream)

    def bare(self, payload: bytes) -> bytes | None:
        """The payload without its header; None where it is damaged."""
        try:
            return b"".join(map(bytes, self._filter.filter(Packet(payload)))) or None
        except av.FFmpegError:
            return None
