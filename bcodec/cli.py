"""The command line: the only file that prints, exits or draws a bar.

Heavy modules (torch, PyAV) are imported inside the commands: help and usage errors come at once.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain, islice
from types import FrameType as StackFrame
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self, TextIO, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import shell_complete

from bcodec import __version__
from bcodec.bitstream import (
    MAX_AREA,
    MAX_GOP_SIZE,
    MAX_QP,
    MAX_SIDE,
    MIN_SIDE,
    AuxiliaryPacket,
    BitstreamError,
    BitstreamReader,
    Packet,
    SequenceHeader,
)
from bcodec.inspection import inspect, readable_bytes
from bcodec.output import whole_file
from bcodec.streams import Beside, InterleavedWriter, Kind, Window, leading, run_on

if TYPE_CHECKING:
    from bcodec.codec import CodedFrame, Settings
    from bcodec.frame import Frame
    from bcodec.groups import Group
    from bcodec.journal import Journal
    from bcodec.networks import Networks
    from bcodec.spool import Spool
    from bcodec.video import VideoReader

HIGHEST_RATE = 1000  # frames per second; no camera means more
MOST_THREADS = 256
MOST_JOBS = 64
OUT_OF_MEMORY = "MemoryError|allocate memory|out of memory"  # Python; torch on CPU; torch on GPU
LOG_LEVELS = ("error", "warning", "info", "debug")

FILE = click.Path(readable=False)  # not checked here: a shell completes it by what is there
FOLDER = click.Path(file_okay=False, readable=False)
COMPLETION = "_BCODEC_COMPLETE"  # the variable by which a shell asks

T = TypeVar("T", bound=Callable[..., Any])

log = logging.getLogger("bcodec")


# ---------------------------------------------------------------- from arguments to an exit status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 if all went well, 1 for bad data or a failure, 2 for wrong usage, 128 + n when ended by signal n (130 is
    Ctrl-C, 143 SIGTERM, 141 a reader of standard output that went away). A problem is told in one line.
    """
    if COMPLETION in os.environ:
        return shell_complete(commands, {}, "bcodec", COMPLETION, os.environ[COMPLETION])
    try:
        with _signals_raised(), _screen():
            words = list(sys.argv[1:] if arguments is None else arguments)
            with commands.make_context("bcodec", words) as context:
                commands.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except (_Stopped, KeyboardInterrupt) as stop:
        _say("interrupted")
        return 128 + (stop.number if isinstance(stop, _Stopped) else signal.SIGINT)
    except Exception as error:
        _let_go_of_stdout()
        if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
            return 128 + 13  # SIGPIPE
        message = _explain(error)
        if message is None:
            raise
        _say(f"error: {message}")
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


def _say(line: str) -> None:
    click.echo(f"bcodec: {' '.join(line.splitlines())}", err=True)


class _Screen(logging.Handler):
    """Prints what is logged, above a bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            _say(record.getMessage())


@contextmanager
def _screen() -> Iterator[None]:
    """Let log lines appear on standard error, from level info on."""
    screen = _Screen()
    log.addHandler(screen)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(screen)


class _Stopped(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Let a signal that ends the program do so by an exception: nothing half done is left behind."""

    def stop(number: int, _: StackFrame | None) -> None:
        raise _Stopped(number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [s for s in map(signal.Signals.__getitem__, names) if signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _standard_output() -> Iterator[None]:
    """Let what fails in writing name the stream."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _let_go_of_stdout() -> None:
    """Keep the interpreter from writing again, at its end, what cannot be written."""
    try:
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- arguments


def _size(value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not a size like 1920x1080")
    width, height = int(found[1]), int(found[2])
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE or width * height > MAX_AREA:
        largest = f"{MAX_SIDE}x{MAX_AREA // MAX_SIDE}"
        raise click.BadParameter(f"{value} is not within {MIN_SIDE}x{MIN_SIDE} to {largest} pixels")
    return width, height


def _amount(value: str) -> float:
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kKmMgG]?)", value)
    if not found or not float(found[1]):
        raise click.BadParameter(f"{value!r} is not an amount like 800k, 2.5M or 1G")
    return float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[found[2].lower()]


def _rate(value: str) -> Fraction:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6}|/0*[1-9]\d{0,5})?", value):
        raise click.BadParameter(f"{value!r} is not a rate like 25, 23.976 or 30000/1001")
    rate = Fraction(value)
    if not 0 < rate <= HIGHEST_RATE:
        raise click.BadParameter(f"{value} is not above 0 and at most {HIGHEST_RATE} frames per second")
    return rate


def _set_level(_: click.Context, __: click.Parameter, level: str) -> None:
    log.setLevel(level.upper())


def _computing(command: T) -> T:
    """Add the options of every command that runs the networks."""
    options = [
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            help="Where to compute; auto takes a GPU where there is one. The result is the same on all.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1, MOST_THREADS),
            metavar="N",
            help="CPU threads.  [default: one a core]",
        ),
        click.option(
            "--log-level",
            type=click.Choice(LOG_LEVELS),
            default="info",
            expose_value=False,
            callback=_set_level,
            help="What to tell: error nothing but failures, warning also what is not kept, info also results"
            " and progress, debug everything.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _common(command: T) -> T:
    """Add the options that encode and decode share."""
    options = [
        click.option(
            "--start", type=click.IntRange(0), default=0, metavar="N", help="First frame, counted from 0."
        ),
        click.option("--frames", type=click.IntRange(1), metavar="N", help="Frames at most.  [default: all]"),
        _computing,
        click.option("-y", "--overwrite", is_flag=True, help="Replace OUT where it exists."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _streams(command: T) -> T:
    """Add the options that say which streams beside the pictures are kept."""
    for option in (
        click.option("--no-subtitles", is_flag=True, help="Leave subtitles out."),
        click.option("--no-audio", is_flag=True, help="Leave sound out."),
    ):
        command = option(command)
    return command


def _kept(no_audio: bool, no_subtitles: bool) -> frozenset[Kind]:
    without = [Kind.AUDIO] * no_audio + [Kind.SUBTITLE] * no_subtitles
    return frozenset(Kind) - frozenset(without)


CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(context_settings=CONTEXT, no_args_is_help=False)
@click.version_option(__version__, prog_name="bcodec", message="%(prog)s %(version)s")
def commands() -> None:
    """A neural video codec: video in, a small .bcv file, and the same picture out on every machine.

    Exit status: 0 all went well, 1 bad data or a failure, 2 wrong usage, 130 Ctrl-C.
    """


# ---------------------------------------------------------------- encode


@commands.command()
@click.argument("sources", type=FILE, metavar="IN...", nargs=-1, required=True)
@click.option("-o", "target", type=FILE, metavar="OUT", help="The .bcv file to write; - is standard output.")
@click.option(
    "--out-dir",
    type=FOLDER,
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
    type=_amount,
    metavar="B",
    help="Bits per second of the pictures, instead of -q, within 5 %: 800k, 2M. Codes all several times.",
)
@click.option(
    "--max-size",
    type=_amount,
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
@click.option("--size", type=_size, metavar="WxH", help="Size of raw video, in pixels.")
@click.option("--fps", type=_rate, metavar="R", help="Rate of raw video, frames per second: 25, 30000/1001.")
@click.option(
    "--deinterlace", is_flag=True, help="Make frames of fields (bwdif); interlaced video is else refused."
)
@_streams
@click.option(
    "--scene-cut/--no-scene-cut", default=True, help="Begin each scene with an I frame, or only each GOP."
)
@click.option("--psnr", is_flag=True, help="Tell the PSNR of the decoded pictures, mean over frames, in dB.")
@click.option(
    "--log-json",
    type=FILE,
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
@_common
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
            _check_standard_input()
        _check_log(log_json, source, target)
        _check_contradictions(context, target)
        with _output(target, overwrite, resume) as path, _text(log_json) as log_file:
            from bcodec.codec import Settings
            from bcodec.video import VideoReader

            _check_raw(source, size, fps)

            def open_input() -> VideoReader:
                return VideoReader(
                    source,
                    size=size,
                    frame_rate=fps,
                    start=start,
                    frames=frames,
                    keep=_kept(no_audio, no_subtitles),
                    deinterlace=deinterlace,
                )

            with open_input() as reader:
                work = _Encode(Settings(qp, gop, scene_cut), networks(), jobs, resume, target_psnr)
                if bitrate or max_size:
                    with (
                        _rewritable(path, target) as file,
                        _again(source, reader, open_input, work) as read_again,
                    ):
                        done = _fit(work, read_again, file, log_file, bitrate=bitrate, max_size=max_size)
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
    with _standard_output():
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


@dataclass
class _Encode:
    """How frames become a file; `run` may be called several times, with other qps."""

    settings: Settings
    networks: Networks
    jobs: int
    resume: bool
    target_psnr: float | None

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.told: set[str] = set()

    def run(self, reader: VideoReader | Spool, path: str, log_file: TextIO | None) -> _Encoded:
        """Code all frames into the file at `path`."""
        from bcodec.codec import ARITHMETIC_VERSION
        from bcodec.journal import Journal

        journal = Journal(log_file)
        model = self.networks.model_id
        header = SequenceHeader(reader.format, self.settings.gop_size, ARITHMETIC_VERSION, model)
        with (
            _Progress(reader.frame_count, header, self.began) as progress,
            _coding(self._coded(_watched(reader, progress, self.told), header, path)) as frames,
            _binary(path, over=self.resume) as file,
            InterleavedWriter(file, header, reader.beside) as writer,
        ):
            for coded in frames:
                written = writer.write(coded.packet)
                progress.count_packet(written)
                progress.count_frame()
                journal.add(coded, written)
        journal.close(bytes=progress.bytes, bitrate=progress.bits_per_second())
        return _Encoded(progress, journal)

    def _coded(self, frames: Iterator[Frame], header: SequenceHeader, path: str) -> Iterator[CodedFrame]:
        from bcodec.codec import code_groups, split
        from bcodec.parallel import code_in_parallel
        from bcodec.ratecontrol import hold_psnr
        from bcodec.resume import go_on, kept_packets

        qp, networks = self.settings.qp, self.networks
        code: Callable[[Iterator[Group]], Iterator[CodedFrame]]
        if self.target_psnr is not None:
            return hold_psnr(frames, self.settings, networks, self.target_psnr)
        groups = split(frames, self.settings)
        if self.jobs > 1:
            code = partial(code_in_parallel, qp=qp, networks=networks, jobs=self.jobs)
        else:
            code = partial(code_groups, qp=qp, networks=networks)
        return go_on(groups, kept_packets(path, header), qp, networks, code) if self.resume else code(groups)


@contextmanager
def _coding(frames: Iterator[CodedFrame]) -> Iterator[Iterator[CodedFrame]]:
    """End what codes the frames, processes perhaps, when they are no longer wanted."""
    try:
        yield frames
    finally:
        if isinstance(frames, Generator):
            frames.close()


class _Encoded(NamedTuple):
    progress: _Progress
    journal: Journal

    def tell(self, target: str, target_psnr: float | None, *, psnr: bool) -> None:
        """Say what came of it."""
        progress, quality = self.progress, self.journal.quality
        if target_psnr and quality and abs(quality.psnr_yuv - target_psnr) > 0.2:
            log.warning(f"no qp gives {target_psnr:g} dB; the mean is {quality.psnr_yuv:.2f} dB")
        result = f"{readable_bytes(progress.bytes)}, {progress.bitrate()}"
        log.info(f"{progress.summary()}: {result} to {_shown(target, 'output')}")
        if psnr:
            _say(self.journal.to_line())


def _fit(
    work: _Encode,
    read_again: Callable[[], AbstractContextManager[VideoReader | Spool]],
    path: str,
    log_file: TextIO | None,
    *,
    bitrate: float | None,
    max_size: float | None,
) -> _Encoded:
    """Code the video again and again until it has the bitrate or the size."""
    from bcodec.ratecontrol import fit_size

    done, lines = None, io.StringIO()

    def code(qp: float) -> float:
        nonlocal done, lines
        lines, work.settings = io.StringIO(), replace(work.settings, qp=qp)
        with read_again() as frames:
            done = work.run(frames, path, lines)
        if bitrate:
            return done.progress.bits_per_second() / bitrate
        return os.path.getsize(path) / (max_size or 1)

    qp, share = fit_size(code, work.settings.qp, at_most=max_size is not None)
    assert done
    if max_size and share > 1:
        size = readable_bytes(os.path.getsize(path))
        raise click.ClickException(f"--max-size cannot be met: qp {qp:g} takes {size}")
    if bitrate and abs(share - 1) > 0.05:
        log.warning(f"--bitrate cannot be met: qp {qp:g} gives {done.progress.bitrate()}")
    if log_file:
        log_file.write(lines.getvalue())
    return done


@contextmanager
def _again(
    source: str, reader: VideoReader, open_input: Callable[[], VideoReader], work: _Encode
) -> Iterator[Callable[[], AbstractContextManager[VideoReader | Spool]]]:
    """Give what opens the input once more: itself if it is a file, a copy of its frames if it is a pipe."""
    if os.path.isfile(source):
        reader.close()
        yield open_input
    else:
        from bcodec.spool import Spool

        with Spool(reader.format, reader) as spool:
            work.told.update(reader.notices)
            yield lambda: nullcontext(spool)


@contextmanager
def _rewritable(path: str, target: str) -> Iterator[str]:
    """Give a file that can be written several times; if `path` is none, it is copied there at the end."""
    if path not in ("-", target):
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=".bcv") as file:
        yield file.name
        with open(file.name, "rb") as coded, _binary(path) as out:
            shutil.copyfileobj(coded, out)


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


def _watched(reader: VideoReader | Spool, progress: _Progress, told: set[str]) -> Iterator[Frame]:
    """Give the pictures and tell the notices; where they end in damage, say what can be done."""
    from bcodec.video import VideoError

    count = 0
    try:
        for frame in reader:
            for notice in reader.notices:
                if notice not in told:
                    progress.say(notice)
            told.update(reader.notices)
            count += 1
            yield frame
    except VideoError as error:
        if not count:
            raise
        hint = f"nothing was kept; --frames {count} encodes what comes before the damage"
        raise click.ClickException(f"{error}; {hint}") from error


# ---------------------------------------------------------------- decode


@commands.command()
@click.argument("source", type=FILE, metavar="IN")
@click.option(
    "-o",
    "target",
    type=FILE,
    required=True,
    metavar="OUT",
    help="The video to write: .mkv (FFV1, lossless), .mp4 (H.264, near lossless), .y4m, .yuv; - is y4m on"
    " standard output.",
)
@_streams
@_common
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
    with _output(target, overwrite) as path, _input(source) as file:
        with _named(source):
            reader = BitstreamReader(file)
            headers, packets = leading(reader)
            skip, total = _find(reader, start, frames)
        if start and file.seekable():  # it went to an I frame
            packets = reader
        beside = Beside.of(headers, _kept(no_audio, no_subtitles))
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
            _Progress(total, reader.header) as progress,
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
        kept = f"{_frames(progress.frames)} before the damage kept in {_shown(target, 'output')}"
        raise click.ClickException(f"{_where(source, start + progress.frames, damage)}; {kept}") from damage
    log.info(f"{progress.summary()} to {_shown(target, 'output')}")


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
    packets: Iterator[Packet | AuxiliaryPacket], progress: _Progress, beside: Beside
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
        raise click.ClickException(f"{_shown(source, 'input')}: has no frame {start}")


def _where(source: str, frame: int, damage: Exception) -> str:
    """Name the file and the first frame that is missing; the codec itself says which frame failed."""
    which = f"frame {frame}: " if isinstance(damage, BitstreamError) else ""
    return f"{_shown(source, 'input')}: {which}{damage}"


# ---------------------------------------------------------------- verify


@commands.command()
@click.argument("source", type=FILE, metavar="IN")
@_computing
def verify(*, source: str, device: str, threads: int | None) -> None:
    """Decode the .bcv file IN (- is standard input) without output, and check that it is whole.

    Every picture is compared with the hash that the encoder took of it. Exit status 0 if all is as it was
    encoded, 1 if not.
    """
    with _input(source) as file:
        count = _decode_frames(file, source, _networks(device, threads))
    with _standard_output():
        click.echo(f"{_shown(source, 'input')}: OK, {_frames(count)}")


def _decode_frames(file: BinaryIO, name: str, networks: Networks) -> int:
    """Decode a bitstream to its end, and return the number of frames; an error calls the file by `name`."""
    from bcodec.codec import CodecError, decode

    with _named(name):
        reader = BitstreamReader(file)
        _, total = _find(reader, 0, None)
    with _Progress(total, reader.header) as progress:
        try:
            for _ in decode(_counted(reader, progress, Beside()), reader.header, networks):
                progress.count_frame()
        except (BitstreamError, CodecError) as error:
            raise click.ClickException(_where(name, progress.frames, error)) from error
    _check_some_frames(progress.frames, name, 0, None)
    return progress.frames


# ---------------------------------------------------------------- info


@commands.command()
@click.argument("source", type=FILE, metavar="IN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: str, as_json: bool) -> None:
    """Tell what is in the .bcv file IN (- is standard input), and check that it is whole.

    Of a damaged file it tells what comes before the damage, with exit status 1.
    """
    with _input(source) as file, _named(source):
        found = inspect(file)
    name = _shown(source, "input")
    with _standard_output():
        if as_json:
            click.echo(json.dumps({"file": name} | found.to_dict(), indent=2))
        else:
            click.echo(f"{name}\n{found.to_text()}")
    if found.damage:
        raise click.ClickException(f"{name}: {found.damage} (after {found.frames} whole frames)")


# ---------------------------------------------------------------- compare


@commands.command()
@click.argument("reference", type=FILE, metavar="REF")
@click.argument("distorted", type=FILE, metavar="DIST...", nargs=-1, required=True)
@click.option("--frames", type=click.IntRange(1), metavar="N", help="Frames at most.  [default: all]")
@click.option("--size", type=_size, metavar="WxH", help="Size of raw video, in pixels.")
@click.option("--fps", type=_rate, metavar="R", help="Rate of raw video, frames per second: 25, 30000/1001.")
@click.option("--ms-ssim/--no-ms-ssim", default=True, help="Measure MS-SSIM, which takes most of the time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the values of each frame.")
@click.option("--plot", type=FILE, metavar="FILE", help="Draw PSNR, bits and rates into a PNG file.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace the PNG file where it exists.")
@_computing
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
        with _bar(None) as bar:
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
    with _standard_output():
        if as_json:
            changes = [change._asdict() for change in rate_changes(found)]
            videos = [comparison.to_dict() for comparison in found]
            click.echo(json.dumps({"reference": reference, "videos": videos, "bd_rate": changes}, indent=2))
        else:
            click.echo(to_table(found))


# ---------------------------------------------------------------- demo


@commands.command()
@click.option("-o", "folder", type=FOLDER, default="bcodec-demo", metavar="DIR", help="Where to write.")
@click.option("-q", "qp", type=click.IntRange(0, MAX_QP), default=32, metavar="N", help="As of encode.")
@click.option("--frames", type=click.IntRange(1, 1000), default=17, metavar="N", help="Frames of the clip.")
@click.option("-y", "--overwrite", is_flag=True, help="Replace what is there.")
@_computing
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
        with _standard_output():
            click.echo(f"$ bcodec {shlex.join(words)}")
        with commands.make_context("bcodec", [*words, *computing]) as context:
            commands.invoke(context)
    with whole_file(picture, overwrite=overwrite) as path:
        side_by_side(clip, decoded, frames // 2, path)
    with _standard_output():
        click.echo(f"{picture}: frame {frames // 2}, the source on the left, what was decoded on the right")


# ---------------------------------------------------------------- files and standard streams


def _refuse_same_file(source: str, target: str) -> None:
    if "-" not in (source, target):
        with suppress(OSError):
            if os.path.samefile(source, target) and os.path.isfile(source):
                raise click.UsageError(f"{source} and {target} are the same file")


def _shown(path: str, stream: str) -> str:
    return f"standard {stream}" if path == "-" else path


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Let errors about a bitstream name the file."""
    try:
        yield
    except BitstreamError as error:
        raise click.ClickException(f"{_shown(source, 'input')}: {error}") from error


@contextmanager
def _input(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        _check_standard_input()
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as file:
            yield file


def _check_standard_input() -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("standard input brings no file; redirect it, or name a file")


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
        with _standard_output():
            yield "-"
            sys.stdout.flush()


@contextmanager
def _binary(path: str, *, over: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write; `over` what is in it, of which at the end only what was written is left."""
    if path == "-":
        yield sys.stdout.buffer
    else:
        with open(path, "r+b" if over else "wb") as file:
            yield file
            if over:
                file.truncate()


@contextmanager
def _text(path: str | None) -> Iterator[TextIO | None]:
    """Open a file of lines to write, if there is to be one."""
    if path is None:
        yield None
    elif path == "-":
        with _standard_output():
            yield sys.stdout
    else:
        with open(path, "w", encoding="utf-8") as file:
            yield file


# ---------------------------------------------------------------- computing, and showing how far it is


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _networks(device: str, threads: int | None) -> Networks:
    import torch

    from bcodec.codec import pick_device
    from bcodec.networks import load_networks

    if threads:
        torch.set_num_threads(threads)
    return load_networks(device=pick_device(device))


def _bar(total: int | None) -> Any:
    """Give a bar (of tqdm) that counts frames on standard error, if that is a terminal."""
    from tqdm import tqdm

    hidden = sys.stderr is None or not sys.stderr.isatty() or not log.isEnabledFor(logging.INFO)
    return tqdm(total=total, unit=" frames", leave=False, dynamic_ncols=True, disable=hidden)


class _Progress:
    """Counts frames, packets and bytes, with a bar on stderr where that is a terminal."""

    def __init__(self, total: int | None, header: SequenceHeader, began: float | None = None) -> None:
        self.video = header.video
        self.frames = self.packets = self.bytes = 0
        self.began = time.monotonic() if began is None else began
        self.bar = _bar(total)

    def count_packet(self, size: int) -> None:
        """A packet of `size` bytes has been written or read."""
        self.packets += 1
        self.bytes += size

    def count_frame(self) -> None:
        """A frame is done."""
        self.frames += 1
        self.bar.set_postfix_str(self.bitrate(), refresh=False)
        self.bar.update()

    def bitrate(self) -> str:
        """Of the packets so far."""
        return f"{self.bits_per_second() / 1000:.4g} kbit/s"

    def bits_per_second(self) -> float:
        """Of the packets so far."""
        return float(self.bytes * 8 * self.video.frame_rate / self.packets)

    def summary(self) -> str:
        """What was done, in how much time."""
        seconds = time.monotonic() - self.began
        size = f"{self.video.width}x{self.video.height}"
        return f"{_frames(self.frames)} of {size} in {seconds:.1f} s ({self.frames / seconds:.2f} fps)"

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        log.warning(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
