"""Work in several processes ends at once wherever it is given up, and never waits for one that is gone."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from bcodec.errors import ProcessKilled
from bcodec.processes import in_processes, start_early

LARGE = 1 << 20  # bytes, more than a pipe holds


def _reversed() -> partial[bytes]:
    return partial(_reverse)


def _reverse(task: bytes) -> bytes:
    return task[::-1]


def _growing() -> partial[bytes]:
    return partial(bytes)


def _others_only(first: int, taken: Path, deed: Callable[[bytes], None]) -> partial[None]:
    return partial(_leave_to_others, first, taken, deed)


def _leave_to_others(first: int, taken: Path, deed: Callable[[bytes], None], task: bytes) -> None:
    """Do a deed in any process but the first, which waits until one of them has begun."""
    if os.getpid() != first:
        taken.touch()
        deed(task)
    while not taken.exists():
        time.sleep(0.01)


def _fail(task: bytes) -> None:
    raise ValueError(f"{len(task)} bytes are too many")


def _die(task: bytes) -> None:
    os._exit(len(task))


def large(count: int) -> Iterator[bytes]:
    return (bytes([number]) + bytes(LARGE) for number in range(count))


def test_results_come_in_the_order_of_tasks() -> None:
    results = list(in_processes(_reversed, large(6), 2))
    assert [result[-1] for result in results] == list(range(6))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_the_first_process_works_too(jobs: int) -> None:
    processes = list(in_processes(partial(partial, _process), range(9), jobs))
    assert os.getpid() in processes
    assert len(set(processes)) <= jobs
    assert multiprocessing.active_children() == []


def _process(_: int) -> int:
    return os.getpid()


def test_processes_that_were_started_early_are_taken() -> None:
    start_early(1)
    early = multiprocessing.active_children()
    make = partial(_others_only, os.getpid(), Path(os.devnull), _nothing)
    assert list(in_processes(make, [b"", b""], 2)) == [None, None]
    assert len(early) == 1
    assert multiprocessing.active_children() == []


def _nothing(_: bytes) -> None:
    pass


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProcessKilled, match="one of the processes was killed"):
        list(in_processes(partial(_others_only, os.getpid(), tmp_path / "taken", _die), [b"", b"a"], 2))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_task_raises_is_raised(tmp_path: Path, jobs: int) -> None:
    make = partial(partial, _fail)
    if jobs > 1:
        make = partial(_others_only, os.getpid(), tmp_path / "taken", _fail)
    with pytest.raises(ValueError, match="5 bytes are too many") as raised:
        list(in_processes(make, [bytes(5)] * jobs, jobs))
    assert jobs == 1 or "in _fail" in raised.value.__notes__[0]


ABANDONED = """
import gc, multiprocessing, time
from test_processes import _growing, in_processes

if __name__ == "__main__":
    for taken in (1, 2):
        results = in_processes(_growing, [1 << 26] * 6, 2)
        for _ in range(taken):
            next(results)
        cycle = [results]
        cycle.append(cycle)
        del results, cycle
        began = time.monotonic()
        gc.collect()
        assert time.monotonic() - began < 5
        assert multiprocessing.active_children() == []
"""


def test_what_is_given_up_and_collected_later_waits_for_nobody(tmp_path: Path) -> None:
    """Processes are then killed while half of what they made is on its way: its end never comes."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=100)
