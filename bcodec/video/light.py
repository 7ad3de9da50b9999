"""What HDR10 says of light, out of a decoded picture and into a container.

PyAV shows it beside a picture, but has no way to give it to a stream. What FFmpeg reads from a file it does
give to streams that are made after those of the file: so there is a file, of no picture, that says just that.
H.265 says it once more in its own messages, which libx265 writes where it is told in words.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import replace

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream.light import Light
from bcodec.video.matroska import COLOUR, element, matroska, number
from bcodec.video.said import said_beside

CODECS = {"ffv1": b"V_FFV1", "libx264": b"V_MPEG4/ISO/AVC", "libx265": b"V_MPEGH/ISO/HEVC"}
CHROMATICITY, LUMINANCE = 50000, 10000  # units in 1, and in 1 cd/m2
WIDTH, HEIGHT, MAX_CLL, MAX_FALL = 0xB0, 0xBA, 0x55BC, 0x55BD
MASTERING, RED_X, BRIGHTEST, DARKEST = 0x55D0, 0x55D1, 0x55D9, 0x55DA  # further chromaticities follow red's x

_DISPLAY = struct.Struct("=22i")  # ten rationals, and whether there are chromaticities, and luminances
_CONTENT = struct.Struct("=2I")


def light_of(picture: VideoFrame) -> Light:
    """What is said beside a decoded picture."""
    light, said = Light(), said_beside(picture) or {}
    if len(display := said.get("MASTERING_DISPLAY_METADATA", b"")) >= _DISPLAY.size:
        *parts, has_chromaticities, has_luminances = _DISPLAY.unpack_from(display)
        if has_chromaticities:
            light = replace(light, chromaticity=_in_units(parts[:16], CHROMATICITY, 16))
        if has_luminances:
            darkest, brightest = _in_units(parts[16:], LUMINANCE, 32)
            light = replace(light, darkest=darkest, brightest=brightest)
    if len(content := said.get("CONTENT_LIGHT_LEVEL", b"")) >= _CONTENT.size:
        levels = (min(level, 2**16 - 1) for level in _CONTENT.unpack_from(content))
        light = replace(light, max_cll=next(levels), max_fall=next(levels))
    return light


def _in_units(parts: Sequence[int], unit: int, bits: int) -> tuple[int, ...]:
    """Numerators and denominators in turn, as whole numbers of a unit's parts."""
    fractions = zip(parts[::2], parts[1::2], strict=True)
    values = (round(above * unit / below) if below else 0 for above, below in fractions)
    return tuple(min(max(value, 0), 2**bits - 1) for value in values)


def add_lit_stream(
    container: OutputContainer, codec: str, options: dict[str, str], size: tuple[int, int], light: Light
) -> VideoStream:
    """A stream of pictures of a size whose container says what is known of light.

    To be opened once its format is set: then it encodes.
    """
    with av.open(io.BytesIO(_file_that_says(CODECS[codec], size, light))) as file:
        stream = container.add_stream_from_template(file.streams.video[0])
    assert isinstance(stream, VideoStream)
    if codec == "libx265":
        options = options | {"x265-params": ":".join([options["x265-params"], *_in_words(light)])}
    stream.codec_context.options = options
    stream.codec_context.flags |= Flags.global_header  # as both containers want it
    return stream


def _file_that_says(codec: bytes, size: tuple[int, int], light: Light) -> bytes:
    colour = b""
    if light.has_content:
        colour += element(MAX_CLL, number(light.max_cll)) + element(MAX_FALL, number(light.max_fall))
    if light.has_display:
        points = [(RED_X + i, value / CHROMATICITY) for i, value in enumerate(light.chromaticity)]
        levels = (BRIGHTEST, light.brightest / LUMINANCE), (DARKEST, light.darkest / LUMINANCE)
        values = (element(name, struct.pack(">d", value)) for name, value in [*points, *levels])
        colour += element(MASTERING, b"".join(values))
    sides = zip((WIDTH, HEIGHT), size, strict=True)
    return matroska(codec, b"".join(element(n, number(s)) for n, s in sides) + element(COLOUR, colour))


def _in_words(light: Light) -> list[str]:
    """As libx265 takes it."""
    words = []
    if light.has_display:
        red, green, blue, white = (f"({x},{y})" for x, y in _pairs(light.chromaticity))
        levels = f"({light.brightest},{light.darkest})"
        words.append(f"master-display=G{green}B{blue}R{red}WP{white}L{levels}")
    return words + [f"max-cll={light.max_cll},{light.max_fall}"] * light.has_content


def _pairs(values: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(values[::2], values[1::2], strict=True))
