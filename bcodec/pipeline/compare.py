"""How near videos are to their source, and how many bits they take: .bcv files and any other video."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from bcodec.bitstream import Packet, VideoFormat
from bcodec.crew import Jobs
from bcodec.errors import BitstreamError, CodecError, NotBcv, Unreadable, VideoError
from bcodec.frame import Frame
from bcodec.metrics import Quality, bd_rate, bits_per_pixel
from bcodec.networks import Networks
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.pictures import pictures
from bcodec.video import RAW_SUFFIXES, VideoReader, video_packets
from bcodec.video.convert import PIXELS
from bcodec.video.quality import QualityFilters, VmafFilter, has_vmaf

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = {  # of a table: what of Quality stands there, and with how many decimals
    "PSNR Y": ("psnr_y", 2),
    "U": ("psnr_u", 2),
    "V": ("psnr_v", 2),
    "YUV": ("psnr_yuv", 2),
    "XPSNR Y": ("xpsnr_y", 2),
    "XPSNR YUV": ("xpsnr_yuv", 2),
    "SSIM": ("ssim", 5),
    "MS-SSIM": ("ms_ssim", 5),
    "VMAF": ("vmaf", 2),
}
RATED_BY = {  # what codecs are compared at, and how a table says it
    "psnr_yuv": "PSNR YUV",
    "psnr_y": "PSNR Y",
    "xpsnr_yuv": "XPSNR YUV",
    "xpsnr_y": "XPSNR Y",
}


@dataclass
class Opened:
    """A video to be compared: pictures in display order, and the bytes of their packets as far as read.

    `sizes` and `times` (in seconds since the first picture) are by display index; a frame that is not there
    took no bytes of its own.
    """

    name: str
    codec: str
    format: VideoFormat
    frames: Iterator[Frame]
    sizes: dict[int, int] = field(default_factory=dict)
    times: dict[int, Fraction] = field(default_factory=dict)


@dataclass
class Comparison:
    """One video beside its source: the quality and bytes of each frame that was compared.

    duration: for how long they are shown, in seconds.
    """

    name: str
    codec: str
    format: VideoFormat
    qualities: list[Quality]
    sizes: list[int]
    duration: Fraction
    notices: list[str] = field(default_factory=list)

    @property
    def mean(self) -> Quality:
        """The mean over frames, of PSNR in dB."""
        return Quality.mean(self.qualities)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the packets of its pictures, per luma sample."""
        return bits_per_pixel(sum(self.sizes), self.format.width, self.format.height, len(self.sizes))

    @property
    def bitrate(self) -> float:
        """Bits of the packets of its pictures, per second."""
        return float(sum(self.sizes) * 8 / self.duration)

    def to_dict(self) -> dict[str, Any]:
        """Everything in the words of JSON; what was not measured is null."""
        return {
            "file": self.name,
            "codec": self.codec,
            "frames": len(self.qualities),
            "bitrate": self.bitrate,
            "bits_per_pixel": self.bits_per_pixel,
            **_in_words(self.mean),
            "per_frame": [
                {"bits": size * 8, **_in_words(quality)}
                for size, quality in zip(self.sizes, self.qualities, strict=True)
            ],
        }


def _in_words(quality: Quality) -> dict[str, float | None]:
    values = {**quality._asdict(), "psnr_yuv": quality.psnr_yuv, "xpsnr_yuv": quality.xpsnr_yuv}
    return {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}


class _Measures:
    """All that is measured of one video beside its source, pair by pair; to be closed."""

    def __init__(self, format: VideoFormat, *, with_ms_ssim: bool) -> None:
        shape = format.width, format.height, format.frame_rate, format.bit_depth
        self.with_ms_ssim, self.filters = with_ms_ssim, QualityFilters(*shape)
        self.vmaf = VmafFilter(*shape) if has_vmaf() else None
        self.bit_depth, self.qualities = format.bit_depth, list[Quality]()

    def add(self, before: Frame, after: Frame) -> None:
        before, after = before.at_depth(self.bit_depth), after.at_depth(self.bit_depth)
        quality = Quality.of(before.planes, after.planes, with_ms_ssim=self.with_ms_ssim)
        self.qualities.append(quality._replace(**self.filters.measure(before, after)))
        if self.vmaf:
            self.vmaf.add(before, after)

    def finish(self) -> list[Quality]:
        """The qualities of all pairs so far; none can be added."""
        if not self.vmaf or not self.qualities:
            return self.qualities
        values = zip(self.qualities, self.vmaf.finish(), strict=True)
        return [quality._replace(vmaf=vmaf) for quality, vmaf in values]

    def close(self) -> None:
        if self.vmaf:
            self.vmaf.close()


def compare(
    reference: str,
    distorted: str,
    *,
    networks: Callable[[], Networks],
    size: tuple[int, int] | None = None,
    frame_rate: Fraction | None = None,
    raw_pixels: str | None = None,
    frames: int | None = None,
    with_ms_ssim: bool = True,
    jobs: Jobs = 1,
    tick: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare a video with its source, `frames` frames at most; `tick` is called after each.

    `networks` is called once there is a .bcv file to decode, by `jobs` processes (Auto: as many as
    help) or a crew. Raw planes need `size` (width, height) and `frame_rate` (Hz), or else have those of the
    reference, and so it is with `raw_pixels` (FFmpeg's name). Where one has 8 bits and the other 10, both are
    compared in 10. Raises VideoError, Unreadable, CodecError, ProcessKilled.
    """
    with ExitStack() as stack:
        decode = partial(_decoded, networks=networks, jobs=jobs, count=frames)
        ours = stack.enter_context(_opened(reference, decode, size, frame_rate, raw_pixels or PIXELS[8]))
        shape = size or (ours.format.width, ours.format.height), frame_rate or ours.format.frame_rate
        pixels = raw_pixels or PIXELS[ours.format.bit_depth]
        theirs = stack.enter_context(_opened(distorted, decode, *shape, pixels))
        of_both = [(c.format.width, c.format.height) for c in (ours, theirs)]
        if of_both[0] != of_both[1]:
            a, b = (f"{width}x{height}" for width, height in of_both)
            raise VideoError(f"{distorted}: is {b}, and {reference} is {a}")
        result = Comparison(distorted, theirs.codec, theirs.format, [], [], Fraction(0))
        depth = max(ours.format.bit_depth, theirs.format.bit_depth)
        format = replace(ours.format, bit_depth=depth)
        measures = stack.enter_context(closing(_Measures(format, with_ms_ssim=with_ms_ssim)))
        for before, after in islice(zip_longest(ours.frames, theirs.frames), frames):
            if before is None or after is None:
                how = "shorter" if after is None else "longer"
                compared = f"compared the first {len(measures.qualities)} frames"
                result.notices.append(f"{distorted} is {how} than {reference}: {compared}")
                break
            measures.add(before, after)
            tick()
        result.qualities = measures.finish()
    if not result.qualities:
        raise VideoError(f"{distorted}: has no frames")
    shown = range(len(result.qualities))
    result.sizes = [theirs.sizes.get(poc, 0) for poc in shown]
    result.duration = max(theirs.times.get(poc, Fraction(0)) for poc in shown) + 1 / theirs.format.frame_rate
    return result


@contextmanager
def _opened(
    path: str,
    decode: Callable[[CodedVideo, Opened], Generator[Frame, None, None]],
    size: tuple[int, int] | None,
    frame_rate: Fraction | None,
    raw_pixels: str,
) -> Iterator[Opened]:
    raw = path.lower().endswith(RAW_SUFFIXES)
    with open(path, "rb") as file:
        if coded := _coded(file, path):
            opened = Opened(path, f"bcodec {coded.header.model_id.hex()}", coded.header.video, iter(()))
            with closing(decode(coded, opened)) as opened.frames:
                yield opened
            return
    with VideoReader(
        path,
        size=size if raw else None,
        frame_rate=frame_rate if raw else None,
        raw_pixels=raw_pixels if raw else None,
        keep=(),
    ) as video:
        codec, packets = video_packets(path, video.format, raw_pixels)
        opened = Opened(path, codec, video.format, iter(()), dict(enumerate(packets)))
        opened.frames = _read(video, opened.times)
        yield opened


def _read(video: VideoReader, times: dict[int, Fraction]) -> Iterator[Frame]:
    """Give the pictures, and note when they are shown."""
    for count, (frame, time) in enumerate(video.timed()):
        times[count] = time
        yield frame


def _coded(file: BinaryIO, path: str) -> CodedVideo | None:
    """Open a .bcv file; None for another video."""
    try:
        return CodedVideo.open(file, path)
    except Unreadable as error:
        if isinstance(error.__cause__, NotBcv):
            return None
        raise


def _decoded(
    coded: CodedVideo,
    opened: Opened,
    networks: Callable[[], Networks],
    jobs: Jobs,
    count: int | None,
) -> Generator[Frame, None, None]:
    """Give the pictures, and note the size and time of each; Unreadable, which names the file, at damage."""
    done = 0
    try:
        with closing(pictures(coded, _measured(coded, opened), networks(), jobs, count)) as frames:
            for picture in frames:
                yield picture.frame
                done += 1
    except (BitstreamError, CodecError) as error:
        raise coded.unreadable(error, done) from error


def _measured(coded: CodedVideo, opened: Opened) -> Iterator[Packet]:
    for packet in coded.packets:
        if isinstance(packet, Packet):
            poc = packet.header.poc
            opened.sizes[poc] = coded.reader.last_size
            opened.times[poc] = opened.format.time(poc, packet.delay)
            yield packet


class RateChange(NamedTuple):
    """The BD-rate of a codec against an anchor, in percent at equal quality, by each name of RATED_BY.

    nan where there is none: too few points, or no range of quality in common.
    """

    codec: str
    anchor: str
    percent: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything in the words of JSON."""
        percent = {name: None if math.isnan(value) else value for name, value in self.percent.items()}
        return {"codec": self.codec, "anchor": self.anchor, "percent": percent}

    def to_row(self) -> str:
        """Lay out one line of a table."""
        cells = (
            f"{'-' if math.isnan(value) else f'{value:+.2f} %':>{max(len(RATED_BY[name]), 9)}}"
            for name, value in self.percent.items()
        )
        return f"{'  '.join(cells)}  {self.codec} against {self.anchor}"


def curves(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Sort by codec, in the order in which these come, and then by rate."""
    found: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        found.setdefault(comparison.codec, []).append(comparison)
    return {codec: sorted(points, key=lambda c: c.bitrate) for codec, points in found.items()}


def rate_changes(comparisons: Sequence[Comparison]) -> list[RateChange]:
    """The BD-rate of each codec but the first against the first, where both come at four rates or more."""
    (anchor, points), *others = curves(comparisons).items()
    result = []
    for codec, more in others:
        percent = {name: _rate_change(points, more, name) for name in RATED_BY}
        if not all(map(math.isnan, percent.values())):
            result.append(RateChange(codec, anchor, percent))
    return result


def _rate_change(anchor: list[Comparison], test: list[Comparison], measure: str) -> float:
    """The BD-rate in percent by one of RATED_BY; nan where there is none."""
    sides = [([c.bitrate for c in side], [getattr(c.mean, measure) for c in side]) for side in (anchor, test)]
    if any(math.isnan(quality) for _, qualities in sides for quality in qualities):
        return math.nan
    return bd_rate(*sides[0], *sides[1])


def to_table(comparisons: Sequence[Comparison]) -> str:
    """Lay out the means of all, of what was measured of any, and the BD-rates."""
    means = [comparison.mean for comparison in comparisons]
    columns = [("kbit/s", [f"{c.bitrate / 1000:.1f}" for c in comparisons])]
    columns.append(("bits/pixel", [f"{c.bits_per_pixel:.5f}" for c in comparisons]))
    for title, (name, decimals) in COLUMNS.items():
        values = [getattr(mean, name) for mean in means]
        if not all(map(math.isnan, values)):
            columns.append((title, ["-" if math.isnan(v) else f"{v:.{decimals}f}" for v in values]))
    columns.append(("frames", [str(len(c.qualities)) for c in comparisons]))
    widths = [max(map(len, (title, *cells))) for title, cells in columns]
    rows = zip(*([title, *cells] for title, cells in columns), strict=True)
    lines = ["  ".join(f"{c:>{width}}" for c, width in zip(row, widths, strict=True)) for row in rows]
    named = [
        f"{line}  {name}" for line, name in zip(lines, ("file", *(c.name for c in comparisons)), strict=True)
    ]
    if changes := rate_changes(comparisons):
        named.append("  ".join([*(f"{title:>9}" for title in RATED_BY.values()), "BD-rate"]))
        named += [change.to_row() for change in changes]
    return "\n".join(named)


# ---------------------------------------------------------------- drawing


def plot_to_png(comparisons: Sequence[Comparison], path: str) -> None:
    """Draw PSNR-YUV and bits of each frame; where a codec comes at several rates, its curves, too.

    These are by PSNR-YUV and by that of luma alone, which may order codecs otherwise.

    It needs matplotlib, which bcodec[plot] brings.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    by_codec = curves(comparisons)
    with_curves = any(len(points) > 1 for points in by_codec.values())
    figure = Figure(figsize=(9, 13 if with_curves else 6.5), layout="constrained")
    axes = figure.subplots(4 if with_curves else 2, 1)
    _over_frames(axes[0], axes[1], comparisons)
    if with_curves:
        _rate_and_quality(axes[2], comparisons, "psnr_yuv")
        _rate_and_quality(axes[3], comparisons, "psnr_y")
    figure.savefig(path, format="png", dpi=110)


def _over_frames(above: Axes, below: Axes, comparisons: Sequence[Comparison]) -> None:
    for comparison in comparisons:
        label = f"{Path(comparison.name).name} ({comparison.bitrate / 1000:.4g} kbit/s)"
        above.plot([quality.psnr_yuv for quality in comparison.qualities], label=label, linewidth=1)
        below.plot([size * 8 / 1000 for size in comparison.sizes], linewidth=1)
    above.set(ylabel="PSNR-YUV [dB]")
    above.legend(fontsize="small")
    below.set(xlabel="frame", ylabel="kbit", yscale="log")


def _rate_and_quality(axes: Axes, comparisons: Sequence[Comparison], measure: str) -> None:
    changes = {
        change.codec: f", BD-rate {change.percent[measure]:+.1f} %"
        for change in rate_changes(comparisons)
        if not math.isnan(change.percent[measure])
    }
    for codec, points in curves(comparisons).items():
        rates = [point.bitrate / 1000 for point in points]
        label = f"{codec}{changes.get(codec, '')}"
        axes.plot(rates, [getattr(point.mean, measure) for point in points], "o-", label=label)
    axes.set(xlabel="kbit/s", ylabel=f"{RATED_BY[measure]} [dB]", xscale="log")
    axes.legend(fontsize="small")
