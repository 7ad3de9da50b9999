"""Work that workers of a Dask cluster share: what they make of tasks comes in the order of these.

The scheduler sees bytes and functions of the standard library only, so it needs no bcodec. What the tasks
have in common, the networks above all, is the result of a task of its own: a worker holds it once, and hands
it on to those that come later; where all that hold it die, it is made anew. So Dask can repeat all that a
worker had which is gone.
"""

from __future__ import annotations

import ctypes
import logging
import operator
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pkgutil import resolve_name
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4
from weakref import WeakSet

import torch
from distributed import Client, Future, KilledWorker, wait
from distributed.client import ClosedClientError

from bcodec.crew import in_order
from bcodec.errors import ClusterError, ProcessKilled

T = TypeVar("T")
R = TypeVar("R")

ANSWERS, PATIENCE = 5, 60  # seconds for a scheduler to answer, and for the last worker to be replaced
GONE = (CancelledError, ClosedClientError, OSError)  # what Dask raises where the scheduler is gone
# What is to be the same everywhere; weights travel with the work.
SAME = {"bcodec:__version__": "bcodec", "bcodec.bitstream:ARITHMETIC_VERSION": "arithmetic version"}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of mallopt, as glibc numbers them
LOGGERS = ("asyncio", "distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")


class Cluster:
    """A crew of all workers of the scheduler at an address, tcp://host:port, while it is entered.

    Entering raises ClusterError, in a few seconds, if no scheduler is there or it has no workers, and if one
    of these has another bcodec or none.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> Self:
        _silence()
        try:
            self._client = Client(self.address, timeout=ANSWERS)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler answers at {self.address}") from error
        self._known = set[str]()
        try:
            self._client.wait_for_workers(1, timeout=ANSWERS)
            _ = self.size  # which looks at them
        except TimeoutError as error:
            self._client.close()
            raise ClusterError(f"the Dask scheduler at {self.address} has no workers") from error
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def size(self) -> int:
        """The threads of all workers that are there now.

        Raises ClusterError, which names it, for one that has come and has another bcodec or none.
        """
        with self._connected():
            threads: dict[str, int] = self._client.nthreads()
            if new := threads.keys() - self._known:
                for name in SAME:
                    found = self._client.run(resolve_name, name, workers=list(new), on_error="return")
                    for worker, theirs in found.items():
                        _compare(worker, name, theirs)
                self._known |= new
        return sum(threads.values())

    def work(self, make: Callable[[], Callable[[T], R]], tasks: Iterable[T]) -> Generator[R, None, None]:
        """What `make()` makes of each task, on one thread; `make` is called once in each thread of a worker.

        Holds two tasks or results a thread, and one. Raises what a task raises, ProcessKilled where workers
        die of a task as often as the scheduler allows (its allowed-failures), and ClusterError. Close it to
        cancel what has not begun.
        """
        name, numbers = f"bcodec-{uuid4().hex}", count()
        futures = WeakSet[Future]()

        def submit(call: Callable[..., object], *arguments: object) -> Future:
            number = next(numbers)
            key = f"{name}-{call.__name__}", number
            future = self._client.submit(call, *arguments, key=key, priority=-number)  # the first comes first
            futures.add(future)
            return future

        def give(task: T) -> _Answer[R]:
            with self._connected():
                return _Answer(self, submit(operator.call, member, pickle.dumps(task)))

        try:
            with self._connected():
                member = submit(pickle.loads, pickle.dumps(_Member(make)))
            yield from in_order(give, tasks, lambda: 2 * self.size)
        finally:
            with suppress(*GONE):
                self._client.cancel(list(futures))

    def wait(self, future: Future) -> bytes:
        """The result of a task; raises ClusterError where for a while there is no worker to do it."""
        seen = time.monotonic()
        while True:
            with self._connected(), suppress(TimeoutError):
                wait([future], timeout=ANSWERS)
            if self.size:
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE:
                raise ClusterError(f"the Dask scheduler at {self.address} has no workers any more")
            if future.done():
                with self._connected():
                    made: bytes = future.result()
                return made

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Raise ClusterError where the scheduler is gone."""
        try:
            yield
        except GONE as error:
            raise ClusterError(f"the Dask scheduler at {self.address} is gone") from error


@dataclass(frozen=True)
class _Answer(Generic[R]):
    """What a worker will make of a task."""

    cluster: Cluster
    future: Future

    def done(self) -> bool:
        return bool(self.future.done())

    def result(self) -> R:
        try:
            made: R = pickle.loads(self.cluster.wait(self.future))
        except KilledWorker as killed:
            times = killed.allowed_failures + 1
            raise ProcessKilled(f"a part was given up: {times} workers that had it were killed") from killed
        return made


_thread = threading.local()  # of a worker: what it makes of tasks, and as whose member


@dataclass(frozen=True, eq=False)
class _Member:
    """Does tasks in a worker, each thread by a work of its own."""

    make: Callable[[], Callable[[Any], Any]]

    def __call__(self, task: bytes) -> bytes:
        if getattr(_thread, "member", None) is not self:
            torch.set_num_threads(1)
            keep_freed_memory()
            _thread.work, _thread.member = self.make(), self
        return pickle.dumps(_thread.work(pickle.loads(task)))


def keep_freed_memory() -> None:
    """Let the allocator of glibc keep what is freed for the next tensor, as it would by itself.

    Dask's nanny has it return all at once, and a worker then spends half of its time on pages that are new.
    """
    with suppress(OSError, TypeError, AttributeError):  # another system's
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        allocator.mallopt(M_TRIM_THRESHOLD, 64 << 20)


def _compare(worker: str, name: str, theirs: object) -> None:
    """Refuse a worker that would code otherwise; what it says may be an exception."""
    if isinstance(theirs, ImportError | AttributeError):
        raise ClusterError(f"the worker {worker} cannot use bcodec: {theirs}") from theirs
    if isinstance(theirs, Exception):  # it is gone again
        return
    if theirs != (ours := resolve_name(name)):
        raise ClusterError(f"the worker {worker} has {SAME[name]} {theirs}, here is {ours}")


def _silence() -> None:
    """Keep what Dask logs and warns of from the terminal: what matters is raised."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False
    warnings.filterwarnings("ignore", module=r"(distributed|dask)\b")
