"""Work that several processes of this machine share: what they make of tasks comes in the order of these.

Each process computes on one thread: small operations gain nothing from more, and lose much where others use
the cores. The first process does tasks, too, instead of waiting. The others are started anew ("spawn"), so a
program that uses this needs the usual guard: if __name__ == "__main__".

A thread of the first process attends each other one: hands it a task, and waits for what it makes of it. They
talk through a pipe of their own, of which each holds one end only: where one is killed in the middle of a
message, the other is told. So all can be killed at any time, and nobody has to be waited for.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from bcodec.crew import in_order
from bcodec.errors import ProcessKilled

T = TypeVar("T")
R = TypeVar("R")

Waiting: TypeAlias = "SimpleQueue[tuple[Future[R], T] | None]"  # None: there is no more


class _Other(NamedTuple):
    """Another process, and this one's end of the pipe to it."""

    process: SpawnProcess
    pipe: Connection


GONE = 5  # seconds within which a process that is killed is gone, and forgotten


@dataclass(frozen=True)
class Processes:
    """A crew of `size` processes of this machine, this one among them."""

    size: int

    def work(self, make: Callable[[], Callable[[T], R]], tasks: Iterable[T]) -> Generator[R, None, None]:
        """What `in_processes` gives."""
        return in_processes(make, tasks, self.size)


def in_processes(
    make: Callable[[], Callable[[T], R]], tasks: Iterable[T], jobs: int
) -> Generator[R, None, None]:
    """What `make()` makes of each task, computed by `jobs` processes; `make` is called once in each of them.

    This process is one of them; the others start at once. Holds twice as many tasks or results, and one, so
    that nobody waits while this process does one; all of these can be pickled. Close it to end the processes
    at once, as it does when it is collected. Raises what a task raises, and ProcessKilled where a process
    dies.
    """
    waiting: Waiting[R, T] = SimpleQueue()
    own = cache(make)

    def give(task: T) -> _Answer[R, T]:
        future = Future[R]()
        waiting.put((future, task))
        return _Answer(future, waiting, own)

    processes: list[SpawnProcess] = []
    try:
        with _one_thread():
            processes.extend(_attended(make, waiting) for _ in range(1, jobs))
            yield from in_order(give, tasks, lambda: 2 * jobs)
    finally:
        unwanted = [_early.pop() for _ in range(len(_early))]
        processes += [other.process for other in unwanted]
        for process in processes:
            process.kill()
            waiting.put(None)
        for process in processes:
            process.join(GONE)


@dataclass(frozen=True)
class _Answer(Generic[R, T]):
    """What will be made of a task, by whoever takes it first."""

    future: Future[R]
    waiting: Waiting[R, T]
    own: Callable[[], Callable[[T], R]]

    def done(self) -> bool:
        """Whether `result` need not wait."""
        return self.future.done()

    def result(self) -> R:
        """Do tasks that nobody has taken until this one is done, and wait for it; raises what it raises."""
        while not self.future.done():
            try:
                entry = self.waiting.get_nowait()
            except Empty:
                break
            assert entry
            future, task = entry
            try:
                future.set_result(self.own()(task))
            except Exception as error:
                future.set_exception(error)
        return self.future.result()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as the other processes do: they need the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def start_early(count: int) -> None:
    """Start processes before there is work for them: they load torch while this one does.

    The next that need some take these.
    """
    _early.extend(_start() for _ in range(count))


_early: list[_Other] = []


def _attended(make: Callable[[], Callable[[T], R]], waiting: Waiting[R, T]) -> SpawnProcess:
    """A process, and a thread that attends it."""
    process, ours = _early.pop() if _early else _start()
    threading.Thread(target=_attend, args=(ours, make, waiting), daemon=True).start()
    return process


def _start() -> _Other:
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_serve, args=(its,), daemon=True)
    resource_tracker.ensure_running()  # when that starts, it lets go of what is held back
    with _interrupts_held():
        process.start()
    its.close()
    return _Other(process, ours)


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


def _attend(process: Connection, make: Callable[[], Callable[[T], R]], waiting: Waiting[R, T]) -> None:
    """Let a process do one task after the other, while there are any and it lives."""
    failure: Exception | None = None
    with process:
        try:
            process.send_bytes(pickle.dumps(make))  # at once: what it makes takes it a while
        except Exception as unfit_or_gone:
            failure = unfit_or_gone
        while entry := waiting.get():
            future, task = entry
            try:
                if failure:
                    raise failure
                process.send_bytes(pickle.dumps(task))
                result, error = pickle.loads(process.recv_bytes())
            except (EOFError, OSError) as gone:
                killed = ProcessKilled("one of the processes was killed (too little memory?)")
                killed.__cause__ = gone
                future.set_exception(killed)
                return
            except Exception as unfit:  # to be pickled
                future.set_exception(unfit)
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(result)


def _serve(first: Connection) -> None:
    """Be one of the processes: make something of each task that the first process sends."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    work: Callable[[Any], Any] = pickle.loads(first.recv_bytes())()
    while True:
        task = pickle.loads(first.recv_bytes())
        answer: tuple[Any, Exception | None]
        try:
            answer = work(task), None
        except Exception as error:
            error.add_note(traceback.format_exc())  # where it was raised is not pickled
            answer = None, error
        first.send_bytes(pickle.dumps(answer))


def _follow_parent() -> None:
    """End this process when its parent is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
