"""The bar on standard error that tells how far a command is."""

from __future__ import annotations

import logging
import sys
from typing import Any, Self

from tqdm import tqdm

from bcodec.cli.console import log
from bcodec.pipeline.tally import Tally


def bar(total: int | None) -> Any:
    """Give a bar (of tqdm) that counts frames on standard error, if that is a terminal."""
    hidden = sys.stderr is None or not sys.stderr.isatty() or not log.isEnabledFor(logging.INFO)
    return tqdm(total=total, unit=" frames", leave=False, dynamic_ncols=True, disable=hidden)


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
