"""The bar on standard error that tells how far a command is."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Self

from tqdm import tqdm

from bcodec.cli.console import log
from bcodec.pipeline.tally import Tally

USUAL_WIDTH, USUAL_HEIGHT = 80, 24  # of a terminal that does not say
FORMS = (  # from the longest to the shortest; the first that fits is shown, with as much bar as there is room
    "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
    "{percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left, {rate_fmt}{postfix}",
    "{percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left, {rate_fmt}",
    "{percentage:3.0f}% {n_fmt}/{total_fmt}, {remaining} left",
    "{percentage:3.0f}%, {remaining} left",
    "{percentage:3.0f}%",
)
WITHOUT_TOTAL = ("{n_fmt} frames [{elapsed}, {rate_fmt}{postfix}]", "{n_fmt} frames, {rate_fmt}", "{n_fmt}")


class Bar(tqdm):  # type: ignore[misc]
    """A bar of tqdm that drops the less important first where a terminal is narrow."""

    def __str__(self) -> str:
        facts = self.format_dict
        width = facts["ncols"] or _terminal_width()
        form = ""
        for form in FORMS if self.total else WITHOUT_TOTAL:
            if len(self.format_meter(**facts | {"bar_format": form, "ncols": None})) <= width:
                break
        return str(self.format_meter(**facts | {"bar_format": form, "ncols": width}))


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH


def bar(total: int | None) -> Any:
    """Give a bar (of tqdm) that counts frames on standard error, if that is a terminal."""
    hidden = sys.stderr is None or not sys.stderr.isatty() or not log.isEnabledFor(logging.INFO)
    asked = 0  # for the width, at each line: it may change
    return Bar(total=total, unit=" frames", leave=False, ncols=asked, nrows=USUAL_HEIGHT, disable=hidden)


class Progress:
    """Follows what the pipeline counts: a bar for each tally, one after the other; a context manager."""

    def __init__(self) -> None:
        self._tally: Tally | None = None
        self._bar: Any = None

    def __call__(self, tally: Tally) -> None:
        """Show a tally that begins, or that has counted one more frame."""
        if tally is not self._tally:
            self.close()
            self._tally, self._bar = tally, bar(tally.total)
        else:
            self._bar.set_postfix_str(tally.bitrate(), refresh=False)
            self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
