"""`bcodec decode`: a .bcv file to a video."""

from __future__ import annotations

from fractions import Fraction

import click

from bcodec.cli import arguments
from bcodec.cli.console import log
from bcodec.cli.failures import Command
from bcodec.cli.progress import Progress
from bcodec.crew import Jobs
from bcodec.errors import Unreadable, UsageError, VideoError
from bcodec.pipeline.moments import Seconds
from bcodec.pipeline.opening import CodedVideo
from bcodec.pipeline.output import output_file, refuse_same_file
from bcodec.pipeline.stdio import open_input, shown
from bcodec.pipeline.tally import in_frames


@click.command(cls=Command)
@click.argument("names", type=arguments.FILE, metavar="IN [OUT]", nargs=-1)
@arguments.named_input
@click.option(
    "-o",
    "--output",
    "target",
    type=arguments.FILE,
    metavar="OUT",
    help="The video to write: .mkv (FFV1, lossless), .mp4 (H.264, of 10 bits H.265, near lossless), .y4m,"
    " .yuv; - is standard output, y4m if --format is not given.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["mkv", "mp4", "y4m", "yuv"]),
    help="What to write, whatever the name of OUT ends in.",
)
@click.option(
    "--bit-depth",
    type=click.Choice(["8", "10"]),
    help="Bits of a sample that are written: all is decoded in 10.  [default: those that were coded]",
)
@arguments.fps
@arguments.streams
@click.option("--strict", is_flag=True, help="Stop at the first damage, instead of going on behind it.")
@arguments.decoding_jobs
@arguments.common
def decode(
    *,
    names: tuple[str, ...],
    inputs: tuple[str, ...],
    target: str | None,
    kind: str | None,
    bit_depth: str | None,
    fps: Fraction | None,
    no_audio: bool,
    no_subtitles: bool,
    strict: bool,
    jobs: Jobs,
    start: int | Seconds,
    duration: int | Seconds | None,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Decode the .bcv file IN (- is standard input) to a video.

    Sound, subtitles, chapters, fonts, covers and tags that the source had come along into .mkv and .mp4, if
    these can hold them; what is left out or converted is told. From a damaged file comes
    every picture that is whole, a line for each gap, and exit status 1.

    \b
    bcodec decode holiday.bcv -o holiday.mkv
    bcodec decode holiday.bcv -o - --format mkv | mpv -
    """
    source, target = _source_and_target(arguments.names(inputs, names), target)
    part = arguments.part(start, duration, frames)
    refuse_same_file(source, target)
    kind = kind or _output_kind(target)
    if kind == "mp4" and target == "-":
        raise UsageError("--format mp4 needs a file; mkv can be written to standard output")
    with output_file(target, overwrite=overwrite) as path, open_input(source) as file:
        keep = arguments.kept(no_audio, no_subtitles)
        coded = CodedVideo.open(file, source, part, keep=keep)
        from bcodec.pipeline.jobs import FEW_TO_DECODE, start_early

        start_early(jobs, device, coded.header.video, coded.total, FEW_TO_DECODE)
        from bcodec.pipeline.decode import decode_file

        networks = arguments.networks(device, threads)
        with Progress() as progress:
            done = decode_file(
                coded,
                path,
                kind,
                networks,
                frame_rate=fps,
                bit_depth=int(bit_depth) if bit_depth else None,
                jobs=jobs,
                strict=strict,
                follow=progress,
            )
    if done.damage:
        where = " before the damage" if done.ended else ""
        kept = f"{in_frames(done.tally.frames)}{where} kept in {shown(target, 'output')}"
        raise Unreadable(f"{done.damage}; {kept}") from done.damage
    log.info(f"{done.tally.summary()} to {shown(target, 'output')}")


def _source_and_target(names: list[str], target: str | None) -> tuple[str, str]:
    source, *more = names
    if target is None and more:
        target, *more = more
    if more:
        raise UsageError(f"one input is decoded at a time, not also {more[0]}")
    if target is None:
        raise UsageError("Missing option '-o'.")
    return source, target


def _output_kind(target: str) -> str:
    from bcodec.video import output_kind

    try:
        return output_kind(target)
    except VideoError as error:
        raise UsageError(str(error)) from error
