"""How signals end the program: by an exception, and none while a package is being imported.

It imports next to nothing: signals must be heeded before what takes time is.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType as StackFrame

RETRY = 0.02  # seconds until a signal that must wait comes again


class Stopped(BaseException):
    """A signal asks the program to end."""

    def __init__(self, number: int) -> None:
        self.number = number

    def end(self) -> int:
        """Say so in one line; returns the exit status."""
        sys.stderr.write("bcodec: interrupted\n")
        return 128 + self.number


@contextmanager
def signals_raised() -> Iterator[None]:
    """Let a signal that ends the program do so by Stopped: nothing half done is left behind.

    During an import it waits for its end: torch aborts where an exception meets it half loaded.
    """
    waiting: list[int] = []

    def stop(number: int, frame: StackFrame | None) -> None:
        if _importing(frame):
            waiting.append(number)
            signal.setitimer(signal.ITIMER_REAL, RETRY)
        else:
            raise Stopped(number)

    def again(_: int, frame: StackFrame | None) -> None:
        if waiting:
            stop(waiting.pop(), frame)

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    heeded = [s for s in map(signal.Signals.__getitem__, names) if signal.getsignal(s) is not signal.SIG_IGN]
    handlers = dict.fromkeys(heeded, stop) | {signal.SIGALRM: again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting:
        raise Stopped(waiting.pop())


def _importing(frame: StackFrame | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
