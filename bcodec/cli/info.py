"""`bcodec info`: what is in .bcv files."""

from __future__ import annotations

import json

import click

from bcodec.cli import arguments
from bcodec.cli.console import log, show
from bcodec.cli.failures import Command, explain
from bcodec.errors import Unreadable
from bcodec.pipeline.inspect import Inspection, inspect
from bcodec.pipeline.opening import named
from bcodec.pipeline.stdio import open_input, shown
from bcodec.pipeline.tally import in_frames


@click.command(cls=Command)
@click.argument("sources", type=arguments.FILE, metavar="IN...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; of several files, a list.")
def info(sources: tuple[str, ...], as_json: bool) -> None:
    """Tell what is in the .bcv file IN (- is standard input), and check that it is whole.

    Of a damaged file it tells what comes before the damage, with exit status 1.
    """
    found: dict[str, Inspection] = {}
    failures: list[Exception] = []
    for source in sources:
        try:
            found[source] = _inspected(source)
        except (OSError, Unreadable) as error:
            failures.append(error)
    if len(sources) == 1 and not found:
        raise failures[0]
    if as_json:
        objects = [{"file": shown(source, "input")} | what.to_dict() for source, what in found.items()]
        show(json.dumps(objects if len(sources) > 1 else objects[0], indent=2))
    elif found:
        show("\n\n".join(f"{shown(source, 'input')}\n{what.to_text()}" for source, what in found.items()))
    failures += [_damage(source, what) for source, what in found.items() if what.damage]
    if len(sources) == 1 and failures:
        raise failures[0]
    for failure in failures:
        log.error(f"error: {explain(failure)}")
    if failures:
        raise click.ClickException(f"{len(failures)} of {len(sources)} files are damaged or cannot be read")


def _inspected(source: str) -> Inspection:
    with open_input(source) as file, named(source):
        return inspect(file)


def _damage(source: str, found: Inspection) -> Unreadable:
    whole = f"after {in_frames(found.frames).replace(' ', ' whole ')}"
    return Unreadable(f"{shown(source, 'input')}: {found.damage} ({whole})")
