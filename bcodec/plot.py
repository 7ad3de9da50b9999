"""Pictures of comparisons: PSNR and bits over the frames, and rate against quality (needs bcodec[plot])."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bcodec.compare import Comparison, curves, rate_changes


def plot(comparisons: Sequence[Comparison], path: str) -> None:
    """Write a PNG: PSNR-YUV and bits of each frame; where a codec comes at several rates, its curve, too."""
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
