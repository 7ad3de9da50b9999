"""What passes over a video found, noted beside its unfinished file: who goes on need not make them again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from bcodec.encoder.resume import OTHER
from bcodec.errors import CodecError
from bcodec.pipeline.output import notes_of


class PassNotes:
    """Of each pass its share: the size that it gave, relative to what is wanted.

    path: of the unfinished file, beside which the notes are kept (None: in memory). key: what shares depend
    on. A line of JSON is the key, a pass that ended, or the qp of the one that the unfinished file is of.
    Raises CodecError, and leaves all as it is, for an unfinished file without notes of this key.
    """

    def __init__(self, path: str | None, key: str) -> None:
        self.path = path
        self.shares: dict[tuple[int, float], float] = {}  # by one GOP in how many was coded, and the qp
        self.begun: float | None = None  # the qp of what is in the unfinished file
        if path is None:
            return
        first, *others = _read(path) or [{}]
        if first.get("key") == key:
            for note in others:
                self._take(**note)
        elif os.path.getsize(path):
            raise CodecError(OTHER)
        else:
            with open(notes_of(path), "wb"):
                self._write(key=key)

    def _take(self, qp: float, every: int = 0, share: float | None = None) -> None:
        if share is None:
            self.begun = qp
        else:
            self.shares[every, qp] = share

    def add(self, every: int, qp: float, share: float) -> None:
        """Note a pass that ended."""
        self.shares[every, qp] = share
        self._write(qp=qp, every=every, share=share)

    def begin(self, qp: float) -> bool:
        """A pass of all GOPs begins: whether the unfinished file is of the same qp; else it is emptied."""
        if self.path is None or self.begun == qp:
            return self.path is not None
        os.truncate(self.path, 0)  # first: what is in it must never be taken for the new pass
        self.begun = qp
        self._write(qp=qp)
        return False

    def forget(self) -> None:
        """Leave nothing to go on with."""
        if self.path:
            os.truncate(self.path, 0)
            os.unlink(notes_of(self.path))

    def _write(self, **note: Any) -> None:
        if self.path:
            with open(notes_of(self.path), "a", encoding="ascii") as file:
                file.write(json.dumps(note) + "\n")


def _read(path: str) -> list[dict[str, Any]]:
    """The notes that are whole; what a killed process wrote half is cut off."""
    whole = b""
    with suppress(FileNotFoundError), open(notes_of(path), "r+b") as file:
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines()]
