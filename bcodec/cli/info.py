"""`bcodec info`: what is in a .bcv file."""

from __future__ import annotations

import json

import click

from bcodec.cli import arguments, console
from bcodec.pipeline.inspect import inspect


@click.command()
@click.argument("source", type=arguments.FILE, metavar="IN")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(source: str, as_json: bool) -> None:
    """Tell what is in the .bcv file IN (- is standard input), and check that it is whole.

    Of a damaged file it tells what comes before the damage, with exit status 1.
    """
    with console.open_input(source) as file, console.named(source):
        found = inspect(file)
    name = console.shown(source, "input")
    with console.standard_output():
        if as_json:
            click.echo(json.dumps({"file": name} | found.to_dict(), indent=2))
        else:
            click.echo(f"{name}\n{found.to_text()}")
    if found.damage:
        raise click.ClickException(f"{name}: {found.damage} (after {found.frames} whole frames)")
