"""What a failure is to the user: one line without a trace, and an exit status."""

from __future__ import annotations

import re
from typing import Any

import click

from bcodec.errors import BcodecError, UsageError

# what Python says; torch on CPU; oneDNN within it; torch on GPU
OUT_OF_MEMORY = "MemoryError|allocate memory|could not create a (primitive|memory)|out of memory"
READER_GONE = 128 + 13  # SIGPIPE


class Command(click.Command):
    """A command whose wrong usage is told in the same way, whether click finds it or the pipeline."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; raises click.UsageError for UsageError."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(str(error), ctx) from error


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


def exit_status(error: Exception) -> int:
    """2 for wrong usage, 1 for other failures, READER_GONE where nobody reads standard output any more."""
    if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
        return READER_GONE
    return error.exit_code if isinstance(error, click.ClickException) else 1
