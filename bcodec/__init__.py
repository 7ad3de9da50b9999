"""bcodec: a neural B-frame video codec whose bitstreams decode to the same picture on every machine."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcodec.bitstream import (
        ARITHMETIC_VERSION,
        BitstreamReader,
        BitstreamWriter,
        Packet,
        SequenceHeader,
        VideoFormat,
    )
    from bcodec.codec import decode, pick_device
    from bcodec.encoder.encode import Settings, encode
    from bcodec.errors import BcodecError, BitstreamError, CodecError, VideoError, WeightsError
    from bcodec.frame import Frame
    from bcodec.metrics import Quality, bits_per_pixel
    from bcodec.networks import Networks, load_networks
    from bcodec.video import VideoReader, VideoWriter

__version__ = "0.1.0"

__all__ = [
    "ARITHMETIC_VERSION",
    "BcodecError",
    "BitstreamError",
    "BitstreamReader",
    "BitstreamWriter",
    "CodecError",
    "Frame",
    "Networks",
    "Packet",
    "Quality",
    "SequenceHeader",
    "Settings",
    "VideoError",
    "VideoFormat",
    "VideoReader",
    "VideoWriter",
    "WeightsError",
    "bits_per_pixel",
    "decode",
    "encode",
    "load_networks",
    "pick_device",
]

# Where the public names are: each is imported when it is asked for. torch takes seconds, and `bcodec --help`
# needs none of it; and who decodes needs nothing of the encoder.
_HOMES = {
    "bitstream": (
        "ARITHMETIC_VERSION",
        "BitstreamReader",
        "BitstreamWriter",
        "Packet",
        "SequenceHeader",
        "VideoFormat",
    ),
    "codec": ("decode", "pick_device"),
    "encoder.encode": ("Settings", "encode"),
    "errors": ("BcodecError", "BitstreamError", "CodecError", "VideoError", "WeightsError"),
    "frame": ("Frame",),
    "metrics": ("Quality", "bits_per_pixel"),
    "networks": ("Networks", "load_networks"),
    "video": ("VideoReader", "VideoWriter"),
}


def __getattr__(name: str) -> object:
    """Import a public name from where it is."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"bcodec.{home}"), name)
    raise AttributeError(f"module 'bcodec' has no attribute {name!r}")
