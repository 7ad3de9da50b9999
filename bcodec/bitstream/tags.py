"""Tags, which are keys and values in words, as bytes; the module `sidecar` has their diagram."""

import struct

from bcodec.errors import Corrupt

_TAG = struct.Struct("<BH")


def tags_to_bytes(tags: dict[str, str]) -> bytes:
    """Lay out the tags; those that are too long, or for which there is no room, are left out."""
    data = bytearray()
    for key, value in tags.items():
        k, v = key.encode(errors="replace"), value.encode(errors="replace")
        if len(k) < 1 << 8 and len(v) + len(k) + _TAG.size + len(data) < 1 << 16:
            data += _TAG.pack(len(k), len(v)) + k + v
    return bytes(data)


def tags_from_bytes(data: bytes) -> dict[str, str]:
    """Read them back; raises Corrupt for what `tags_to_bytes` does not write."""
    tags = {}
    while data:
        head, data = split(data, _TAG.size)
        of_key, of_value = _TAG.unpack(head)
        key, data = split(data, of_key)
        value, data = split(data, of_value)
        tags[text(key)] = text(value)
    return tags


def split(data: bytes, size: int) -> tuple[bytes, bytes]:
    """The first `size` bytes and the rest; raises Corrupt where there are fewer."""
    if len(data) < size:
        raise Corrupt("its header is too short")
    return data[:size], data[size:]


def text(data: bytes) -> str:
    """Words; raises Corrupt for what is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Corrupt("its header has words that are not UTF-8") from None
