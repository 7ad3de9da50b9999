"""`bcodec info`: what is in a .bcv file."""

from __future__ import annotations

import json

import click

from bcodec.cli import arguments
from bcodec.cli.console import show
from bcodec.cli.failures import Command
from bcodec.pipeline.inspect import inspect
from bcodec.pipeline.opening import named
from bcodec.pipeline.stdio import open_input, shown


@click.command(cls=Command)
@click.argument("source", type=arguments.FILE, metavar="IN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: str, as_json: bool) -> None:
    """Tell what is in the .bcv file IN (- is standard input), and check that it is whole.

    Of a damaged file it tells what comes before the damage, with exit status 1.
    """
    with open_input(source) as file, named(source):
        found = inspect(file)
    name = shown(source, "input")
    show(json.dumps({"file": name} | found.to_dict(), indent=2) if as_json else f"{name}\n{found.to_text()}")
    if found.damage:
        raise click.ClickException(f"{name}: {found.damage} (after {found.frames} whole frames)")
