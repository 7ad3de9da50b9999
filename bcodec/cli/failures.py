"""What a failure is to the user: one line, without a trace."""

from __future__ import annotations

import re

import click

from bcodec.errors import BcodecError

# what Python says; torch on CPU; oneDNN within it; torch on GPU
OUT_OF_MEMORY = "MemoryError|allocate memory|could not create a (primitive|memory)|out of memory"


def explain(error: Exception) -> str | None:
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
    return str(error) if isinstance(error, BcodecError) else None
