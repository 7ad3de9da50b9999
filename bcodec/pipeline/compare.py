"""How near videos are to their source, and how many bits they take: .bcv files and any other video."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bcodec.bitstream import BitstreamReader, Packet, VideoFormat
from bcodec.codec import decode
from bcodec.errors import NotBcv, VideoError
from bcodec.frame import Frame
from bcodec.metrics import Quality, bd_rate, bits_per_pixel
from bcodec.networks import Networks
from bcodec.video import RAW_SUFFIXES, VideoReader, video_packets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLE_HEAD = "  kbit/s  bits/pixel   PSNR Y      U      V    YUV  MS-SSIM  frames  file"


@dataclass
class Opened:
    """A video to be compared: pictures in display order, and the bytes of their packets as far as read.

    `sizes` is by display index; a frame that is not there took no bytes of its own.
    """

    name: str
    codec: str
    format: VideoFormat
    frames: Iterator[Frame]
    sizes: dict[int, int] = field(default_factory=dict)


@dataclass
class Comparison:
    """One video beside its source: the quality and bytes of each frame that was compared."""

    name: str
    codec: str
    format: VideoFormat
    qualities: list[Quality]
    sizes: list[int]
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
        return float(sum(self.sizes) * 8 * self.format.frame_rate / len(self.sizes))

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

    def to_row(self) -> str:
        """Lay out one line of a table, less the name."""
        mean = self.mean
        psnr = "  ".join(f"{value:5.2f}" for value in (*mean[:3], mean.psnr_yuv))
        similarity = "      -" if math.isnan(mean.ms_ssim) else f"{mean.ms_ssim:7.5f}"
        rate = f"{self.bitrate / 1000:8.1f}  {self.bits_per_pixel:10.5f}"
        return f"{rate}    {psnr}  {similarity}  {len(self.qualities):6}"


def _in_words(quality: Quality) -> dict[str, float | None]:
    values = {**quality._asdict(), "psnr_yuv": quality.psnr_yuv}
    return {name: None if math.isnan(value) else round(value, 6) for name, value in values.items()}


def compare(
    reference: str,
    distorted: str,
    *,
    networks: Callable[[], Networks],
    size: tuple[int, int] | None = None,
    frame_rate: Fraction | None = None,
    frames: int | None = None,
    with_ms_ssim: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare a video with its source, `frames` frames at most; `tick` is called after each.

    `networks` is called once there is a .bcv file to decode. Raw planes need `size` (width, height) and
    `frame_rate` (Hz), or else have those of the reference. Raises VideoError, BitstreamError, CodecError.
    """
    with ExitStack() as stack:
        ours = stack.enter_context(_opened(reference, networks, size, frame_rate))
        shape = size or (ours.format.width, ours.format.height), frame_rate or ours.format.frame_rate
        theirs = stack.enter_context(_opened(distorted, networks, *shape))
        of_both = [(c.format.width, c.format.height) for c in (ours, theirs)]
        if of_both[0] != of_both[1]:
            a, b = (f"{width}x{height}" for width, height in of_both)
            raise VideoError(f"{distorted}: is {b}, and {reference} is {a}")
        result = Comparison(distorted, theirs.codec, theirs.format, [], [])
        for before, after in islice(zip_longest(ours.frames, theirs.frames), frames):
            if before is None or after is None:
                how = "shorter" if after is None else "longer"
                compared = f"compared the first {len(result.qualities)} frames"
                result.notices.append(f"{distorted} is {how} than {reference}: {compared}")
                break
            result.qualities.append(Quality.of(before.planes, after.planes, with_ms_ssim=with_ms_ssim))
            tick()
    if not result.qualities:
        raise VideoError(f"{distorted}: has no frames")
    result.sizes = [theirs.sizes.get(poc, 0) for poc in range(len(result.qualities))]
    return result


@contextmanager
def _opened(
    path: str, networks: Callable[[], Networks], size: tuple[int, int] | None, frame_rate: Fraction | None
) -> Iterator[Opened]:
    raw = path.lower().endswith(RAW_SUFFIXES)
    try:
        with open(path, "rb") as file:
            reader = BitstreamReader(file)
            opened = Opened(path, f"bcodec {reader.header.model_id.hex()}", reader.header.video, iter(()))
            opened.frames = decode(_measured(reader, opened.sizes), reader.header, networks())
            yield opened
    except NotBcv:
        pass
    else:
        return
    with VideoReader(
        path, size=size if raw else None, frame_rate=frame_rate if raw else None, keep=()
    ) as video:
        codec, sizes = video_packets(path, video.format)
        yield Opened(path, codec, video.format, iter(video), dict(enumerate(sizes)))


def _measured(reader: BitstreamReader, sizes: dict[int, int]) -> Iterator[Packet]:
    """Give the frame packets, and note the size of each."""
    for packet in reader.frames():
        sizes[packet.header.poc] = reader.last_size
        yield packet


class RateChange(NamedTuple):
    """The BD-rate of a codec against an anchor, in percent at equal PSNR-YUV; nan where there is none."""

    codec: str
    anchor: str
    percent: float


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
        sides = [([c.bitrate for c in side], [c.mean.psnr_yuv for c in side]) for side in (points, more)]
        percent = bd_rate(*sides[0], *sides[1])
        if not math.isnan(percent):
            result.append(RateChange(codec, anchor, percent))
    return result


def to_table(comparisons: Sequence[Comparison]) -> str:
    """Lay out the means of all, and the BD-rates."""
    lines = [TABLE_HEAD, *(f"{comparison.to_row()}  {comparison.name}" for comparison in comparisons)]
    for change in rate_changes(comparisons):
        lines.append(f"BD-rate (PSNR YUV) of {change.codec} against {change.anchor}: {change.percent:+.2f} %")
    return "\n".join(lines)


# ---------------------------------------------------------------- drawing


def plot_to_png(comparisons: Sequence[Comparison], path: str) -> None:
    """Draw PSNR-YUV and bits of each frame; where a codec comes at several rates, its curve, too.

    It needs matplotlib, which bcodec[plot] brings.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    by_codec = curves(comparisons)
    with_curves = any(len(points) > 1 for points in by_codec.values())
    figure = Figure(figsize=(9, 10 if with_curves else 6.5), layout="constrained")
    axes = figure.subplots(3 if with_curves else 2, 1)
    _over_frames(axes[0], axes[1], comparisons)
    if with_curves:
        _rate_and_quality(axes[2], comparisons)
    figure.savefig(path, format="png", dpi=110)


def _over_frames(above: Axes, below: Axes, comparisons: Sequence[Comparison]) -> None:
    for comparison in comparisons:
        label = f"{Path(comparison.name).name} ({comparison.bitrate / 1000:.4g} kbit/s)"
        above.plot([quality.psnr_yuv for quality in comparison.qualities], label=label, linewidth=1)
        below.plot([size * 8 / 1000 for size in comparison.sizes], linewidth=1)
    above.set(ylabel="PSNR-YUV [dB]")
    above.legend(fontsize="small")
    below.set(xlabel="frame", ylabel="kbit", yscale="log")


def _rate_and_quality(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    changes = {change.codec: f", BD-rate {change.percent:+.1f} %" for change in rate_changes(comparisons)}
    for codec, points in curves(comparisons).items():
        rates = [point.bitrate / 1000 for point in points]
        label = f"{codec}{changes.get(codec, '')}"
        axes.plot(rates, [point.mean.psnr_yuv for point in points], "o-", label=label)
    axes.set(xlabel="kbit/s", ylabel="PSNR-YUV [dB]", xscale="log")
    axes.legend(fontsize="small")
