"""The manual page says what the help says."""

import re

import click
from commands import Command

from bcodec.cli.main import commands


def test_the_manual_names_every_command_and_option(run: Command) -> None:
    page = run("man").out.decode()
    plain = page.replace("\\-", "-")
    assert page.startswith(".TH BCODEC 1 ")
    assert "\nbcodec - a neural video codec: video in" in plain
    sections = re.split(r'\n\.SH "?', plain)
    for name, command in commands.commands.items():
        section = next(text for text in sections if text.startswith(name.upper()))
        for option in command.params:
            if isinstance(option, click.Option):
                assert all(re.search(rf"\.B .*{word}\b", section) for word in option.opts), option
                assert option.help
                assert " ".join(option.help.split()) in section
    assert ".nf\nbcodec encode holiday.mp4 -o holiday.bcv -q 40\n" in plain


def test_every_line_that_begins_with_a_point_is_a_request_of_man(run: Command) -> None:
    requests = re.findall(r"^[.'](\S*)", run("man").out.decode(), re.MULTILINE)
    assert set(requests) <= {"TH", "SH", "B", "PP", "TP", "nf", "fi"}
