"""Many inputs, one after the other: what is complete is skipped, and a failure does not end it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from bcodec.errors import DamagedInput, UsageError
from bcodec.pipeline.inspect import inspect, readable_bytes

STATES = "encoded", "skipped", "damaged", "failed"


class Outcome(NamedTuple):
    """What became of one input, and why.

    "encoded", "skipped" (its output was complete), "damaged" (encoded, but for what could not be read of it)
    or "failed".
    """

    source: str
    target: str
    state: str
    detail: str

    @property
    def is_bad(self) -> bool:
        """Whether someone should look at it."""
        return self.state in ("damaged", "failed")


def targets_in(folder: str, sources: Sequence[str]) -> dict[str, str]:
    """The output of each input: a.mp4 becomes a.mp4.bcv in the folder. UsageError where two would be one."""
    found: dict[str, str] = {}
    for source in sources:
        name = os.path.basename(source)
        other = next((s for s in found if os.path.basename(s) == name), None)
        if other is not None:
            raise UsageError(f"{other} and {source} would both become {name}.bcv")
        found[source] = os.path.join(folder, f"{name}.bcv")
    return found


def encode_all(
    targets: dict[str, str],
    encode: Callable[[str, str], None],
    explain: Callable[[Exception], str | None],
    *,
    overwrite: bool,
) -> Iterator[Outcome]:
    """Encode each input to its target; yield what became of it.

    Where `overwrite` is false a complete target is skipped. `explain` says in a line what a failure is, or
    None for one that must not be hidden.
    """
    for source, target in targets.items():
        if not overwrite and (size := complete_bytes(target)):
            yield Outcome(source, target, "skipped", f"complete already, {readable_bytes(size)}")
            continue
        try:
            encode(source, target)
            yield Outcome(source, target, "encoded", readable_bytes(os.path.getsize(target)))
        except DamagedInput as error:
            yield Outcome(source, target, "damaged", str(error))
        except Exception as error:
            line = explain(error)
            if line is None:
                raise
            yield Outcome(source, target, "failed", line)


def complete_bytes(path: str) -> int:
    """The bytes of a .bcv file that is whole, by its trailer and all its checksums; 0 for any other file."""
    try:
        with open(path, "rb") as file:
            found = inspect(file)
    except (OSError, ValueError):
        return 0
    return found.bytes if found.frames and not found.damage else 0


def to_table(outcomes: Sequence[Outcome]) -> str:
    """Lay out a line an input, and the sums."""
    wide = max(len(outcome.source) for outcome in outcomes)
    lines = [f"{outcome.state:<8}{outcome.source:<{wide}}  {outcome.detail}" for outcome in outcomes]
    states = [outcome.state for outcome in outcomes]
    sums = (f"{state} {states.count(state)}" for state in STATES)
    return "\n".join([*lines, ", ".join(sums)])
