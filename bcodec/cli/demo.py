"""`bcodec demo`: the other commands, one after the other, on a clip that it makes."""

from __future__ import annotations

import os
import shlex

import click

from bcodec.bitstream import MAX_QP
from bcodec.cli import arguments
from bcodec.cli.console import show
from bcodec.cli.failures import Command
from bcodec.pipeline.output import whole_file


@click.command(cls=Command)
@click.option(
    "-o", "folder", type=arguments.FOLDER, default="bcodec-demo", metavar="DIR", help="Where to write."
)
@click.option("-q", "qp", type=arguments.Number(0, MAX_QP), default=32, metavar="N", help="As of encode.")
@click.option("--frames", type=click.IntRange(1, 1000), default=17, metavar="N", help="Frames of the clip.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace what is there.")
@arguments.computing
def demo(*, folder: str, qp: float, frames: int, overwrite: bool, device: str, threads: int | None) -> None:
    """Make a clip, encode it, decode it, compare the two, and put them side by side in a picture.

    It writes clip.mkv, clip.bcv, decoded.mkv and side-by-side.png, and prints the commands that it runs.
    """
    clip, coded, decoded, picture = (
        os.path.join(folder, name) for name in ("clip.mkv", "clip.bcv", "decoded.mkv", "side-by-side.png")
    )
    os.makedirs(folder, exist_ok=True)
    with whole_file(clip, overwrite=overwrite) as path:
        from bcodec.pipeline.demo import make_clip, side_by_side

        make_clip(path, frames)
    commands = click.get_current_context().find_root().command
    computing = ["--device", device, *(["--threads", str(threads)] if threads else [])]
    again = ["-y"] if overwrite else []
    for words in (
        ["encode", clip, "-o", coded, "-q", f"{qp:g}", *again],
        ["decode", coded, "-o", decoded, *again],
        ["compare", clip, coded],
    ):
        show(f"$ bcodec {shlex.join(words)}")
        with commands.make_context("bcodec", [*words, *computing]) as context:
            commands.invoke(context)
    with whole_file(picture, overwrite=overwrite) as path:
        side_by_side(clip, decoded, frames // 2, path)
    show(f"{picture}: frame {frames // 2}, the source on the left, what was decoded on the right")
