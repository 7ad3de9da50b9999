"""Writes a .bcv file, packet by packet."""

from types import TracebackType
from typing import BinaryIO, Self

from bcodec.bitstream.layout import (
    PacketKind,
    auxiliary_to_bytes,
    footer_to_bytes,
    frame_to_bytes,
    header_to_bytes,
    index_to_bytes,
    packet_to_bytes,
)
from bcodec.bitstream.records import AuxiliaryPacket, Index, Packet, SequenceHeader
from bcodec.errors import BitstreamError


class BitstreamWriter:
    """Writes a .bcv file into `file`, from its first byte on; the file stays the caller's to close.

    As a context manager it closes on success only: after an exception the file has no trailer, and so is
    known to be cut short. `position`: the bytes written so far.
    """

    def __init__(self, file: BinaryIO, header: SequenceHeader) -> None:
        self._file = file
        self._index = Index()
        self._closed = False
        self.position = file.write(header_to_bytes(header))

    def write(self, packet: Packet | AuxiliaryPacket) -> int:
        """Append a packet and return its size in bytes, framing included.

        Raises BitstreamError if the writer is closed, and if I frames do not come in ascending poc.
        """
        if self._closed:
            raise BitstreamError("the bitstream is closed")
        if isinstance(packet, Packet):
            self._index.add(packet.header, self.position)
            return self._append(packet_to_bytes(PacketKind.FRAME, frame_to_bytes(packet)))
        return self._append(packet_to_bytes(PacketKind.AUXILIARY, auxiliary_to_bytes(packet)))

    def close(self) -> None:
        """Write the trailer; a second call does nothing."""
        if not self._closed:
            self._closed = True
            trailer = packet_to_bytes(PacketKind.TRAILER, index_to_bytes(self._index))
            self._append(trailer + footer_to_bytes(len(trailer)))
            self._file.flush()

    def _append(self, data: bytes) -> int:
        self._file.write(data)
        self.position += len(data)
        return len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
