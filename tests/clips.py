"""Small clips, the same on every machine: frames in memory, files of frames, files with sound."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream import VideoFormat
from bcodec.frame import Frame, plane_shapes
from bcodec.video import VideoWriter

RATE = 25  # frames a second of every clip
SOUNDED = 10  # frames of a clip with sound
SOUND_RATE = 48000  # Hz
MS = Fraction(1, 1000)
BLOCK = 16  # samples of a plane: so many that motion by a few is no scene cut

Ints = npt.NDArray[np.int64]

# ---------------------------------------------------------------- frames


def smoothed(canvas: Ints, rounds: int) -> Ints:
    """Each sample mixed with those left of it and above it: a step of one sample, then `rounds` of two."""
    for reach in (1, *(2,) * rounds):
        below = np.roll(canvas, reach, 0)
        canvas = (canvas + below + np.roll(canvas, reach, 1) + np.roll(below, reach, 1)) // 4
    return canvas


def moving(
    count: int, width: int = 64, height: int = 48, *, seed: int = 0, speed: int = 2, grain: int = 0
) -> list[Frame]:
    """Random blocks with soft edges, which move by `speed` luma samples to the left, and by half of it up.

    Each frame has noise of its own, of up to `grain` levels. Integers only: the same clip everywhere.
    """
    rng = np.random.default_rng(seed)
    shapes = plane_shapes(width, height)
    canvases = []
    for rows, columns in shapes:
        blocks = rng.integers(20, 236, [(side + speed * count) // BLOCK + 1 for side in (rows, columns)])
        canvases.append(smoothed(blocks.repeat(BLOCK, 0).repeat(BLOCK, 1), 1))
    frames = []
    for index in range(count):
        planes = []
        for number, (canvas, (rows, columns)) in enumerate(zip(canvases, shapes, strict=True)):
            left = speed * index // (2 if number else 1)
            window = canvas[left // 2 :, left:][:rows, :columns]
            plane = window + rng.integers(-grain, grain + 1, (rows, columns))
            planes.append(np.ascontiguousarray(np.clip(plane, 0, 255).astype(np.uint8)))
        frames.append(Frame(*planes))
    return frames


def noise(count: int, width: int = 64, height: int = 48, *, seed: int = 0) -> list[Frame]:
    """Random samples, in each frame others."""
    rng = np.random.default_rng(seed)
    shapes = plane_shapes(width, height)
    return [Frame(*(rng.integers(0, 256, shape, np.uint8) for shape in shapes)) for _ in range(count)]


def deepened(frames: Iterable[Frame], seed: int = 0) -> list[Frame]:
    """The frames in ten bits: with two random bits more."""
    rng = np.random.default_rng(seed)
    return [
        Frame(*(p + rng.integers(0, 4, p.shape, np.uint16) for p in frame.at_depth(10).planes))
        for frame in frames
    ]


def flat(levels: Iterable[int], width: int = 64, height: int = 48) -> list[Frame]:
    """Frames of one level each, in all planes."""
    shapes = plane_shapes(width, height)
    return [Frame(*(np.full(shape, level, np.uint8) for shape in shapes)) for level in levels]


# ---------------------------------------------------------------- files


def format_of(frame: Frame) -> VideoFormat:
    """The format of a clip of such frames: 25 a second, of limited range."""
    period = Fraction(1, RATE)
    return VideoFormat(
        frame.width, frame.height, 1 / period, period, colour_range=1, bit_depth=frame.bit_depth
    )


def write(path: Path, frames: list[Frame], format: VideoFormat | None = None, **more: Any) -> Path:
    """Write frames to a y4m, yuv, mkv or mp4 file; what else VideoWriter takes goes to it."""
    with VideoWriter(path, format or format_of(frames[0]), **more) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def with_sound(path: Path, codec: str = "aac", subtitles: str | None = None, start: int = 0) -> Path:
    """Write 10 pictures of 64x48 as H.264, with noise as sound, and with subtitles at 0.1 and 0.3 s.

    All begins `start` frame periods later.
    """
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Größe"
        video = container.add_stream("libx264", rate=RATE, options={"bf": "0"})
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        words = container.add_mux_stream(subtitles) if subtitles else None
        packets = _sound(container, codec, "deu", start * SOUND_RATE // RATE)
        for i in range(SOUNDED):
            picture = VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([60 + 5 * i]) * plane.buffer_size)
            picture.pts = i + start
            packets += video.encode(picture)
        packets += video.encode(None)
        if words:
            words.time_base = MS
            packets += [_words(words, i, length_first=subtitles == "mov_text") for i in (1, 3)]
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    return path


def _sound(container: OutputContainer, codec: str, language: str, offset: int) -> list[Packet[Stream]]:
    """Noise, as long as the pictures."""
    stream = container.add_stream(codec, rate=SOUND_RATE)
    assert isinstance(stream, AudioStream)
    stream.layout = "mono"
    stream.metadata["language"] = language
    container.start_encoding()
    rng = np.random.default_rng(3)
    packets: list[Packet[Stream]] = []
    each = stream.codec_context.frame_size or 400
    for time in range(0, SOUND_RATE * SOUNDED // RATE, each):
        frame = AudioFrame(stream.format.name, "mono", each)
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, time + offset, Fraction(1, SOUND_RATE)
        width = frame.planes[0].buffer_size
        loud = rng.integers(-3000, 3000, width // 4)
        data = (loud / 32768).astype("<f4").tobytes() if "flt" in stream.format.name else rng.bytes(width)
        frame.planes[0].update(data.ljust(width, b"\0"))
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _words(stream: Stream, number: int, *, length_first: bool) -> Packet[Stream]:
    """A subtitle, 0.1 s times its number after the beginning."""
    text = f"words {number}".encode()
    packet = Packet(len(text).to_bytes(2, "big") + text if length_first else text)
    packet.pts = packet.dts = 100 * number
    packet.duration, packet.time_base, packet.stream = 150, MS, stream
    return packet


def still(path: Path, count: int = 1, rate: int = 25) -> Path:
    """A video of 32x32 whose frame t is gray of 60 + 8 t."""
    luma = [np.full((32, 32), 60 + 8 * t, np.uint8) for t in range(count)]
    chroma = np.full((16, 16), 128, np.uint8)
    video = VideoFormat(32, 32, Fraction(rate), Fraction(1, rate))
    return write(path, [Frame(y, chroma, chroma) for y in luma], video)
