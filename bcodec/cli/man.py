"""`bcodec man`: the manual page, made from the help of all commands."""

from __future__ import annotations

import inspect
import re

import click

from bcodec import __version__
from bcodec.cli.console import show
from bcodec.cli.failures import Command


@click.command(cls=Command)
@click.pass_context
def man(context: click.Context) -> None:
    """Print the manual page in the language of man.

    \b
    bcodec man | man -l -
    bcodec man > ~/.local/share/man/man1/bcodec.1
    """
    show(manual(context.find_root()))


def manual(root: click.Context) -> str:
    """The manual page of a group of commands, in roff."""
    group = root.command
    assert isinstance(group, click.Group)
    first, rest = _parts(group)
    lines = [
        f'.TH BCODEC 1 "" "bcodec {__version__}" "User Commands"',
        *(".SH NAME", f"bcodec \\- {_escaped(first[0].lower() + first[1:].rstrip('.'))}"),
        *(".SH SYNOPSIS", ".B bcodec", "COMMAND [OPTIONS] ..."),
        *(".SH DESCRIPTION", *rest),
    ]
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=root, show_default=True)
        usage = " ".join(command.collect_usage_pieces(context))
        first, rest = _parts(command)
        lines += [
            f'.SH "{name.upper()}"',
            f".B bcodec {name}",
            _escaped(usage),
            ".PP",
            _escaped(first),
            *rest,
        ]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record and record[1]:
                lines += [".TP", f".B {_escaped(record[0])}", _escaped(_one_line(record[1]))]
    return "\n".join(lines)


def _parts(command: click.Command) -> tuple[str, list[str]]:
    """The first paragraph of a command's help, and the others in roff; one after \\b keeps its lines."""
    first, *others = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    found: list[str] = []
    for paragraph in others:
        if paragraph.startswith("\b"):
            found += [".PP", ".nf", *map(_escaped, paragraph.lstrip("\b\n").splitlines()), ".fi"]
        else:
            found += [".PP", _escaped(_one_line(paragraph))]
    return _one_line(first), found


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Text that roff takes as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
