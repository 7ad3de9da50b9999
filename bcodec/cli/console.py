"""The terminal: what is printed and logged on the standard streams, and how signals end the program."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType as StackFrame

import click
from tqdm import tqdm

from bcodec.pipeline.stdio import standard_output

log = logging.getLogger("bcodec")


def show(text: str) -> None:
    """Print a result on standard output. Raises OSError, which names the stream."""
    with standard_output():
        click.echo(text)


def say(line: str) -> None:
    """Print one line for the user on standard error."""
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


def let_go_of_stdout() -> None:
    """Keep the interpreter from writing again, at its end, what cannot be written."""
    try:
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
