"""Bare planes in: files and pipes that hold samples and nothing else, of the pixel formats that are usual."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import BinaryIO

from av.codec.context import CodecContext
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from bcodec.bitstream import VideoFormat
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.video.base import UNKNOWN_COLOUR, steadily
from bcodec.video.convert import PIXELS, Converter
from bcodec.video.y4m import PlainInput

GUESSED = PIXELS[8]  # where nothing is said
OTHERS = (
    "yuv420p",
    "yuv420p10le",
    "yuv422p",
    "yuv422p10le",
    "yuv444p",
    "yuv444p10le",
    "rgba",
    "gray",
)  # by size


def open_raw(
    stream: BinaryIO,
    name: str,
    bytes_there: int | None,
    size: tuple[int, int] | None,
    frame_rate: Fraction | None,
    pixels: str | None,
) -> PlainInput:
    """Open bare planes, `bytes_there` long (None: a pipe).

    pixels: FFmpeg's name of their format (None: GUESSED, and a notice). Raises
    VideoError if they are not a whole number of pictures; of a pipe, after the whole ones.
    """
    if not size or not frame_rate:
        raise VideoError(f"{name}: raw video does not say its size and frame rate; both must be given")
    kind = pixels or GUESSED
    try:
        converter = Converter(VideoFrame(*size, kind), 0, UNKNOWN_COLOUR)
    except ValueError:
        raise VideoError(f"{name}: FFmpeg knows no pixel format {kind}") from None
    video = VideoFormat(
        *size,
        frame_rate,
        1 / frame_rate,
        sample_aspect_ratio=Fraction(0),
        colour_range=converter.colour_range,
        colour_matrix=converter.colour_matrix,
        bit_depth=converter.bit_depth,
    )
    taken = "" if pixels else f"{name}: raw video is taken as {kind}; --pix-fmt tells others, such as nv12"
    notices = [notice for notice in (taken, converter.notice) if notice]
    frames, count = steadily(_frames(stream, name, converter), frame_rate), None
    if bytes_there is not None:
        _check_whole(name, bytes_there, kind, size)
        count = bytes_there // raw_bytes(kind, size)
    return PlainInput(video, frames, count, stream, notices)


@cache
def raw_bytes(pixels: str, size: tuple[int, int]) -> int:
    """How many bytes a bare picture of (width, height) has in a pixel format."""
    encoder = CodecContext.create("rawvideo", "w")
    assert isinstance(encoder, VideoCodecContext)
    (encoder.width, encoder.height), encoder.pix_fmt = size, pixels
    encoder.time_base = Fraction(1, 25)  # any
    return sum(packet.size for packet in encoder.encode(VideoFrame(*size, pixels)))


def _frames(stream: BinaryIO, name: str, converter: Converter) -> Iterator[Frame]:
    kind, *size = converter.shape
    width, height = size
    each, total, decoder = raw_bytes(kind, (width, height)), 0, _decoder(converter)
    while data := stream.read(each):
        total += len(data)
        _check_whole(name, total, kind, (width, height))
        if kind in PIXELS.values():
            yield _frame(data, name, width, height, converter.bit_depth)
        else:
            packet: Packet[Stream] = Packet(data)
            for picture in decoder.decode(packet):
                yield converter.convert(picture)


def _frame(data: bytes, name: str, width: int, height: int, bit_depth: int) -> Frame:
    try:
        return Frame.from_bytes(data, width, height, bit_depth)
    except ValueError as error:
        raise VideoError(f"{name}: {error}") from None


def _decoder(converter: Converter) -> VideoCodecContext:
    """What makes pictures of bare ones."""
    decoder = CodecContext.create("rawvideo", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.pix_fmt, decoder.width, decoder.height = converter.shape
    return decoder


def _check_whole(name: str, bytes_there: int, kind: str, size: tuple[int, int]) -> None:
    each, (width, height) = raw_bytes(kind, size), size
    count, over = divmod(bytes_there, each)
    if over:
        fitting = [other for other in OTHERS if bytes_there % raw_bytes(other, size) == 0]
        hint = f"; --pix-fmt may be {' or '.join(fitting)}" if fitting else ""
        raise VideoError(
            f"{name}: {bytes_there} bytes are not a whole number of {width}x{height} frames"
            f" of {each} bytes: {count} frames and {over} bytes over{hint}"
        )
