"""bcodec: a neural B-frame video codec whose bitstreams decode to the same picture on every machine."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bcodec.bitstream import (
        ARITHMETIC_VERSION,
        BitstreamError,
        BitstreamReader,
        BitstreamWriter,
        Packet,
        SequenceHeader,
        VideoFormat,
    )
    from bcodec.codec import CodecError, Settings, decode, encode, pick_device
    from bcodec.frame import Frame
    from bcodec.metrics import Quality, bits_per_pixel
    from bcodec.networks import Networks, WeightsError, load_networks
    from bcodec.video import VideoError, VideoReader, VideoWriter

__version__ = "0.1.0"

__all__ = [
    "ARITHMETIC_VERSION",
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

_MODULES = ("bitstream", "metrics", "frame", "codec", "networks", "video")  # cheap ones first


def __getattr__(name: str) -> object:
    """Import what is asked for: torch takes seconds, and `bcodec --help` needs none of it."""
    if name in __all__:
        for module in map(import_module, (f"bcodec.{part}" for part in _MODULES)):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'bcodec' has no attribute {name!r}")
