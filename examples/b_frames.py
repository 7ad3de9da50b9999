"""B frames of bcodec beside those of x264 and x265, each between the same two decoded pictures.

    python examples/b_frames.py CLIP... --qp 8 24 40 --frames 33 --out results.csv

A whole encode tells what a codec makes of a video, and not which of its frames are dear. Here each B frame
that bcodec has coded is coded again by the others, between the two pictures that bcodec had decoded for it,
which they code nearly without loss (I frames of qp 1); of a B* frame both are the one before it. What
counts are the bits at the PSNR-YUV that bcodec's frame has, by the logarithm interpolated between qps;
where even the coarsest is better, the bits of that. The table has the means of each temporal layer, the CSV
each frame.

SVT-AV1 is not there: within PyAV there is no way to tell it the qp of one frame.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import av
from av.video.stream import VideoStream

import bcodec
from bcodec.bitstream import FrameType
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import code_groups, split
from bcodec.frame import Frame
from bcodec.metrics import Quality
from bcodec.video.convert import to_video_frame

# I B I, told by ratios what their qps are: there is no other way to tell the libraries within PyAV.
SHAPE = "keyint=2:min-keyint=1:open-gop=1:b-adapt=0:bframes=1:scenecut=0"
RIVALS = {
    "x264": ("libx264", "h264", "x264-params", f"{SHAPE}:threads=1"),
    "x265": ("libx265", "hevc", "x265-params", f"{SHAPE}:pools=none:frame-threads=1:info=0:log-level=none"),
}
FINEST = 1  # the qp of I frames
QPS = (16, 21, 26, 31, 36, 41)  # x264 lets neither ratio be above 10, 20 steps of qp


class BFrame(NamedTuple):
    """A B frame as bcodec coded it, and what the others took for as good a picture."""

    clip: str
    qp: int
    poc: int
    layer: int  # 0: B*
    psnr_yuv: float
    bits: int
    motion_bits: int
    x264: float
    x265: float


def b_frames(clip: Path, count: int, gop: int, qp: int, networks: bcodec.Networks) -> Iterator[BFrame]:
    """Code a clip with one I frame, and each of its B frames once more by the others."""
    with bcodec.VideoReader(clip) as reader:
        source = list(islice(reader, count))
    settings = bcodec.Settings(qp, gop, 2 * max(count, gop), scene_cut=False, temporal_filter=False)
    decoded: dict[int, Frame] = {}
    groups = split(source, settings)
    for coded in code_groups(groups, qp, networks, PRESETS[settings.preset], pictures=True):
        header, picture = coded.packet.header, coded.picture
        assert picture is not None
        if header.frame_type is FrameType.B:
            quality = Quality.of(picture.planes, source[header.poc].planes).psnr_yuv
            past = decoded[max(poc for poc in decoded if poc < header.poc)]
            future = decoded.get(min((poc for poc in decoded if poc > header.poc), default=-1), past)
            yield BFrame(
                clip.stem,
                qp,
                header.poc,
                header.temporal_layer,
                quality,
                8 * len(coded.packet.payload),
                coded.motion_bits,
                *(bits_at(rival, (past, source[header.poc], future), quality) for rival in RIVALS),
            )
        if header.referenced:
            decoded[header.poc] = picture


def bits_at(rival: str, pictures: Sequence[Frame], psnr_yuv: float) -> float:
    """The bits that another codec takes for the second of three pictures, if it is to be as good."""
    points = [(quality, math.log(bits)) for bits, quality in curve(rival, pictures, psnr_yuv)]
    for (better, more), (worse, fewer) in pairwise(points):
        if worse <= psnr_yuv <= better:
            share = (psnr_yuv - worse) / max(better - worse, 1e-9)
            return math.exp(fewer + share * (more - fewer))
    return math.exp(points[-1][1] if psnr_yuv < points[-1][0] else points[0][1])


def curve(rival: str, pictures: Sequence[Frame], until: float) -> Iterator[tuple[int, float]]:
    """Bits and PSNR-YUV of the second picture from fine to coarse, until it is worse than that."""
    for qp in QPS:
        bits, quality = code(rival, pictures, qp)
        yield bits, quality
        if quality < until:
            return


def code(rival: str, pictures: Sequence[Frame], qp: int) -> tuple[int, float]:
    """Bits and PSNR-YUV of the second of three pictures, coded at a qp between the others."""
    library, kind, name, parameters = RIVALS[rival]
    middle = (FINEST + qp) // 2  # of P frames, of which there are none
    ratios = f"ipratio={2 ** ((middle - FINEST) / 6):.6f}:pbratio={2 ** ((qp - middle) / 6):.6f}"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"frames.{kind}"
        options = {"preset": "medium", "tune": "psnr", name: f"{parameters}:qp={middle}:{ratios}"}
        sizes: dict[int, int] = {}
        with av.open(target, "w", kind) as container:
            stream = container.add_stream(library, 25, options)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
            frames = [to_video_frame(picture) for picture in pictures]
            for index, frame in enumerate(frames):
                frame.pts = index
            for packet in (packet for frame in [*frames, None] for packet in stream.encode(frame)):
                sizes[packet.pts or 0] = packet.size
                container.mux(packet)
        with bcodec.VideoReader(target) as reader:
            second = list(reader)[1]
    return 8 * sizes[1], Quality.of(second.planes, pictures[1].planes).psnr_yuv


def table(rows: Sequence[BFrame]) -> Iterator[str]:
    """Mean bits by qp and temporal layer, and bcodec's as multiples of the others'."""
    yield "| qp | layer | frames | bcodec, bits | of motion | to x264 | to x265 |"
    yield "|---|---|---|---|---|---|---|"
    for qp in sorted({row.qp for row in rows}):
        for layer in [*sorted({row.layer for row in rows}), -1]:
            own = [row for row in rows if row.qp == qp and layer in (row.layer, -1)]
            if own:
                bits, motion = fmean(row.bits for row in own), fmean(row.motion_bits for row in own)
                x264, x265 = fmean(row.x264 for row in own), fmean(row.x265 for row in own)
                name = {0: "B*", -1: "all"}.get(layer, str(layer))
                yield (
                    f"| {qp} | {name} | {len(own)} | {bits:.0f} | {motion / bits:.0%} | {bits / x264:.2f} |"
                    f" {bits / x265:.2f} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--qp", nargs="+", type=int, default=[8, 24, 40])
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--gop", type=int, default=32, help="frames from one anchor to the next")
    parser.add_argument("--out", type=Path, help="a CSV file with each frame")
    arguments = parser.parse_args()
    networks = bcodec.load_networks()
    rows: list[BFrame] = []
    for clip in arguments.clips:
        for qp in arguments.qp:
            for row in b_frames(clip, arguments.frames, arguments.gop, qp, networks):
                rows.append(row)
                print(f"\r{clip.stem}, qp {qp}: frame {row.poc}  ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if arguments.out:
        with arguments.out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(BFrame._fields)
            writer.writerows(rows)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
