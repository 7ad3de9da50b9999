"""Files to read and to write, where - stands for a standard stream."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from bcodec.errors import UsageError


def shown(path: str, stream: str) -> str:
    """The path in words: - is standard `stream` (input, output)."""
    return f"standard {stream}" if path == "-" else path


def check_standard_input() -> None:
    """Refuse a terminal as input: UsageError."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("standard input brings no file; redirect it, or name a file")


def check_standard_output() -> None:
    """Refuse a terminal as output: UsageError."""
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("standard output takes no file; redirect it, or name a file")


@contextmanager
def standard_output() -> Iterator[None]:
    """Let what fails in writing name the stream."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """Open a file to read. Raises OSError, and UsageError for a terminal."""
    if path == "-":
        check_standard_input()
        yield sys.stdin.buffer
    else:
        with open(path, "rb") as file:
            yield file


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
