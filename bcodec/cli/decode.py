"""`bcodec decode`: a .bcv file to a video."""

from __future__ import annotations

from fractions import Fraction

import click

from bcodec.cli import arguments
from bcodec.cli.console import log
from bcodec.cli.failures import Command
from bcodec.cli.progress import Progress
from bcodec.errors import Unreadable, UsageError, VideoError
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.output import output_file, refuse_same_file
from bcodec.pipeline.stdio import open_input, shown
from bcodec.pipeline.tally import in_frames


@click.command(cls=Command)
@click.argument("source", type=arguments.FILE, metavar="IN")
@click.option(
    "-o",
    "target",
    type=arguments.FILE,
    required=True,
    metavar="OUT",
    help="The video to write: .mkv (FFV1, lossless), .mp4 (H.264, near lossless), .y4m, .yuv; - is y4m on"
    " standard output.",
)
@arguments.fps
@arguments.streams
@arguments.common
def decode(
    *,
    source: str,
    target: str,
    fps: Fraction | None,
    no_audio: bool,
    no_subtitles: bool,
    start: int,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Decode the .bcv file IN (- is standard input) to a video.

    Sound, subtitles and tags that the source had come along into .mkv and .mp4, if these can hold them. From
    a damaged file comes everything before the damage, and exit status 1.

    \b
    bcodec decode holiday.bcv -o holiday.mkv
    bcodec decode holiday.bcv -o - --start 100 --frames 50 | ffplay -
    """
    refuse_same_file(source, target)
    with output_file(target, overwrite=overwrite) as path, open_input(source) as file:
        keep = arguments.kept(no_audio, no_subtitles)
        coded = CodedVideo.open(file, source, start=start, frames=frames, keep=keep)
        from bcodec.pipeline.decode import decode_file

        kind, networks = _output_kind(target), arguments.networks(device, threads)
        with Progress() as progress:
            done = decode_file(coded, path, kind, networks, frame_rate=fps, follow=progress)
    if done.damage:
        kept = f"{in_frames(done.tally.frames)} before the damage kept in {shown(target, 'output')}"
        raise Unreadable(f"{done.damage}; {kept}") from done.damage
    log.info(f"{done.tally.summary()} to {shown(target, 'output')}")


def _output_kind(target: str) -> str:
    from bcodec.video import output_kind

    try:
        return output_kind(target)
    except VideoError as error:
        raise UsageError(str(error)) from error
