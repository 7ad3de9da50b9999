"""What I frames at scene cuts gain: two clips joined, coded with and without them.

python tests/scene_cut_run.py A B [FRAMES]      (clips of one size; FRAMES of each, by default 24)
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bcodec import Frame, Quality, Settings, VideoReader, bits_per_pixel, load_networks
from bcodec.encoder.encode import code_frames
from bcodec.metrics import bd_rate

QPS = (14, 24, 34, 44)


def main(paths: list[Path], count: int) -> None:
    frames = [frame for path in paths for frame in first(path, count)]
    networks = load_networks()
    curves = []
    for scene_cut in (False, True):
        rates, qualities = [], []
        for qp in QPS:
            coded = list(code_frames(frames, replace(Settings(qp, 32), scene_cut=scene_cut), networks))
            size = sum(len(frame.packet.payload) for frame in coded)
            rates.append(bits_per_pixel(size, frames[0].width, frames[0].height, len(frames)))
            qualities.append(Quality.mean([frame.quality for frame in coded if frame.quality]).psnr_yuv)
            intra = [frame.packet.header.poc for frame in coded if not frame.packet.header.frame_type]
            print(
                f"qp {qp}: {rates[-1]:.4f} bits/pixel, {qualities[-1]:.2f} dB, I frames {intra}", flush=True
            )
        curves += [rates, qualities]
    print(f"BD-rate of I frames at scene cuts: {bd_rate(*curves):+.1f} %")


def first(path: Path, count: int) -> Iterator[Frame]:
    with VideoReader(path) as reader:
        yield from islice(reader, count)


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:3]], int(sys.argv[3]) if len(sys.argv) > 3 else 24)
