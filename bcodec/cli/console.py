"""The terminal and the standard streams: what is printed, logged and drawn, and how signals end it."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType as StackFrame
from typing import Any, BinaryIO, Self, TextIO

import click
from tqdm import tqdm

from bcodec.bitstream import SequenceHeader
from bcodec.errors import BitstreamError

log = logging.getLogger("bcodec")


# ---------------------------------------------------------------- lines on standard error, and signals


def say(line: str) -> None:
    """Print one line for the user."""
    click.echo(f"bcodec: {' '.join(line.splitlines())}", err=True)


class Screen(logging.Handler):
    """Prints what is logged, above a bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        with tqdm.external_write_mode(file=sys.stderr):
            say(record.getMessage())


@contextmanager
def screen() -> Iterator[None]:
    """Let log lines appear on standard error, from level info on."""
    handler = Screen()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Stopped(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Let a signal that ends the program do so by an exception: nothing half done is left behind."""

    def stop(number: int, _: StackFrame | None) -> None:
        raise Stopped(number)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [s for s in map(signal.Signals.__getitem__, names) if signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def standard_output() -> Iterator[None]:
    """Let what fails in writing name the stream."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def let_go_of_stdout() -> None:
    """Keep the interpreter from writing again, at its end, what cannot be written."""
    try:
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- files and standard streams


def shown(path: str, stream: str) -> str:
    """The path in words: - is standard `stream` (input, output)."""
    return f"standard {stream}" if path == "-" else path


@contextmanager
def named(path: str) -> Iterator[None]:
    """Let errors about a bitstream name the file: click.ClickException."""
    try:
        yield
    except BitstreamError as error:
        raise click.ClickException(f"{shown(path, 'input')}: {error}") from error


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Open a file to read, or standard input for -."""
    if path == "-":
        check_standard_input()
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as file:
            yield file


def check_standard_input() -> None:
    """Refuse a terminal as input: click.UsageError."""
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("standard input brings no file; redirect it, or name a file")


def check_standard_output() -> None:
    """Refuse a terminal as output: click.UsageError."""
    if sys.stdout is None or sys.stdout.isatty():
        raise click.UsageError("standard output takes no file; redirect it, or name a file")


@contextmanager
def open_binary(path: str, *, over: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write; `over` what is in it, of which at the end only what was written is left."""
    if path == "-":
        yield sys.stdout.buffer
    else:
        with open(path, "r+b" if over else "wb") as file:
            yield file
            if over:
                file.truncate()


@contextmanager
def open_text(path: str | None) -> Iterator[TextIO | None]:
    """Open a file of lines to write, if there is to be one."""
    if path is None:
        yield None
    elif path == "-":
        with standard_output():
            yield sys.stdout
    else:
        with open(path, "w", encoding="utf-8") as file:
            yield file


# ---------------------------------------------------------------- how far it is


def in_frames(count: int) -> str:
    """A number of frames in words."""
    return "1 frame" if count == 1 else f"{count} frames"


def bar(total: int | None) -> Any:
    """Give a bar (of tqdm) that counts frames on standard error, if that is a terminal."""
    hidden = sys.stderr is None or not sys.stderr.isatty() or not log.isEnabledFor(logging.INFO)
    return tqdm(total=total, unit=" frames", leave=False, dynamic_ncols=True, disable=hidden)


class Progress:
    """Counts frames, packets and bytes, with a bar on stderr where that is a terminal."""

    def __init__(self, total: int | None, header: SequenceHeader, began: float | None = None) -> None:
        self.video = header.video
        self.frames = self.packets = self.bytes = 0
        self.began = time.monotonic() if began is None else began
        self.bar = bar(total)

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
        return float(self.bytes * 8 * self.video.frame_rate / max(self.packets, 1))

    def summary(self) -> str:
        """What was done, in how much time."""
        seconds = time.monotonic() - self.began
        size = f"{self.video.width}x{self.video.height}"
        return f"{in_frames(self.frames)} of {size} in {seconds:.1f} s ({self.frames / seconds:.2f} fps)"

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        log.warning(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
