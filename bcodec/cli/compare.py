"""`bcodec compare`: videos beside their source, in numbers or drawn."""

from __future__ import annotations

import json
from contextlib import nullcontext
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain

import click

from bcodec.cli import arguments
from bcodec.cli.console import log, show
from bcodec.cli.failures import Command
from bcodec.cli.progress import bar
from bcodec.crew import Jobs
from bcodec.pipeline.output import whole_file


@click.command(cls=Command)
@click.argument("reference", type=arguments.FILE, metavar="REF")
@click.argument("distorted", type=arguments.FILE, metavar="DIST...", nargs=-1, required=True)
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Frames at most.  [default: all]")
@arguments.raw_video
@click.option("--ms-ssim/--no-ms-ssim", default=True, help="Measure MS-SSIM, which takes most of the time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the values of each frame.")
@click.option(
    "--plot", type=arguments.FILE, metavar="FILE", help="Draw PSNR, bits and rates into a PNG file."
)
@click.option("-y", "--overwrite", is_flag=True, help="Replace the PNG file where it exists.")
@arguments.decoding_jobs
@arguments.computing
def compare(
    *,
    reference: str,
    distorted: tuple[str, ...],
    frames: int | None,
    size: tuple[int, int] | None,
    fps: Fraction | None,
    pix_fmt: str | None,
    ms_ssim: bool,
    as_json: bool,
    plot: str | None,
    overwrite: bool,
    jobs: Jobs,
    device: str,
    threads: int | None,
) -> None:
    """Tell how near each video DIST is to its source REF, and how many bits it takes.

    They are .bcv files or any other video. PSNR and XPSNR are in dB, SSIM and MS-SSIM are of luma, VMAF is
    there where the installed FFmpeg has libvmaf; all are means over frames. Where one video has 8 bits and
    the other 10, both are compared in 10. YUV weighs the planes 6:1:1. Bits
    are those of the packets of the pictures. Of codecs that come at four rates or more the BD-rate is told
    against the first one, by PSNR and XPSNR, of YUV and of luma alone.

    \b
    bcodec compare clip.y4m clip.bcv
    bcodec compare clip.y4m ours-*.bcv x264-*.mp4 --plot curves.png
    """
    if plot and find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: pip install 'bcodec[plot]'")
    with whole_file(plot, overwrite=overwrite) if plot else nullcontext("") as picture:
        from bcodec.pipeline.compare import compare as compared
        from bcodec.pipeline.compare import plot_to_png, rate_changes, to_table

        networks = cache(partial(arguments.networks, device, threads))
        with bar(None) as shown:
            found = [
                compared(
                    reference,
                    name,
                    networks=networks,
                    size=size,
                    frame_rate=fps,
                    raw_pixels=pix_fmt,
                    frames=frames,
                    with_ms_ssim=ms_ssim,
                    jobs=jobs,
                    tick=shown.update,
                )
                for name in distorted
            ]
        for notice in chain.from_iterable(comparison.notices for comparison in found):
            log.warning(notice)
        if plot:
            plot_to_png(found, picture)
    if as_json:
        changes = [change.to_dict() for change in rate_changes(found)]
        videos = [comparison.to_dict() for comparison in found]
        show(json.dumps({"reference": reference, "videos": videos, "bd_rate": changes}, indent=2))
    else:
        show(to_table(found))
