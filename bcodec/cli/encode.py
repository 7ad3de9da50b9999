"""`bcodec encode`: one video or many, each to a .bcv file."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from bcodec.bitstream import MAX_FRAMES, MAX_GOP_SIZE, MAX_QP
from bcodec.bitstream.sidecar import StreamKind
from bcodec.cli import arguments
from bcodec.cli.console import log, say, show
from bcodec.cli.failures import Command, explain
from bcodec.cli.progress import Progress
from bcodec.crew import Jobs
from bcodec.encoder.effort import PRESETS
from bcodec.errors import DamagedInput, UsageError
from bcodec.gop import GOP_SIZE, KEYINT
from bcodec.pipeline.batch import encode_all, targets_in, to_table
from bcodec.pipeline.inspect import readable_bytes
from bcodec.pipeline.moments import Part, Seconds, Steady
from bcodec.pipeline.output import output_file, refuse_same_file, whole_file
from bcodec.pipeline.plan import Plan, one_goal
from bcodec.pipeline.stdio import check_standard_input, open_text, shown

if TYPE_CHECKING:
    from bcodec.pipeline.passes import Encoded
    from bcodec.video import VideoReader

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".mpg", ".y4m", ".yuv", ".i420")


@click.command(cls=Command)
@click.argument("sources", type=arguments.FILE, metavar="IN...", nargs=-1)
@arguments.named_input
@click.option(
    "-o",
    "--output",
    "target",
    type=arguments.FILE,
    metavar="OUT",
    help="The .bcv file to write; - is standard output.",
)
@click.option(
    "--out-dir",
    type=arguments.FOLDER,
    metavar="DIR",
    help="Write DIR/NAME.bcv for each IN. What is complete there is skipped; a failure does not end it.",
)
@click.option(
    "-q",
    "qp",
    type=arguments.Number(0, MAX_QP),
    default=32,
    metavar="N",
    help="Quality: higher is better and bigger. Eighths count: 32.5.",
)
@click.option(
    "--bitrate",
    type=arguments.amount,
    metavar="B",
    help="Bits per second of the pictures, instead of -q, within 5 %: 800k, 2M. Codes all several times.",
)
@click.option(
    "--max-size",
    type=arguments.amount,
    metavar="B",
    help="Bytes of OUT at most, instead of -q, and hardly less: 20M. Codes all several times.",
)
@click.option(
    "--target-psnr",
    type=arguments.Number(15, 60),
    metavar="DB",
    help="Mean PSNR (YUV 6:1:1) of each GOP, instead of -q, within 0.2 dB. Codes all several times.",
)
@click.option(
    "--target-xpsnr",
    type=arguments.Number(15, 60),
    metavar="DB",
    help="Mean XPSNR of luma of each GOP, instead of -q, within 0.2 dB. Codes all several times.",
)
@click.option(
    "--gop",
    type=click.IntRange(1, MAX_GOP_SIZE),
    metavar="N",
    help=f"Frames from one anchor, I or B*, to the next.  [default: {GOP_SIZE}, or --keyint if that is less]",
)
@click.option(
    "--keyint",
    type=click.IntRange(1, MAX_FRAMES),
    default=KEYINT,
    metavar="N",
    help="Frames from one I frame to the next at most; more are coded where they pay. 1 is all I frames.",
)
@click.option(
    "--preset",
    type=click.Choice(list(PRESETS)),
    default="medium",
    help="How much is tried for each frame: time against size.",
)
@arguments.raw_size
@arguments.raw_pixels
@arguments.fps
@click.option(
    "--bit-depth",
    type=click.Choice(["8", "10"]),
    help="Bits of a sample that are coded.  [default: those of IN; of more than 10, 10]",
)
@click.option(
    "--deinterlace", is_flag=True, help="Make frames of fields (bwdif); interlaced video is else refused."
)
@click.option(
    "--autoscale",
    is_flag=True,
    help="Scale pictures whose size changes to that of the first; such video is else refused.",
)
@arguments.streams
@click.option(
    "--video",
    type=click.IntRange(0),
    metavar="N",
    help="Code video stream N, from 0.  [default: the film, not a cover or a track of one picture]",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Stop at damage in IN and write nothing; else the encode goes on behind it.",
)
@click.option(
    "--scene-cut/--no-scene-cut",
    default=True,
    help="Begin each scene with an I frame, or do not look for scenes.",
)
@click.option(
    "--temporal-filter/--no-temporal-filter",
    default=True,
    help="Free the frames that others refer to of what comes and goes, noise above all, or code them as they"
    " are.",
)
@click.option(
    "--psnr", is_flag=True, help="Tell PSNR, XPSNR (dB) and SSIM of the decoded pictures, mean over frames."
)
@click.option(
    "--log-json",
    type=arguments.FILE,
    metavar="FILE",
    help="Write a line of JSON for each frame (bits, PSNR in dB, seconds), then a summary; - is standard"
    " output.",
)
@click.option("--verify", is_flag=True, help="Decode the result before it takes its name.")
@arguments.jobs("Processes that code GOPs at the same time, each on one CPU thread. The bytes are the same;")
@click.option(
    "--resume",
    is_flag=True,
    help="Keep an unfinished file (.OUT.part) if the encode is ended, and go on with it if it is there.",
)
@arguments.common
@click.pass_context
def encode(
    context: click.Context,
    /,
    *,
    sources: tuple[str, ...],
    inputs: tuple[str, ...],
    target: str | None,
    out_dir: str | None,
    qp: float,
    bitrate: float | None,
    max_size: float | None,
    target_psnr: float | None,
    target_xpsnr: float | None,
    gop: int | None,
    keyint: int,
    preset: str,
    size: tuple[int, int] | None,
    pix_fmt: str | None,
    fps: Fraction | None,
    bit_depth: str | None,
    deinterlace: bool,
    autoscale: bool,
    no_audio: bool,
    no_subtitles: bool,
    video: int | None,
    strict: bool,
    scene_cut: bool,
    temporal_filter: bool,
    psnr: bool,
    log_json: str | None,
    verify: bool,
    jobs: Jobs,
    resume: bool,
    start: int | Seconds,
    duration: int | Seconds | None,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Encode the video IN to a .bcv file. Sound, subtitles, chapters, fonts and covers are kept.

    Where IN is damaged, the encode goes on behind the damage, says how much there is, and ends with exit
    status 1; OUT is whole.

    IN is any video that FFmpeg reads, - for standard input, numbered pictures (shot%04d.png; give --fps), or
    raw planes (.yuv, .i420 or -; give --size, --fps and, unless 8-bit 4:2:0, --pix-fmt).

    \b
    bcodec encode holiday.mp4 -o holiday.bcv -q 40
    bcodec encode holiday.mp4 -o holiday.bcv --bitrate 800k --psnr
    bcodec encode *.mp4 --out-dir coded
    ffmpeg -i in.mkv -f yuv4mpegpipe - | bcodec encode - -o out.bcv
    """
    goals = {
        "bitrate": bitrate,
        "max_size": max_size,
        "target_psnr": target_psnr,
        "target_xpsnr": target_xpsnr,
    }
    if context.get_parameter_source("qp") is not ParameterSource.DEFAULT:
        one_goal(qp=qp, **goals)
    plan = Plan(**goals, jobs=jobs, resume=resume, verify=verify, filters=psnr)
    part = arguments.part(start, duration, frames)
    # On an H200 a frame took longer than on one core: it waits for thousands of small kernels (E728).
    device = "cpu" if device == "auto" else device
    networks = cache(partial(arguments.networks, device, threads))
    gop = min(GOP_SIZE, keyint) if gop is None else gop
    if keyint < gop:
        raise UsageError(f"--keyint {keyint} is below --gop {gop}: each I frame is an anchor, too")

    def encode_one(source: str, target: str) -> None:
        refuse_same_file(source, target)
        _check_target(target)
        if source == "-":
            check_standard_input()
        _check_log(log_json, source, target)
        plan.check_output(target)
        with (
            _log_path(log_json, overwrite) as log_path,
            output_file(target, overwrite=overwrite, resume=resume) as path,
            open_text(log_path) as log_file,
        ):
            from bcodec.pipeline.jobs import FEW_TO_ENCODE, start_early
            from bcodec.video import VideoReader

            _check_raw(source, size, fps, pix_fmt)
            whole = partial(
                VideoReader,
                source,
                size=size,
                frame_rate=fps,
                deinterlace=deinterlace,
                autoscale=autoscale,
                video=video,
                strict=strict,
                repeatable=plan.is_search,
                bit_depth=int(bit_depth) if bit_depth else None,
                raw_pixels=pix_fmt,
            )
            keep = arguments.kept(no_audio, no_subtitles)
            with _opened(part, whole, source, keep) as (reader, reopen), Progress() as progress:
                if not plan.holds_quality:
                    start_early(jobs, device, reader.format, reader.frame_count, FEW_TO_ENCODE)
                from bcodec.encoder.encode import Settings
                from bcodec.pipeline.encode import encode_file

                encoded = encode_file(
                    reader,
                    path,
                    Settings(qp, gop, keyint, scene_cut, preset, temporal_filter),
                    networks(),
                    plan,
                    reopen=reopen,
                    log_file=log_file,
                    follow=progress,
                )
        _tell(encoded, target, psnr=psnr)
        if encoded.damage:
            rest = f"the rest is in {shown(target, 'output')}"
            raise DamagedInput(f"{shown(source, 'input')}: {encoded.damage}; {rest}")

    names = arguments.names(inputs, sources)
    if out_dir is None:
        encode_one(names[0], _only_target(names, target))
    else:
        _encode_all(names, out_dir, encode_one, overwrite=overwrite, alone=target or log_json)


def _tell(encoded: Encoded, target: str, *, psnr: bool) -> None:
    """Say what came of it."""
    tally = encoded.tally
    result = f"{readable_bytes(encoded.size)}, pictures {tally.bitrate()}"
    log.info(f"{tally.summary()}: {result} to {shown(target, 'output')}")
    if psnr:
        for line in encoded.journal.to_lines():
            say(line)


def _only_target(sources: list[str], target: str | None) -> str:
    """Where to write; of two names without -o the second, if it is one of a .bcv file."""
    if target is None and len(sources) == 2 and sources[1].lower().endswith(".bcv"):
        return sources[1]
    if target is None:
        raise UsageError("Missing option '-o', or --out-dir for several inputs.")
    if len(sources) > 1:
        raise UsageError("several inputs need --out-dir, not -o")
    return target


def _check_target(target: str) -> None:
    suffix = os.path.splitext(target)[1].lower()
    if suffix in VIDEO_SUFFIXES:
        raise UsageError(f"{target}: encode writes a .bcv file; decode makes a video like {suffix} of one")


@contextmanager
def _opened(
    part: Part, whole: Callable[..., VideoReader], source: str, keep: Collection[StreamKind]
) -> Iterator[tuple[VideoReader, Callable[[], VideoReader] | None]]:
    """The part that is wanted, and what opens it once more where that can be done.

    Of a pipe, times are known once all has come: it is copied, unless it is planes alone at a constant rate.
    """
    with ExitStack() as stack:
        again = whole if _can_reopen(source) else None
        copied: VideoReader | None = None
        first, count = 0, None
        if not part.in_time:
            first, count = part.in_frames(Steady(Fraction(1)))
        elif again:
            with again() as reader:
                first, count = part.in_frames(reader)
        else:
            copied = stack.enter_context(whole(keep=keep, repeatable=True))
            (first, count), again = part.in_frames(copied), copied.again
            if not again:
                copied.limit(first, count)
                yield copied, None
                return
        open_part = partial(again or whole, start=first, frames=count, keep=keep)
        reader = stack.enter_context(open_part())
        reader.notices[:0] = copied.notices if copied else []
        yield reader, open_part if again else None


def _can_reopen(source: str) -> bool:
    from bcodec.video.reader import is_sequence

    return os.path.isfile(source) or is_sequence(source)


def _encode_all(
    sources: list[str],
    folder: str,
    encode_one: Callable[[str, str], None],
    *,
    overwrite: bool,
    alone: str | None,
) -> None:
    """Encode each input into the folder, and print a table of what became of it."""
    if alone or "-" in sources:
        raise UsageError("--out-dir takes files, and neither -o nor --log-json nor standard input")
    targets = targets_in(folder, sources)
    os.makedirs(folder, exist_ok=True)
    outcomes = []
    for outcome in encode_all(targets, encode_one, explain, overwrite=overwrite):
        outcomes.append(outcome)
        if outcome.is_bad:
            log.error(f"error: {outcome.detail}")
        elif outcome.state == "skipped":
            log.info(f"{outcome.target}: {outcome.detail}")
    show(to_table(outcomes))
    states = [outcome.state for outcome in outcomes]
    failed, damaged = states.count("failed"), states.count("damaged")
    if failed or damaged:
        bad = [f"{failed} of {len(states)} inputs failed"] * bool(failed)
        bad += [f"{damaged} of {len(states)} inputs {'was' if damaged == 1 else 'were'} damaged"] * bool(
            damaged
        )
        raise click.ClickException(", ".join(bad))


def _check_log(log_json: str | None, source: str, target: str) -> None:
    if log_json is not None:
        refuse_same_file(source, log_json)
        refuse_same_file(target, log_json)
        if log_json == target == "-":
            raise UsageError("the video and --log-json cannot both be standard output")


def _log_path(log_json: str | None, overwrite: bool) -> AbstractContextManager[str | None]:
    if log_json in (None, "-"):  # lines may go to a terminal, a video may not
        return nullcontext(log_json)
    return whole_file(log_json, overwrite=overwrite)


def _check_raw(source: str, size: tuple[int, int] | None, fps: Fraction | None, pix_fmt: str | None) -> None:
    from bcodec.video import RAW_SUFFIXES

    raw = source.lower().endswith(RAW_SUFFIXES) or (source == "-" and size is not None)
    if raw and not (size and fps):
        raise UsageError(
            f"{shown(source, 'input')}: raw video does not say its size and rate; give --size WxH and --fps R"
        )
    if not raw and (size or pix_fmt):
        raise UsageError(
            f"{'--size' if size else '--pix-fmt'} is for raw video only ({', '.join(RAW_SUFFIXES)})"
        )
