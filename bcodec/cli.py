"""The command line: the only file that prints, exits or draws a bar.

Heavy modules (torch, PyAV) are imported inside the commands: help and usage errors come at once.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from types import FrameType as StackFrame
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

import click

from bcodec import __version__
from bcodec.bitstream import (
    MAX_AREA,
    MAX_GOP_SIZE,
    MAX_QP,
    MAX_SIDE,
    MIN_SIDE,
    BitstreamError,
    BitstreamReader,
    BitstreamWriter,
    Packet,
    SequenceHeader,
)
from bcodec.inspection import inspect, readable_bytes
from bcodec.output import whole_file

if TYPE_CHECKING:
    from bcodec.frame import Frame
    from bcodec.networks import Networks
    from bcodec.video import VideoReader

HIGHEST_RATE = 1000  # frames per second; no camera means more
MOST_THREADS = 256
OUT_OF_MEMORY = "MemoryError|allocate memory|out of memory"  # Python; torch on CPU; torch on GPU

T = TypeVar("T", bound=Callable[..., Any])


# ---------------------------------------------------------------- from arguments to an exit status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 if all went well, 1 for bad data or a failure, 2 for wrong usage, 128 + n when ended by signal n (130 is
    Ctrl-C, 143 SIGTERM, 141 a reader of standard output that went away). A problem is told in one line.
    """
    try:
        with _signals_raised():
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


def _rate(value: str) -> Fraction:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6}|/0*[1-9]\d{0,5})?", value):
        raise click.BadParameter(f"{value!r} is not a rate like 25, 23.976 or 30000/1001")
    rate = Fraction(value)
    if not 0 < rate <= HIGHEST_RATE:
        raise click.BadParameter(f"{value} is not above 0 and at most {HIGHEST_RATE} frames per second")
    return rate


def _common(command: T) -> T:
    """Add the options that encode and decode share."""
    options = [
        click.option(
            "--start", type=click.IntRange(0), default=0, metavar="N", help="First frame, counted from 0."
        ),
        click.option("--frames", type=click.IntRange(1), metavar="N", help="Frames at most.  [default: all]"),
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
        click.option("-y", "--overwrite", is_flag=True, help="Replace OUT where it exists."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(context_settings=CONTEXT, no_args_is_help=False)
@click.version_option(__version__, prog_name="bcodec", message="%(prog)s %(version)s")
def commands() -> None:
    """A neural video codec: video in, a small .bcv file, and the same picture out on every machine.

    Exit status: 0 all went well, 1 bad data or a failure, 2 wrong usage, 130 Ctrl-C.
    """


# ---------------------------------------------------------------- encode


@commands.command()
@click.argument("source", metavar="IN")
@click.option(
    "-o", "target", required=True, metavar="OUT", help="The .bcv file to write; - is standard output."
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
    "--gop",
    type=click.IntRange(1, MAX_GOP_SIZE),
    default=32,
    metavar="N",
    help="Frames from one I frame to the next; 1 is all I frames.",
)
@click.option("--size", type=_size, metavar="WxH", help="Size of raw video, in pixels.")
@click.option("--fps", type=_rate, metavar="R", help="Rate of raw video, frames per second: 25, 30000/1001.")
@_common
def encode(
    *,
    source: str,
    target: str,
    qp: int,
    gop: int,
    size: tuple[int, int] | None,
    fps: Fraction | None,
    start: int,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Encode the video IN to a .bcv file.

    IN is any video that FFmpeg reads, raw 4:2:0 planes (.yuv, .i420; give --size and --fps), or - for y4m on
    standard input.

    \b
    bcodec encode holiday.mp4 -o holiday.bcv -q 40
    ffmpeg -i in.mkv -f yuv4mpegpipe - | bcodec encode - -o out.bcv
    """
    _refuse_same_file(source, target)
    if source == "-":
        _check_standard_input()
    with _output(target, overwrite) as path:
        from bcodec.codec import ARITHMETIC_VERSION, Settings
        from bcodec.codec import encode as encoded
        from bcodec.video import VideoReader

        _check_raw(source, size, fps)
        with VideoReader(source, size=size, frame_rate=fps, start=start, frames=frames) as reader:
            networks = _networks(device, threads)
            header = SequenceHeader(reader.format, gop, ARITHMETIC_VERSION, networks.model_id)
            with (
                _Progress(reader.frame_count, header) as progress,
                _binary(path) as file,
                BitstreamWriter(file, header) as writer,
            ):
                for packet in encoded(_watched(reader, progress), Settings(qp, gop), networks):
                    progress.count_packet(writer.write(packet))
                    progress.count_frame()
    result = f"{readable_bytes(progress.bytes)}, {progress.bitrate()}"
    _say(f"{progress.summary()}: {result} to {_shown(target, 'output')}")


def _check_raw(source: str, size: tuple[int, int] | None, fps: Fraction | None) -> None:
    from bcodec.video import RAW_SUFFIXES

    raw = source.lower().endswith(RAW_SUFFIXES)
    if raw and not (size and fps):
        raise click.UsageError(
            f"{source}: raw video does not say its size and rate; give --size WxH and --fps R"
        )
    if not raw and (size or fps):
        raise click.UsageError(f"--size and --fps are for raw video only ({', '.join(RAW_SUFFIXES)})")


def _watched(reader: VideoReader, progress: _Progress) -> Iterator[Frame]:
    """Give the pictures and tell the notices; where they end in damage, say what can be done."""
    from bcodec.video import VideoError

    told = count = 0
    try:
        for frame in reader:
            for notice in reader.notices[told:]:
                progress.say(notice)
            told = len(reader.notices)
            count += 1
            yield frame
    except VideoError as error:
        if not count:
            raise
        hint = f"nothing was kept; --frames {count} encodes what comes before the damage"
        raise click.ClickException(f"{error}; {hint}") from error


# ---------------------------------------------------------------- decode


@commands.command()
@click.argument("source", metavar="IN")
@click.option(
    "-o",
    "target",
    required=True,
    metavar="OUT",
    help="The video to write: .mkv (FFV1, lossless), .mp4 (H.264, near lossless), .y4m, .yuv; - is y4m on"
    " standard output.",
)
@_common
def decode(
    *,
    source: str,
    target: str,
    start: int,
    frames: int | None,
    device: str,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Decode the .bcv file IN (- is standard input) to a video.

    From a damaged file comes everything before the damage, and exit status 1.

    \b
    bcodec decode holiday.bcv -o holiday.mkv
    bcodec decode holiday.bcv -o - --start 100 --frames 50 | ffplay -
    """
    _refuse_same_file(source, target)
    with _output(target, overwrite) as path, _input(source) as file:
        with _named(source):
            reader = BitstreamReader(file)
            skip, total = _find(reader, start, frames)
        from bcodec.codec import CodecError
        from bcodec.codec import decode as decoded
        from bcodec.video import VideoWriter

        kind = _output_kind(target)
        networks = _networks(device, threads)
        damage = None
        with (
            VideoWriter(path, reader.header.video, kind) as writer,
            _Progress(total, reader.header) as progress,
        ):
            for notice in writer.notices:
                progress.say(notice)
            pictures = decoded(_counted(reader, progress), reader.header, networks)
            try:
                for frame in islice(pictures, skip, frames and skip + frames):
                    writer.write(frame)
                    progress.count_frame()
            except (BitstreamError, CodecError) as error:
                damage = error
        _check_some_frames(progress.frames, source, start, damage)
    if damage:
        kept = f"{_frames(progress.frames)} before the damage kept in {_shown(target, 'output')}"
        raise click.ClickException(f"{_where(source, start + progress.frames, damage)}; {kept}") from damage
    _say(f"{progress.summary()} to {_shown(target, 'output')}")


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


def _counted(reader: BitstreamReader, progress: _Progress) -> Iterator[Packet]:
    for packet in reader.frames():
        progress.count_packet(len(packet.payload))
        yield packet


def _check_some_frames(written: int, source: str, start: int, damage: Exception | None) -> None:
    if not written and damage:
        raise click.ClickException(_where(source, start, damage)) from damage
    if not written:
        raise click.ClickException(f"{_shown(source, 'input')}: has no frame {start}")


def _where(source: str, frame: int, damage: Exception) -> str:
    """Name the file and the first frame that is missing; the codec itself says which frame failed."""
    which = f"frame {frame}: " if isinstance(damage, BitstreamError) else ""
    return f"{_shown(source, 'input')}: {which}{damage}"


# ---------------------------------------------------------------- info


@commands.command()
@click.argument("source", metavar="IN")
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
def _output(target: str, overwrite: bool) -> Iterator[str]:
    """Give the path to write to: a file beside the target that becomes it when all is done, or -."""
    if target != "-":
        with whole_file(target, overwrite=overwrite) as path:
            yield path
    elif sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("standard output takes no file; redirect it, or name a file")
    else:
        with _standard_output():
            yield "-"
            sys.stdout.flush()


@contextmanager
def _binary(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdout.buffer
    else:
        with open(path, "wb") as file:
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


class _Progress:
    """Counts frames, packets and bytes, with a bar on stderr where that is a terminal."""

    def __init__(self, total: int | None, header: SequenceHeader) -> None:
        from tqdm import tqdm

        self.video = header.video
        self.frames = self.packets = self.bytes = 0
        self.began = time.monotonic()
        hidden = sys.stderr is None or not sys.stderr.isatty()
        self.bar = tqdm(total=total, unit=" frames", leave=False, dynamic_ncols=True, disable=hidden)

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
        return f"{float(self.bytes * 8 * self.video.frame_rate / self.packets) / 1000:.4g} kbit/s"

    def summary(self) -> str:
        """What was done, in how much time."""
        seconds = time.monotonic() - self.began
        size = f"{self.video.width}x{self.video.height}"
        return f"{_frames(self.frames)} of {size} in {seconds:.1f} s ({self.frames / seconds:.2f} fps)"

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.bar.clear()
        _say(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
