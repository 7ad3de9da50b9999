"""Work that several processes of this machine share: what they make of tasks comes in the order of these.

Each process computes on one thread. They are started anew ("spawn"), so a program that uses this needs the
usual guard: if __name__ == "__main__".
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from bcodec.errors import ProcessKilled

T = TypeVar("T")
R = TypeVar("R")


def in_processes(
    make: Callable[[], Callable[[T], R]], tasks: Iterable[T], jobs: int
) -> Generator[R, None, None]:
    """What `make()` makes of each task, computed by `jobs` processes; `make` is called once in each of them.

    Holds `jobs` + 1 tasks or results. Close it to end the processes at once. Raises what a task raises, and
    ProcessKilled where a process dies.
    """
    running: deque[Future[R]] = deque()
    try:
        with _processes(make, jobs) as pool:
            for task in tasks:
                with _interrupts_held():
                    running.append(pool.submit(_work_on, task))  # may start a process
                while running and (len(running) > jobs or running[0].done()):
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
    except BrokenProcessPool as error:
        raise ProcessKilled("one of the processes was killed (too little memory?)") from error


@contextmanager
def _processes(make: Callable[[], Callable[[T], R]], jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are gone at the end, at once if it is an exception."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (make,)) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back from this thread, and for ever from the processes that it starts meanwhile.

    Ctrl-C goes to all of them: the first process ends the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Callable[[Any], Any]  # of this process, where it is one of the pool


def _begin(make: Callable[[], Callable[[T], R]]) -> None:
    """Prepare a process of the pool."""
    global _work  # noqa: PLW0603 (a pool has no other place for it)
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    _work = make()


def _follow_parent() -> None:
    """End this process when its parent is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _work_on(task: T) -> Any:
    return _work(task)
