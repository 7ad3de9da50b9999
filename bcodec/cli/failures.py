"""What a failure is to the user: one line without a trace, and an exit status."""

from __future__ import annotations

import re
from typing import Any

import click

from bcodec.errors import BcodecError, UsageError

# what Python says; torch on CPU; oneDNN within it; torch on GPU
OUT_OF_MEMORY = "MemoryError|allocate memory|could not create a (primitive|memory)|out of memory"
READER_GONE = 128 + 13  # SIGPIPE


QUALITY = "the quality is -q, where higher is better: 0 (small) to 63 (good)"
# What other encoders call what bcodec has.
ELSEWHERE = {
    **dict.fromkeys(("--crf", "-crf", "--qp", "-qp", "--quality", "--cq"), QUALITY),
    **dict.fromkeys(("-b", "-b:v", "--rate", "--tbr"), "the bitrate is --bitrate"),
    "-g": "the largest distance of I frames is --keyint",
    **dict.fromkeys(("--seek", "-ss", "--skip"), "where to begin is --start"),
    **dict.fromkeys(("-t", "--limit", "--vframes"), "how long is --duration"),
    **dict.fromkeys(("--input-res", "--resolution", "-s"), "the size of raw planes is --size"),
    **dict.fromkeys(("-r", "--framerate"), "the frame rate is --fps"),
    "-autoscale": "pictures that change their size are scaled by --autoscale",
    "-an": "to leave sound out is --no-audio",
    "-sn": "to leave subtitles out is --no-subtitles",
}


class Command(click.Command):
    """A command whose wrong usage is told in the same way, whether click finds it or the pipeline."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words; of an option that other encoders have, tell what it is here."""
        given = [word.partition("=")[0] for word in args]
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            hint = next((ELSEWHERE[word] for word in given if word in ELSEWHERE), None)
            if hint:
                raise click.UsageError(f"{error.format_message()} Here {hint}.", ctx) from error
            raise

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
