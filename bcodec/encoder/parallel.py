"""Coding the groups of one video in several processes: the same packets as in one, in the same order.

The first process codes the anchors, one after the other: they make a chain. What lies between two of them
needs nothing else, and is coded by another process, each on one thread.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from bcodec.encoder.effort import Preset
from bcodec.encoder.group import Anchor, ClosedGroup, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.encoder.trial import CodedFrame
from bcodec.errors import CodecError
from bcodec.networks import Networks


def code_in_parallel(
    parts: Iterable[Group],
    qp: float,
    networks: Networks,
    preset: Preset,
    jobs: int,
    *,
    past: Anchor | None = None,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """What `code_groups` gives, computed by `jobs` processes; holds the frames of `jobs` + 1 groups.

    Raises CodecError for networks that are not on the CPU, and where a process dies.
    """
    if networks.device.type != "cpu":
        raise CodecError("several processes need the CPU, and the networks are on another device")
    coder = GroupCoder(networks, preset, pictures=pictures)
    running: deque[tuple[CodedFrame, Future[list[CodedFrame]]]] = deque()
    try:
        with _processes(networks, preset, jobs, pictures=pictures) as pool:
            for closed in coder.chain(parts, qp, past):
                with _interrupts_held():
                    rest = pool.submit(_rest, closed)  # may start a process
                running.append((coder.shown(closed.coded), rest))
                if len(running) > jobs:
                    yield from _whole(*running.popleft())
            while running:
                yield from _whole(*running.popleft())
    except BrokenProcessPool as error:
        raise CodecError("a process of this encode was killed (too little memory?)") from error


@contextmanager
def _processes(
    networks: Networks, preset: Preset, jobs: int, *, pictures: bool
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are gone at the end, at once if it is an exception."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (pickle.dumps(networks), preset, pictures)) as pool:
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


_coder: GroupCoder  # of this process, where it is one of the pool


def _begin(networks: bytes, preset: Preset, pictures: bool) -> None:
    """Prepare a process of the pool."""
    global _coder  # noqa: PLW0603 (a pool has no other place for it)
    threading.Thread(target=_follow_parent, daemon=True).start()
    torch.set_num_threads(1)
    _coder = GroupCoder(pickle.loads(networks), preset, pictures=pictures)


def _follow_parent() -> None:
    """End this process when its parent is gone, killed perhaps."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _rest(closed: ClosedGroup) -> list[CodedFrame]:
    return list(_coder.rest(closed))


def _whole(anchor: CodedFrame, rest: Future[list[CodedFrame]]) -> Iterator[CodedFrame]:
    yield anchor
    yield from rest.result()
