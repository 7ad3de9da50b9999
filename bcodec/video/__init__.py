"""Video files in and out: FFmpeg's by PyAV, bare planes and y4m of 4:2:0 without it."""

from bcodec.video.base import Damage, TimedFrame
from bcodec.video.reader import VideoReader, video_packets
from bcodec.video.writer import VideoWriter, output_kind
from bcodec.video.y4m import RAW_SUFFIXES

__all__ = [
    "RAW_SUFFIXES",
    "Damage",
    "TimedFrame",
    "VideoReader",
    "VideoWriter",
    "output_kind",
    "video_packets",
]
