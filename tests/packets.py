"""Bitstreams in memory: written, opened, and made without the package's help."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from zlib import crc32

from bcodec.bitstream import (
    AuxiliaryPacket,
    BitstreamReader,
    BitstreamWriter,
    Packet,
    SequenceHeader,
    VideoFormat,
)

AnyPacket = Packet | AuxiliaryPacket

VIDEO = VideoFormat(
    353,
    289,
    Fraction(30000, 1001),
    Fraction(1, 90000),
    Fraction(12, 11),
    1,
    1,
    13,
    6,
    chroma_location=1,
    rotation=270,
)
HEADER = SequenceHeader(
    VIDEO, gop_size=32, arithmetic_version=7, model_id=b"\x01\x23\x45\x67\x89\xab\xcd\xef"
)
HEADER_SIZE = 58


def written(packets: Sequence[AnyPacket], header: SequenceHeader = HEADER) -> bytes:
    """A file of these packets."""
    file = io.BytesIO()
    with BitstreamWriter(file, header) as writer:
        for packet in packets:
            writer.write(packet)
    return file.getvalue()


def open_bytes(data: bytes) -> BitstreamReader:
    """A reader of a file."""
    return BitstreamReader(io.BytesIO(data))


def raw_packet(kind: int, body: bytes, length: bytes | None = None) -> bytes:
    """A packet as the format has it, made here without the module's help."""
    data = bytes([(0xBC + kind) % 256]) + (bytes([len(body)]) if length is None else length) + body
    return data + struct.pack("<H", crc32(data) & 0xFFFF)
