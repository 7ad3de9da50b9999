"""Whether a video file is as long as it says: FFmpeg may take one that is cut short for a shorter one."""

import os
from typing import BinaryIO

ISO_BOXES = {
    b"ftyp",
    b"styp",
    b"sidx",
    b"moov",
    b"moof",
    b"mdat",
    b"mfra",
    b"free",
    b"skip",
    b"wide",
    b"uuid",
}
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


def promised_bytes(stream: BinaryIO) -> int:
    """How long a file says it is, in bytes; 0 if it does not say.

    Sources: ISO/IEC 14496-12 (boxes of mp4, mov); RFC 8794 (EBML of mkv, webm); RIFF (avi).
    """
    head = stream.read(8)
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:], "little")
        return 8 + size if size < 2**32 - 1 else 0
    if head[:4] == EBML:
        stream.seek(4)
        header = _ebml_size(stream)
        stream.seek(header, os.SEEK_CUR)
        segment = _ebml_size(stream) if stream.read(4) == SEGMENT else 0
        return stream.tell() + segment if segment else 0
    end = 0
    while head[4:] in ISO_BOXES:
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(stream.read(8), "big") if size == 1 else size
        if size < 8:  # 0: to the end of the file
            break
        end += size
        stream.seek(end)
        head = stream.read(8)
    return end


def _ebml_size(stream: BinaryIO) -> int:
    """Read a length of 1 to 8 bytes; 0 if unknown."""
    first = stream.read(1)
    more = 8 - int.from_bytes(first, "big").bit_length()
    value = int.from_bytes(first + stream.read(more), "big")
    mask = (1 << 7 * (more + 1)) - 1
    return 0 if value & mask == mask else value & mask
