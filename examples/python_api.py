"""The Python API at work: encode a clip to a .bcv file, decode it again, and measure rate and quality.

python examples/python_api.py [CLIP [QP]]

Without a clip it makes one: a moving pattern of 17 frames.
"""

import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

import bcodec

FRAMES = 17


def main(clip: Path | None, qp: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clip = clip or make_clip(Path(folder) / "pattern.y4m")
        target = Path(folder) / "clip.bcv"
        networks = bcodec.load_networks(device=bcodec.pick_device("auto"))
        video = encode(clip, target, qp, networks)
        qualities = list(compare(clip, target, networks))
        size = target.stat().st_size
    rate = bcodec.bits_per_pixel(size, video.width, video.height, len(qualities))
    psnr = bcodec.Quality.mean(qualities).psnr_yuv
    print(f"{len(qualities)} frames of {video.width}x{video.height} at qp {qp}: {size} bytes")
    print(f"{rate:.4f} bits per pixel, {psnr:.2f} dB PSNR-YUV")


def encode(clip: Path, target: Path, qp: int, networks: bcodec.Networks) -> bcodec.VideoFormat:
    """Frames in, packets out; both are iterators, and memory holds no more than one GOP."""
    settings = bcodec.Settings(qp=qp, gop_size=16)
    with bcodec.VideoReader(clip, frames=FRAMES) as reader, target.open("wb") as file:
        header = bcodec.SequenceHeader(
            reader.format, settings.gop_size, bcodec.ARITHMETIC_VERSION, networks.model_id
        )
        with bcodec.BitstreamWriter(file, header) as writer:
            for packet in bcodec.encode(reader, settings, networks):
                writer.write(packet)
        return reader.format


def compare(clip: Path, coded: Path, networks: bcodec.Networks) -> Iterator[bcodec.Quality]:
    """Packets in, frames out, in display order, each beside its source."""
    with bcodec.VideoReader(clip) as source, coded.open("rb") as file:
        reader = bcodec.BitstreamReader(file)
        decoded = bcodec.decode(reader.frames(), reader.header, networks)
        for before, after in zip(islice(source, FRAMES), decoded, strict=True):
            yield bcodec.Quality.of(before.planes, after.planes)


def make_clip(path: Path, width: int = 192, height: int = 128) -> Path:
    """A smooth random texture that slides by two samples a frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (height // 16 + 2, width // 16 + 6))
    rows, columns = np.mgrid[0:height, 0 : width + 2 * FRAMES] / 16
    r, c = rows.astype(int), columns.astype(int)
    down, right = rows - r, columns - c
    above = coarse[r, c] * (1 - right) + coarse[r, c + 1] * right
    below = coarse[r + 1, c] * (1 - right) + coarse[r + 1, c + 1] * right
    texture = (above * (1 - down) + below * down).astype(np.uint8)
    rate = Fraction(25)
    with bcodec.VideoWriter(path, bcodec.VideoFormat(width, height, rate, 1 / rate)) as writer:
        for t in range(FRAMES):
            y = np.ascontiguousarray(texture[:, 2 * t : 2 * t + width])
            u, v = np.ascontiguousarray(y[::2, ::2]), np.ascontiguousarray(255 - y[::2, ::2])
            writer.write(bcodec.Frame(y, u, v))
    return path


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0]) if arguments else None, int(arguments[1]) if len(arguments) > 1 else 32)
