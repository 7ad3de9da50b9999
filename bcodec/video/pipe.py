"""Video through a pipe: its beginning tells whether it can be read as it comes, or must be copied first."""

from __future__ import annotations

import io
import tempfile
from typing import IO, BinaryIO

from bcodec.errors import VideoError
from bcodec.video.base import Halted
from bcodec.video.wholeness import EBML, ISO_BOXES, promised_bytes
from bcodec.video.y4m import Y4M_LINE, Y4M_MAGIC, is_plain_y4m

IN_ORDER = (  # how a file begins in which all comes in the order in which it is needed
    EBML,
    Y4M_MAGIC,
    b"nut/multimedia container",
    b"FLV\1",
    bytes.fromhex("000001ba"),  # MPEG program stream
    bytes.fromhex("000001b3"),  # MPEG-2 video
    bytes.fromhex("00000001"),  # H.264, H.265
)
SYNC, TS_PACKETS = 0x47, ((0, 188), (4, 196))  # how packets of a transport stream begin, and where
EBML_HEAD = 512  # bytes in which Matroska has said how long it is
LONGEST_INDEX = 1 << 26  # bytes of mp4 that are looked at
CHUNK = 1 << 20  # bytes


class Pipe(io.RawIOBase):
    """A stream that can be read once; its beginning is looked at before.

    is_plain_y4m: whether it is y4m of 4:2:0 that needs no FFmpeg. in_order: whether FFmpeg can read
    it as it comes.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._head, self._taken = stream, b"", 0
        self._halted: Halted | None = None
        self.is_plain_y4m = self._begins(Y4M_MAGIC) and is_plain_y4m(io.BytesIO(self._look(Y4M_LINE)))
        self.in_order = any(map(self._begins, IN_ORDER)) or self._is_broadcast() or self._is_indexed_first()
        self._look(EBML_HEAD)
        self._promised = promised_bytes(io.BytesIO(self._head))

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read what is there, at least a byte; 0 at the end. Raises Halted for a signal."""
        if self._halted:  # and FFmpeg asks again: PyAV keeps one exception
            return 0
        try:
            data = self._head[: len(buffer)] or self._more(len(buffer))
        except Exception:
            raise
        except BaseException as signal:
            self._halted = Halted(signal)
            raise self._halted from signal
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        self._taken += len(data)
        return len(data)

    def close(self) -> None:
        """Let the stream go."""
        super().close()
        self._stream.close()

    def missing(self) -> int:
        """Read it to its end; by how many bytes it is shorter than it says."""
        while self.read(CHUNK):
            pass
        if self._halted:
            raise self._halted
        return max(self._promised - self._taken, 0)

    def copy(self) -> IO[bytes]:
        """Read it to its end, into a temporary file that is there until it is closed.

        Raises VideoError if there is no room for it.
        """
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115 (whoever wants it closes it)
        try:
            while data := self.read(CHUNK):
                try:
                    file.write(data)
                    file.flush()
                except OSError as error:
                    place = f"{tempfile.gettempdir()}, which must hold a copy of the input"
                    raise VideoError(f"{place}: {error.strerror}") from error
        except BaseException:
            file.close()
            raise
        return file

    def _more(self, count: int) -> bytes:
        stream = self._stream
        return stream.read1(count) if isinstance(stream, io.BufferedIOBase) else stream.read(count)

    def _look(self, count: int) -> bytes:
        """The first bytes, which stay; fewer of a stream that is shorter."""
        while len(self._head) < count and (more := self._more(count - len(self._head))):
            self._head += more
        return self._head[:count]

    def _begins(self, magic: bytes) -> bool:
        return self._look(len(magic)) == magic

    def _is_broadcast(self) -> bool:
        places = [self._look(last + 1)[first :: last - first] for first, last in TS_PACKETS]
        return bytes([SYNC, SYNC]) in places

    def _is_indexed_first(self) -> bool:
        """Whether it is mp4 whose index comes before what it indexes."""
        end = 0
        while (head := self._look(end + 8)[end:])[4:] in ISO_BOXES:
            size = int.from_bytes(head[:4], "big")
            if head[4:] in (b"mdat", b"moof") or not 8 <= size <= LONGEST_INDEX:
                return False
            end += size
            if head[4:] == b"moov":
                self._look(end + 16)  # and the size of what is indexed
                return True
        return False
