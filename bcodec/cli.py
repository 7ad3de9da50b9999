"""The command line: which commands and options there are; it alone prints results and exits.

Heavy modules (torch, PyAV) are imported inside the commands: help and usage errors come at once.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain, islice
from typing import TYPE_CHECKING, BinaryIO

import click
from click.core import ParameterSource
from click.shell_completion import shell_complete

from bcodec import __version__, arguments, console
from bcodec.bitstream import (
    MAX_GOP_SIZE,
    MAX_QP,
    AuxiliaryPacket,
    BitstreamError,
    BitstreamReader,
    Packet,
)
from bcodec.inspection import inspect
from bcodec.output import whole_file
from bcodec.streams import Beside, Window, leading, run_on

if TYPE_CHECKING:
    from bcodec.networks import Networks
    from bcodec.video import VideoReader

MOST_JOBS = 64
# what Python says; torch on CPU; oneDNN within it; torch on GPU
OUT_OF_MEMORY = "MemoryError|allocate memory|could not create a (primitive|memory)|out of memory"

COMPLETION = "_BCODEC_COMPLETE"  # the variable by which a shell asks

log = console.log


# ---------------------------------------------------------------- from arguments to an exit status


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 if all went well, 1 for bad data or a failure, 2 for wrong usage, 128 + n when ended by signal n (130 is
    Ctrl-C, 143 SIGTERM, 141 a reader of standard output that went away). A problem is told in one line.
    """
    if COMPLETION in os.environ:
        return shell_complete(commands, {}, "bcodec", COMPLETION, os.environ[COMPLETION])
    try:
        with console.signals_raised(), console.screen():
            given = list(sys.argv[1:] if words is None else words)
            with commands.make_context("bcodec", given) as context:
                commands.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except (console.Stopped, KeyboardInterrupt) as stop:
        console.say("interrupted")
        return 128 + (stop.number if isinstance(stop, console.Stopped) else signal.SIGINT)
    except Exception as error:
        console.let_go_of_stdout()
        if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
            return 128 + 13  # SIGPIPE
        message = _explain(error)
        if message is None:
            raise
        console.say(f"error: {message}")
        return error.exit_code if isinstance(error, click.ClickException) else 1
    return 0


def _explain(error: Exception) -> str | None:
    """Say in one line what a user may meet; None for what only a bug can raise."""
    if isinstance(error, click.UsageError) and error.ctx:
        return f"{error.format_message()} (see '{error.ctx.command_path} --help')"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, FileExistsError):
        return f"{error.filename}: exists already (-y overwrites it)"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    if isinstance(error, MemoryError | RuntimeError) and re.search(OUT_OF_MEMORY, repr(error)):
        return "out of memory"

    from bcodec.codec import CodecError
    from bcodec.networks import WeightsError
    from bcodec.video import VideoError

    known = BitstreamError, CodecError, VideoError, WeightsError
    return str(error) if isinstance(error, known) else None


CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(context_settings=CONTEXT, no_args_is_help=False)
@click.version_option(__version__, prog_name="bcodec", message="%(prog)s %(version)s")
def commands() -> None:
    """A neural video codec: video in, a small .bcv file, and the same picture out on every machine.

    Exit status: 0 all went well, 1 bad data or a failure, 2 wrong usage, 130 Ctrl-C.
    """


# ---------------------------------------------------------------- encode


@commands.command()
@click.argument("sources", type=arguments.FILE, metavar="IN...", nargs=-1, required=True)
@click.option(
    "-o", "target", type=arguments.FILE, metavar="OUT", help="The .bcv file to write; - is standard output."
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
    type=click.IntRange(0, MAX_QP),
    default=32,
    metavar="N",
    help="Quality: higher is better and bigger.",
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
    type=click.FloatRange(15, 60),
    metavar="DB",
    help="Mean PSNR (YUV 6:1:1) of each GOP, instead of -q, within 0.2 dB. Codes all several times.",
)
@click.option(
    "--gop",
    type=click.IntRange(1, MAX_GOP_SIZE),
    default=32,
    metavar="N",
    help="Frames from one I frame to the next; 1 is all I frames.",
)
@arguments.raw_video
@click.option(
    "--deinterlace", is_flag=True, help="Make frames of fields (bwdif); interlaced video is else refused."
)
@arguments.streams
@click.option(
    "--scene-cut/--no-scene-cut", default=True, help="Begin each scene with an I frame, or only each GOP."
)
@click.option("--psnr", is_flag=True, help="Tell the PSNR of the decoded pictures, mean over frames, in dB.")
@click.option(
    "--log-json",
    type=arguments.FILE,
    metavar="FILE",
    help="Write a line of JSON for each frame (bits, PSNR in dB, seconds), then a summary; - is standard"
    " output.",
)
@click.option("--verify", is_flag=True, help="Decode the result before it takes its name.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    default=1,
    metavar="N",
    help="Processes that code GOPs at the same time, each on one CPU thread. The bytes are the same.",
)
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
    target: str | None,
    out_dir: str | None,
    qp: int,
    bitrate: float | None,
    max_size: float | None,
    target_psnr: float | None,
    gop: int,
    size: tuple[int, int] | None,
    fps: Fraction | None,
    deinterlace: bool,
    no_audio: bool,
    no_subtitles: bool,
    scene_cut: bool,
    psnr: bool,
    log_json: str | None,
    verify: bool,
    jobs: int,
    resume: bool,
    start: int,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Encode the video IN to a .bcv file. Sound and subtitles are kept as they are.

    IN is any video that FFmpeg reads, raw 4:2:0 planes (.yuv, .i420; give --size and --fps), or - for y4m on
    standard input.

    \b
    bcodec encode holiday.mp4 -o holiday.bcv -q 40
    bcodec encode holiday.mp4 -o holiday.bcv --bitrate 800k --psnr
    bcodec encode *.mp4 --out-dir coded
    ffmpeg -i in.mkv -f yuv4mpegpipe - | bcodec encode - -o out.bcv
    """
    networks = cache(partial(_networks, device, threads))

    def encode_one(source: str, target: str) -> None:
        _refuse_same_file(source, target)
        if source == "-":
            console.check_standard_input()
        _check_log(log_json, source, target)
        _check_contradictions(context, target)
        with _output(target, overwrite, resume) as path, console.open_text(log_json) as log_file:
            from bcodec.codec import Settings
            from bcodec.encoding import Encoder, fit, repeatable, rewritable
            from bcodec.video import VideoReader

            _check_raw(source, size, fps)

            def open_input() -> VideoReader:
                return VideoReader(
                    source,
                    size=size,
                    frame_rate=fps,
                    start=start,
                    frames=frames,
                    keep=arguments.kept(no_audio, no_subtitles),
                    deinterlace=deinterlace,
                )

            with open_input() as reader:
                work = Encoder(Settings(qp, gop, scene_cut), networks(), jobs, resume, target_psnr)
                if bitrate or max_size:
                    with (
                        rewritable(path, target) as file,
                        repeatable(source, reader, open_input, work) as read_again,
                    ):
                        done = fit(work, read_again, file, log_file, bitrate=bitrate, max_size=max_size)
                else:
                    done = work.run(reader, path, log_file)
            if verify:
                with open(path, "rb") as coded_file:
                    _decode_frames(coded_file, target, work.networks)
        done.tell(target, target_psnr, psnr=psnr)

    if out_dir is None:
        encode_one(sources[0], _only_target(sources, target))
    else:
        _encode_all(sources, out_dir, encode_one, overwrite=overwrite, alone=target or log_json)


def _only_target(sources: tuple[str, ...], target: str | None) -> str:
    if target is None:
        raise click.UsageError("Missing option '-o', or --out-dir for several inputs.")
    if len(sources) > 1:
        raise click.UsageError("several inputs need --out-dir, not -o")
    return target


def _encode_all(
    sources: tuple[str, ...],
    folder: str,
    encode_one: Callable[[str, str], None],
    *,
    overwrite: bool,
    alone: str | None,
) -> None:
    """Encode each input into the folder, and print a table of what became of it."""
    from bcodec.batch import encode_all, targets_in, to_table

    if alone or "-" in sources:
        raise click.UsageError("--out-dir takes files, and neither -o nor --log-json nor standard input")
    try:
        targets = targets_in(folder, sources)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    os.makedirs(folder, exist_ok=True)
    outcomes = []
    for outcome in encode_all(targets, encode_one, _explain, overwrite=overwrite):
        outcomes.append(outcome)
        if outcome.state == "failed":
            log.error(f"error: {outcome.detail}")
        elif outcome.state == "skipped":
            log.info(f"{outcome.target}: {outcome.detail}")
    with console.standard_output():
        click.echo(to_table(outcomes))
    failed = [outcome.source for outcome in outcomes if outcome.state == "failed"]
    if failed:
        raise click.ClickException(f"{len(failed)} of {len(outcomes)} inputs failed")


def _check_contradictions(context: click.Context, target: str) -> None:
    """Refuse options that cannot all be followed."""
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    given = [
        name
        for name in ("qp", "bitrate", "max_size", "target_psnr", "resume", "jobs", "verify", "log_json")
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    ]
    goals = [options[name] for name in given if name in ("qp", "bitrate", "max_size", "target_psnr")]
    if len(goals) > 1:
        raise click.UsageError(
            f"{' and '.join(goals)} contradict each other: one goal is all that can be met"
        )
    if "resume" in given and goals not in ([], ["-q"]):
        raise click.UsageError(
            f"--resume goes on with an encode of constant quality (-q), not with {goals[0]}"
        )
    if "target_psnr" in given and context.params["jobs"] > 1:
        raise click.UsageError("--target-psnr takes one GOP after the other: it cannot use --jobs")
    if target == "-" and (pointless := [options[name] for name in given if name in ("resume", "verify")]):
        raise click.UsageError(f"{pointless[0]} needs a file; standard output cannot be read again")


def _check_log(log_json: str | None, source: str, target: str) -> None:
    if log_json is not None:
        _refuse_same_file(source, log_json)
        _refuse_same_file(target, log_json)
        if log_json == target == "-":
            raise click.UsageError("the video and --log-json cannot both be standard output")


def _check_raw(source: str, size: tuple[int, int] | None, fps: Fraction | None) -> None:
    from bcodec.video import RAW_SUFFIXES

    raw = source.lower().endswith(RAW_SUFFIXES)
    if raw and not (size and fps):
        raise click.UsageError(
            f"{source}: raw video does not say its size and rate; give --size WxH and --fps R"
        )
    if not raw and (size or fps):
        raise click.UsageError(f"--size and --fps are for raw video only ({', '.join(RAW_SUFFIXES)})")


# ---------------------------------------------------------------- decode


@commands.command()
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
@arguments.streams
@arguments.common
def decode(
    *,
    source: str,
    target: str,
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
    _refuse_same_file(source, target)
    with _output(target, overwrite) as path, console.open_input(source) as file:
        with _named(source):
            reader = BitstreamReader(file)
            headers, packets = leading(reader)
            skip, total = _find(reader, start, frames)
        if start and file.seekable():  # it went to an I frame
            packets = reader
        beside = Beside.of(headers, arguments.kept(no_audio, no_subtitles))
        beside.window = Window.of_frames(beside.file.start, reader.header.video.time_base, start, frames)
        for packet in headers:
            beside.add(packet)
        from bcodec.codec import CodecError
        from bcodec.codec import decode as decoded
        from bcodec.video import VideoWriter

        kind = _output_kind(target)
        networks = _networks(device, threads)
        damage = None
        with (
            VideoWriter(path, reader.header.video, kind, beside) as writer,
            console.Progress(total, reader.header) as progress,
        ):
            for notice in writer.notices:
                progress.say(notice)
            told = len(writer.notices)
            pictures = decoded(_counted(packets, progress, beside), reader.header, networks)
            try:
                for frame in islice(pictures, skip, frames and skip + frames):
                    writer.write(frame)
                    progress.count_frame()
                if frames:
                    run_on(packets, beside, start + frames)
            except (BitstreamError, CodecError) as error:
                damage = error
        for notice in writer.notices[told:]:
            log.warning(notice)
        _check_some_frames(progress.frames, source, start, damage)
    if damage:
        count = console.in_frames(progress.frames)
        kept = f"{count} before the damage kept in {console.shown(target, 'output')}"
        raise click.ClickException(f"{_where(source, start + progress.frames, damage)}; {kept}") from damage
    log.info(f"{progress.summary()} to {console.shown(target, 'output')}")


def _output_kind(target: str) -> str:
    from bcodec.video import VideoError, output_kind

    try:
        return output_kind(target)
    except VideoError as error:
        raise click.UsageError(str(error)) from error


def _find(reader: BitstreamReader, start: int, frames: int | None) -> tuple[int, int | None]:
    """Go to where decoding must begin for frame `start`; how many to skip from there, and how many will come.

    A pipe has no index: there all is decoded, and how many will come is not known.
    """
    try:
        there = max(reader.index.frame_count - start, 0)
        skip = start - reader.seek(start).poc if start else 0
    except io.UnsupportedOperation:
        return start, frames
    return skip, min(there, frames or there)


def _counted(
    packets: Iterator[Packet | AuxiliaryPacket], progress: console.Progress, beside: Beside
) -> Iterator[Packet]:
    """Give the frame packets; what lies beside them goes its own way."""
    for packet in packets:
        if isinstance(packet, Packet):
            progress.count_packet(len(packet.payload))
            yield packet
        else:
            beside.add(packet)


def _check_some_frames(written: int, source: str, start: int, damage: Exception | None) -> None:
    if not written and damage:
        raise click.ClickException(_where(source, start, damage)) from damage
    if not written:
        raise click.ClickException(f"{console.shown(source, 'input')}: has no frame {start}")


def _where(source: str, frame: int, damage: Exception) -> str:
    """Name the file and the first frame that is missing; the codec itself says which frame failed."""
    which = f"frame {frame}: " if isinstance(damage, BitstreamError) else ""
    return f"{console.shown(source, 'input')}: {which}{damage}"


# ---------------------------------------------------------------- verify


@commands.command()
@click.argument("source", type=arguments.FILE, metavar="IN")
@arguments.computing
def verify(*, source: str, device: str, threads: int | None) -> None:
    """Decode the .bcv file IN (- is standard input) without output, and check that it is whole.

    Every picture is compared with the hash that the encoder took of it. Exit status 0 if all is as it was
    encoded, 1 if not.
    """
    with console.open_input(source) as file:
        count = _decode_frames(file, source, _networks(device, threads))
    with console.standard_output():
        click.echo(f"{console.shown(source, 'input')}: OK, {console.in_frames(count)}")


def _decode_frames(file: BinaryIO, name: str, networks: Networks) -> int:
    """Decode a bitstream to its end, and return the number of frames; an error calls the file by `name`."""
    from bcodec.codec import CodecError, decode

    with _named(name):
        reader = BitstreamReader(file)
        _, total = _find(reader, 0, None)
    with console.Progress(total, reader.header) as progress:
        try:
            for _ in decode(_counted(reader, progress, Beside()), reader.header, networks):
                progress.count_frame()
        except (BitstreamError, CodecError) as error:
            raise click.ClickException(_where(name, progress.frames, error)) from error
    _check_some_frames(progress.frames, name, 0, None)
    return progress.frames


# ---------------------------------------------------------------- info


@commands.command()
@click.argument("source", type=arguments.FILE, metavar="IN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: str, as_json: bool) -> None:
    """Tell what is in the .bcv file IN (- is standard input), and check that it is whole.

    Of a damaged file it tells what comes before the damage, with exit status 1.
    """
    with console.open_input(source) as file, _named(source):
        found = inspect(file)
    name = console.shown(source, "input")
    with console.standard_output():
        if as_json:
            click.echo(json.dumps({"file": name} | found.to_dict(), indent=2))
        else:
            click.echo(f"{name}\n{found.to_text()}")
    if found.damage:
        raise click.ClickException(f"{name}: {found.damage} (after {found.frames} whole frames)")


# ---------------------------------------------------------------- compare


@commands.command()
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
@arguments.computing
def compare(
    *,
    reference: str,
    distorted: tuple[str, ...],
    frames: int | None,
    size: tuple[int, int] | None,
    fps: Fraction | None,
    ms_ssim: bool,
    as_json: bool,
    plot: str | None,
    overwrite: bool,
    device: str,
    threads: int | None,
) -> None:
    """Tell how near each video DIST is to its source REF, and how many bits it takes.

    They are .bcv files or any other video. PSNR is in dB, its mean over frames; YUV weighs the planes 6:1:1.
    Bits are those of the packets of the pictures. Of codecs that come at four rates or more the BD-rate is
    told against the first one, by PSNR YUV.

    \b
    bcodec compare clip.y4m clip.bcv
    bcodec compare clip.y4m ours-*.bcv x264-*.mp4 --plot curves.png
    """
    if plot and find_spec("matplotlib") is None:
        raise click.ClickException("--plot needs matplotlib: pip install 'bcodec[plot]'")
    with whole_file(plot, overwrite=overwrite) if plot else nullcontext("") as picture:
        from bcodec.compare import compare as compared
        from bcodec.compare import plot_to_png, rate_changes, to_table

        networks = cache(partial(_networks, device, threads))
        with console.bar(None) as bar:
            found = [
                compared(
                    reference,
                    name,
                    networks=networks,
                    size=size,
                    frame_rate=fps,
                    frames=frames,
                    with_ms_ssim=ms_ssim,
                    tick=bar.update,
                )
                for name in distorted
            ]
        for notice in chain.from_iterable(comparison.notices for comparison in found):
            log.warning(notice)
        if plot:
            plot_to_png(found, picture)
    with console.standard_output():
        if as_json:
            changes = [change._asdict() for change in rate_changes(found)]
            videos = [comparison.to_dict() for comparison in found]
            click.echo(json.dumps({"reference": reference, "videos": videos, "bd_rate": changes}, indent=2))
        else:
            click.echo(to_table(found))


# ---------------------------------------------------------------- demo


@commands.command()
@click.option(
    "-o", "folder", type=arguments.FOLDER, default="bcodec-demo", metavar="DIR", help="Where to write."
)
@click.option("-q", "qp", type=click.IntRange(0, MAX_QP), default=32, metavar="N", help="As of encode.")
@click.option("--frames", type=click.IntRange(1, 1000), default=17, metavar="N", help="Frames of the clip.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace what is there.")
@arguments.computing
def demo(*, folder: str, qp: int, frames: int, overwrite: bool, device: str, threads: int | None) -> None:
    """Make a clip, encode it, decode it, compare the two, and put them side by side in a picture.

    It writes clip.mkv, clip.bcv, decoded.mkv and side-by-side.png, and prints the commands that it runs.
    """
    clip, coded, decoded, picture = (
        os.path.join(folder, name) for name in ("clip.mkv", "clip.bcv", "decoded.mkv", "side-by-side.png")
    )
    os.makedirs(folder, exist_ok=True)
    with whole_file(clip, overwrite=overwrite) as path:
        from bcodec.demo import make_clip, side_by_side

        make_clip(path, frames)
    computing = ["--device", device, *(["--threads", str(threads)] if threads else [])]
    again = ["-y"] if overwrite else []
    for words in (
        ["encode", clip, "-o", coded, "-q", str(qp), *again],
        ["decode", coded, "-o", decoded, *again],
        ["compare", clip, coded],
    ):
        with console.standard_output():
            click.echo(f"$ bcodec {shlex.join(words)}")
        with commands.make_context("bcodec", [*words, *computing]) as context:
            commands.invoke(context)
    with whole_file(picture, overwrite=overwrite) as path:
        side_by_side(clip, decoded, frames // 2, path)
    with console.standard_output():
        click.echo(f"{picture}: frame {frames // 2}, the source on the left, what was decoded on the right")


# ---------------------------------------------------------------- files and standard streams


def _refuse_same_file(source: str, target: str) -> None:
    if "-" not in (source, target):
        with suppress(OSError):
            if os.path.samefile(source, target) and os.path.isfile(source):
                raise click.UsageError(f"{source} and {target} are the same file")


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Let errors about a bitstream name the file."""
    try:
        yield
    except BitstreamError as error:
        raise click.ClickException(f"{console.shown(source, 'input')}: {error}") from error


@contextmanager
def _output(target: str, overwrite: bool, resume: bool = False) -> Iterator[str]:
    """Give the path to write to: a file beside the target that becomes it when all is done, or -."""
    if resume:
        from bcodec.resume import unfinished_file

        with unfinished_file(target, overwrite=overwrite) as path:
            yield path
    elif target != "-":
        with whole_file(target, overwrite=overwrite) as path:
            yield path
    elif sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("standard output takes no file; redirect it, or name a file")
    else:
        with console.standard_output():
            yield "-"
            sys.stdout.flush()


# ---------------------------------------------------------------- computing, and showing how far it is


def _networks(device: str, threads: int | None) -> Networks:
    import torch

    from bcodec.codec import pick_device
    from bcodec.networks import load_networks

    if threads:
        torch.set_num_threads(threads)
    return load_networks(device=pick_device(device))
