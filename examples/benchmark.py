"""Rate, distortion and speed of bcodec beside x264, x265 and SVT-AV1: the numbers of the README.

    python examples/benchmark.py CLIP... --frames 33 --out FOLDER
    python examples/benchmark.py CLIP... --presets medium fast slow --codecs x265-slow svtav1-8 --out FOLDER

FOLDER/results.csv gets every point, FOLDER/results.md the tables. bcodec is `python -m bcodec` of the Python
that runs this; the others are inside PyAV, named with their preset: x264-veryslow, x265-medium, svtav1-4.

What is coded: the same frames by all, in 8-bit 4:2:0, with closed GOPs of at most --intra frames (where
bcodec is to have others: --intra 250 --options="--gop 32"). The codecs keep to a quality (CRF; bcodec's -q)
and are tuned for PSNR. One process runs at a time.

What is counted
* as rate: the whole .bcv file, made without sound; of the others the whole elementary stream (Annex B or OBU,
  no container), less the text in which x264 writes its settings down;
* as quality: the PSNR of each plane in dB, mean over frames; YUV weighs the planes 6:1:1. BD-rate is the mean
  change of rate over the range of quality that two curves of four points or more share (piecewise cubic,
  pchip), by PSNR-YUV and by luma alone, since an encoder may trade one for the other;
* as speed: wall and processor seconds of encoding and of decoding, on --threads threads. They are those of
  whole commands for bcodec, start and files included; for the others of the codec alone, with the source in
  memory. Each runs in a process of its own, of which the most memory that it ever held is told.
  Nothing else may run on the machine, or the seconds are worth nothing.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import math
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

import bcodec
from bcodec.metrics import Quality, bd_rate, bits_per_pixel

MEASURES = {"psnr_yuv": "", "psnr_y": ", luma"}  # what rates are compared at, and how a table says it


class Library(NamedTuple):
    """A codec inside PyAV: its encoder, the kind of its stream, its CRFs, its options to be filled in."""

    encoder: str
    stream: str
    qualities: tuple[int, ...]
    options: str


CRFS = 37, 32, 27, 22
X264 = "preset={preset} tune=psnr crf={q} g={intra} flags=+cgop x264-params=threads={threads}:log-level=error"
X265 = (
    "preset={preset} tune=psnr crf={q}"
    " x265-params=keyint={intra}:open-gop=0:pools={threads}:frame-threads=1:info=0:log-level=error"
)
# Tune 1 is for PSNR; refresh 2 closes the GOPs.
AV1 = "preset={preset} crf={q} g={intra} svtav1-params=tune=1:lp={threads}:irefresh-type=2"
LIBRARIES = {
    "x264": Library("libx264", "h264", CRFS, X264),
    "x265": Library("libx265", "hevc", CRFS, X265),
    "svtav1": Library("libsvtav1", "obu", (63, 56, 48, 40, 28), AV1),
}


class Cost(NamedTuple):
    """What encoding or decoding a clip took: wall and processor seconds, and bytes of memory at most."""

    wall: float
    cpu: float
    memory: int


class Point(NamedTuple):
    """Frames of a clip coded once: the bytes that count, mean quality, and what it took."""

    clip: str
    width: int
    height: int
    frames: int
    codec: str
    q: int
    bytes: int
    quality: Quality
    encode: Cost
    decode: Cost

    @property
    def rate(self) -> float:
        """Bits per pixel."""
        return bits_per_pixel(self.bytes, self.width, self.height, self.frames)

    def to_row(self) -> dict[str, object]:
        """Lay out a line of results.csv."""
        row = {name: getattr(self, name) for name in (*self._fields[:7], "rate")}
        row |= {name: getattr(self.quality, name) for name in ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv")}
        row |= {f"encode_{name}": value for name, value in self.encode._asdict().items()}
        return row | {f"decode_{name}": value for name, value in self.decode._asdict().items()}


Curves = dict[str, dict[str, list[Point]]]  # of clip and codec


# ---------------------------------------------------------------- in a process of its own


def alone(task: Callable[..., Cost], *arguments: object) -> Cost:
    """Run a task in a new process, a child of a small one: as our own, it would count our memory."""
    with ProcessPoolExecutor(1, get_context("forkserver"), refuse_realtime) as pool:
        return pool.submit(task, *arguments).result()


def refuse_realtime() -> None:
    """Give up CAP_SYS_NICE: with it, SVT-AV1 run as root takes real-time priority over all else."""
    os.environ["SVT_LOG"] = "1"  # errors only
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    system = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: their low words, then their high ones
    failed = system.capget(header, sets)
    for low in range(3):
        sets[low] &= ~(1 << 23)
    if failed or system.capset(header, sets):
        raise OSError(ctypes.get_errno(), "cannot give up CAP_SYS_NICE")


def measured(work: Callable[[], object]) -> Cost:
    """Do the work and tell what it cost, child processes included."""

    def used() -> list[resource.struct_rusage]:
        return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]

    before, start = used(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, used()
    cpu = [sum(usage.ru_utime + usage.ru_stime for usage in usages) for usages in (before, after)]
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(wall, cpu[1] - cpu[0], max(usage.ru_maxrss for usage in after) * unit)


def run_command(words: list[str]) -> Cost:
    """Run a command; RuntimeError with what it said if it fails."""

    def work() -> None:
        done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)} exited with {done.returncode}: {done.stderr.strip()}")

    return measured(work)


def encode_inside(codec: Library, options: dict[str, str], threads: int, source: Path, target: Path) -> Cost:
    """Encode a y4m file to an elementary stream."""
    with av.open(source) as container:
        rate = container.streams.video[0].average_rate
        assert rate is not None
        # As arrays: frames that come from a decoder would bring their type along, and force it.
        pictures = [frame.to_ndarray() for frame in container.decode(video=0)]

    def work() -> None:
        with av.open(target, "w", format=codec.stream) as out:
            stream = out.add_stream(codec.encoder, rate=rate, options=options)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = pictures[0].shape[0] * 2 // 3, pictures[0].shape[1]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = threads
            for index, picture in enumerate(pictures):
                frame = VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts, frame.time_base = index, 1 / rate
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))

    return measured(work)


def decode_inside(source: Path, threads: int) -> Cost:
    """Decode a stream, and let the pictures go."""

    def work() -> None:
        with av.open(source) as container:
            container.streams.video[0].codec_context.thread_count = threads
            for _ in container.decode(video=0):
                pass

    return measured(work)


# ---------------------------------------------------------------- points


class Bench(NamedTuple):
    """How to code: the distance of I frames, threads, and for bcodec the values of -q and further options."""

    intra: int
    threads: int
    qualities: list[int]
    options: list[str]

    def measure(self, path: Path, frames: int | None, codecs: list[str]) -> Iterator[Point]:
        """Give the points of the first frames of a clip (None: of all), codec by codec."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source.y4m"
            with bcodec.VideoReader(path, frames=frames, keep=()) as reader:
                pictures, video = list(reader), reader.format
            with bcodec.VideoWriter(source, video) as writer:
                for picture in pictures:
                    writer.write(picture)
            clip = path.stem, video.width, video.height, len(pictures)
            for codec in codecs:
                name, _, preset = codec.partition("-")
                code = self.with_bcodec if name == "bcodec" else partial(self.inside, name)
                for q in self.qualities if name == "bcodec" else LIBRARIES[name].qualities:
                    size, decoded, *costs = code(preset, q, source)
                    yield Point(*clip, codec, q, size, quality(pictures, decoded), *costs)

    def with_bcodec(self, preset: str, q: int, source: Path) -> tuple[int, Path, Cost, Cost]:
        """Encode and decode by the command line, and give what counts, where the pictures are, the costs."""
        coded, decoded = source.with_name("coded.bcv"), source.with_name("decoded.y4m")
        how = ["-q", str(q), "--preset", preset, "--gop", str(self.intra), *self.options]
        costs = []
        for words in (["encode", source, "-o", coded, *how], ["decode", coded, "-o", decoded]):
            command = [sys.executable, "-m", "bcodec", *words, "-y", "--threads", self.threads]
            costs.append(alone(run_command, [str(word) for word in command]))
        return coded.stat().st_size, decoded, costs[0], costs[1]

    def inside(self, name: str, preset: str, q: int, source: Path) -> tuple[int, Path, Cost, Cost]:
        """Encode and decode inside PyAV, and give the same."""
        library = LIBRARIES[name]
        words = library.options.format(preset=preset, q=q, intra=self.intra, threads=self.threads).split()
        options = dict(word.split("=", maxsplit=1) for word in words)
        coded = source.with_name(f"coded.{library.stream}")
        encoding = alone(encode_inside, library, options, self.threads, source, coded)
        decoding = alone(decode_inside, coded, self.threads)
        return len(without_settings(coded.read_bytes())), coded, encoding, decoding


def without_settings(stream: bytes) -> bytes:
    """Leave out the unit in which x264 writes its settings down (SEI of user data, known by its UUID)."""
    start = rb"\x00{2,3}\x01"
    unit = start + rb"\x06\x05\xff*.\xdc\x45\xe9\xbd.*?(?=" + start + rb")"
    return re.sub(unit, b"", stream, count=1, flags=re.DOTALL)


def quality(pictures: list[bcodec.Frame], decoded: Path) -> Quality:
    """The mean over frames; ValueError if there are not as many of them."""
    with bcodec.VideoReader(decoded) as reader:
        return Quality.mean(Quality.of(a.planes, b.planes) for a, b in zip(pictures, reader, strict=True))


# ---------------------------------------------------------------- tables


def curves_of(points: Sequence[Point]) -> Curves:
    """Sort the points by clip and codec, in the order in which these come."""
    found: Curves = {}
    for point in points:
        found.setdefault(point.clip, {}).setdefault(point.codec, []).append(point)
    return found


def rate_change(anchor: list[Point], test: list[Point], measure: str) -> float:
    """The BD-rate from anchor to test in percent, at equal psnr_yuv or psnr_y; nan where there is none."""
    sides = [([p.rate for p in side], [getattr(p.quality, measure) for p in side]) for side in (anchor, test)]
    return bd_rate(*sides[0], *sides[1])


def report(points: Sequence[Point], bench: Bench) -> str:
    """Lay out results.md."""
    curves = curves_of(points)
    codecs = list(dict.fromkeys(point.codec for point in points))
    others = [codec for codec in codecs if not codec.startswith("bcodec-")]
    frames = ", ".join(str(count) for count in sorted({point.frames for point in points}))
    parts = [
        f"First {frames} frames, an I frame every {bench.intra}, threads: {bench.threads}, further options of"
        f" bcodec: {shlex.join(bench.options) or 'none'}. BD-rate: bits more at equal PSNR, of YUV or luma."
    ]
    for codec in codecs:
        if codec not in others:
            parts += [f"## {codec}\n\nBits per pixel and PSNR-YUV (6:1:1) in dB; BD-rates:"]
            parts += [clip_table(curves, codec, others)]
    parts += [f"## Each against each\n\nProcessor time of encoding (of {codecs[0]}: 1), mean BD-rates:"]
    parts += [codec_table(curves, codecs)]
    parts += ["## Speed\n\nMean of a clip; processor seconds a megapixel:", speed_table(points)]
    return "\n\n".join(parts) + "\n"


def clip_table(curves: Curves, codec: str, anchors: list[str]) -> str:
    """A line for each clip: points of the codec and the first anchor, BD-rates to each; mean and median."""
    columns = [(anchor, measure) for anchor in anchors for measure in MEASURES]
    rows, changes = [], []
    for clip, c in curves.items():
        ours, *theirs = ([cell(p) for p in c[name]] for name in (codec, *anchors[:1]))
        changes.append([rate_change(c[anchor], c[codec], measure) for anchor, measure in columns])
        rows.append([f"`{clip}`", *ours, *map(" · ".join, theirs), *map(percent, changes[-1])])
    points = [*(f"q {point.q}" for point in c[codec]), *anchors[:1]]
    for name, middle in (("mean", np.mean), ("median", np.median)):
        rows.append([name, *[""] * len(points), *map(percent, middle(changes, axis=0))])
    return table(["clip", *points, *(f"to {anchor}{MEASURES[m]}" for anchor, m in columns)], rows)


def codec_table(curves: Curves, codecs: list[str]) -> str:
    """A line for each codec: its time, and its BD-rate to each, mean over clips."""
    times = {codec: fmean(p.encode.cpu for c in curves.values() for p in c[codec]) for codec in codecs}
    rows = []
    for codec in codecs:
        row = [codec, short(times[codec] / times[codecs[0]])]
        for anchor in codecs:
            means = [fmean(rate_change(c[anchor], c[codec], m) for c in curves.values()) for m in MEASURES]
            row.append("" if anchor == codec else ", luma ".join(map(percent, means)))
        rows.append(row)
    return table(["", "time", *(f"to {anchor}" for anchor in codecs)], rows)


def speed_table(points: Sequence[Point]) -> str:
    """A line for each codec and size of picture."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.codec, f"{point.width}x{point.height}"), []).append(point)
    rows = []
    for (codec, size), group in groups.items():
        row, frames = [codec, size], sum(point.frames for point in group)
        pixels = frames * group[0].width * group[0].height
        for costs in ([p.encode for p in group], [p.decode for p in group]):
            wall = sum(cost.wall for cost in costs)
            row.append(f"{short(wall / len(group))} s ({short(frames / wall)} frames/s)")
            row.append(f"{short(sum(cost.cpu for cost in costs) / pixels * 1e6)} s")
        peaks = [max(getattr(p, side).memory for p in group) for side in ("encode", "decode")]
        rows.append([*row, ", ".join(f"{peak / 1e9:.2f} GB" for peak in peaks)])
    return table(["codec", "size", "encode", "a megapixel", "decode", "a megapixel", "peak memory"], rows)


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(point: Point) -> str:
    return f"{point.rate:.3f} {point.quality.psnr_yuv:.1f}"


def percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:+.1f} %"


def short(value: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{float(f'{value:.3g}'):g}"


# ---------------------------------------------------------------- the command


def arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    rivals = ["x264-medium", "x265-medium"]
    add("clips", nargs="+", type=Path, metavar="CLIP", help="videos of even sides and different names")
    add("--frames", type=int, help="first frames of each clip (all)")
    add("--intra", type=int, default=32, help="frames from one I frame to the next (32)")
    add("--threads", type=int, default=1, help="of each codec (1)")
    add("--codecs", nargs="*", default=rivals, help=f"to compare with ({' '.join(rivals)})")
    add("--presets", nargs="*", default=["medium"], help="of bcodec (medium)")
    add("--q", nargs="+", type=int, default=[8, 24, 33, 42], help="qualities of bcodec (8 24 33 42)")
    add("--options", type=shlex.split, default=[], help="further ones of bcodec encode, in quotes")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where to write; it holds no results yet")
    given = parser.parse_args()
    for name in given.codecs:
        if not re.fullmatch(rf"({'|'.join(LIBRARIES)})-\w+", name):
            parser.error(f"{name} is not {', '.join(LIBRARIES)} with a preset, as x264-medium")
    if len({path.stem for path in given.clips}) < len(given.clips):
        parser.error("two clips have the same name")
    if (given.out / "results.csv").exists():
        parser.error(f"{given.out / 'results.csv'} exists already")
    return given


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.intra, given.threads, given.q, given.options)
    codecs = [*(f"bcodec-{preset}" for preset in given.presets), *given.codecs]
    points: list[Point] = []
    with (given.out / "results.csv").open("w", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        for path in given.clips:
            for point in bench.measure(path, given.frames, codecs):
                row = point.to_row()
                if not points:
                    write(row)
                write(row.values())
                file.flush()
                points.append(point)
                print(f"{point.clip} {point.codec} {point.q}: {cell(point)}", file=sys.stderr, flush=True)
    (given.out / "results.md").write_text(report(points, bench))


if __name__ == "__main__":
    main()
