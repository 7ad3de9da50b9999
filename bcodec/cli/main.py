"""The command line: which commands there are; it alone ends with an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from bcodec import __version__
from bcodec.cli import console
from bcodec.cli.compare import compare
from bcodec.cli.decode import decode
from bcodec.cli.demo import demo
from bcodec.cli.encode import encode
from bcodec.cli.failures import READER_GONE, exit_status, explain
from bcodec.cli.info import info
from bcodec.cli.man import man
from bcodec.cli.signals import Stopped, signals_raised
from bcodec.cli.verify import verify

COMPLETION = "_BCODEC_COMPLETE"  # the variable by which a shell asks

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(context_settings=CONTEXT, no_args_is_help=False)
@click.version_option(__version__, "-V", "--version", prog_name="bcodec", message="%(prog)s %(version)s")
def commands() -> None:
    """A neural video codec: video in, a small .bcv file, and the same picture out on every machine.

    Exit status: 0 all went well, 1 bad data or a failure, 2 wrong usage, 130 Ctrl-C.
    """


for command in (encode, decode, verify, info, compare, demo, man):
    commands.add_command(command)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 if all went well, 1 for bad data or a failure, 2 for wrong usage, 128 + n when ended by signal n (130 is
    Ctrl-C, 143 SIGTERM, 141 a reader of standard output that went away). A problem is told in one line.
    """
    if COMPLETION in os.environ:
        return shell_complete(commands, {}, "bcodec", COMPLETION, os.environ[COMPLETION])
    try:
        with signals_raised(), console.screen():
            given = list(sys.argv[1:] if words is None else words)
            with commands.make_context("bcodec", given) as context:
                commands.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except Stopped as stop:
        return stop.end()
    except KeyboardInterrupt:
        return Stopped(signal.SIGINT).end()
    except Exception as error:
        console.let_go_of_stdout()
        status = exit_status(error)
        if status != READER_GONE:
            message = explain(error)
            if message is None:
                raise
            console.say(f"error: {message}")
        return status
    return 0
