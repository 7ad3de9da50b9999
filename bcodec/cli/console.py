"""The terminal: what is printed and logged on the standard streams."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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


def let_go_of_stdout() -> None:
    """Keep the interpreter from writing again, at its end, what cannot be written."""
    try:
        if sys.stdout is not None:  # None where it was closed from the start
            sys.stdout.flush()
    except OSError:
        with suppress(io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
