"""Work in several processes ends at once wherever it is given up, and never waits for one that is gone."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bcodec.errors import ProcessKilled
from bcodec.processes import in_processes

LARGE = 1 << 20  # bytes, more than a pipe holds


def _reversed() -> partial[bytes]:
    return partial(_reverse)


def _reverse(task: bytes) -> bytes:
    return task[::-1]


def _growing() -> partial[bytes]:
    return partial(bytes)


def _failing() -> partial[None]:
    return partial(_fail)


def _fail(task: bytes) -> None:
    raise ValueError(f"{len(task)} bytes are too many")


def large(count: int) -> Iterator[bytes]:
    return (bytes([number]) + bytes(LARGE) for number in range(count))


def test_results_come_in_the_order_of_tasks() -> None:
    results = list(in_processes(_reversed, large(6), 2))
    assert [result[-1] for result in results] == list(range(6))
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(ProcessKilled, match="one of the processes was killed"):
        list(in_processes(partial(partial, os._exit), [1, 1], 2))
    assert multiprocessing.active_children() == []


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="5 bytes are too many") as raised:
        list(in_processes(_failing, [bytes(5)], 2))
    assert "in _fail" in raised.value.__notes__[0]


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
