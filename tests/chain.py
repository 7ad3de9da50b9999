"""Streams with B* anchors in a chain: I frames come only every few GOPs."""

from fractions import Fraction

from bcodec.bitstream import ARITHMETIC_VERSION, Packet, SequenceHeader, VideoFormat
from bcodec.codec import FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.trial import Task, code_frame
from bcodec.frame import Frame
from bcodec.gop import Closing, Slot, intra_anchor, window
from bcodec.networks import Networks


def slots(count: int, gop_size: int, intra_period: int) -> list[Slot]:
    """Of `count` frames in coding order, with I frames at multiples of the intra period (some GOPs)."""
    found, anchor = [intra_anchor(0, gop_size)], 0
    while anchor < count - 1:
        length = min(gop_size, count - 1 - anchor)
        intra = length == gop_size and (anchor + length) % intra_period == 0
        found += window(anchor, length, gop_size, Closing.INTRA if intra else Closing.TAIL)
        anchor += length
    return found


def chained(frames: list[Frame], gop_size: int, intra_period: int, networks: Networks) -> list[Packet]:
    codec = FrameCodec(networks, frames[0].width, frames[0].height)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    packets = []
    for slot in slots(len(frames), gop_size, intra_period):
        frame = frames[slot.poc]
        trial = code_frame(codec, dpb, Task(slot, frame, frame, 40), PRESETS["fast"].effort)
        codec.keep(trial.decoded, dpb)
        packets.append(trial.coded.packet)
    return packets


def header_of(frame: Frame, gop_size: int, networks: Networks) -> SequenceHeader:
    video = VideoFormat(frame.width, frame.height, Fraction(25), Fraction(1, 25))
    return SequenceHeader(video, gop_size, ARITHMETIC_VERSION, networks.model_id)
