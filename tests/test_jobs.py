"""Where nobody says how many processes there are, it is those that help; what comes of it is the same."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clips import moving, write
from commands import FAST, Command, feed, flipped, pictures
from packets import VIDEO

from bcodec.crew import Auto
from bcodec.errors import UsageError
from bcodec.pipeline import jobs
from bcodec.pipeline.jobs import (
    FEW_TO_DECODE,
    bytes_of_process,
    crew_for,
    free_memory,
    jobs_for,
    start_early,
)
from bcodec.processes import Processes

MANY = 10_000
AUTO = Auto()
HD = replace(VIDEO, width=1920, height=1080)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores and much memory."""
    monkeypatch.setattr(jobs, "available_cores", lambda: 8)
    monkeypatch.setattr(jobs, "free_memory", lambda: 1 << 40)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [(None, 8), (MANY, 8), (1, 1), (9, 1), (10, 2), (33, 4)],
)
def test_as_many_help_as_there_are_parts(frames: int | None, expected: int) -> None:
    assert jobs_for(AUTO, HD, frames, FEW_TO_DECODE) == expected


def test_few_samples_are_left_to_one() -> None:
    small = replace(VIDEO, width=64, height=48)
    assert jobs_for(AUTO, small, 300, FEW_TO_DECODE) == 1
    assert jobs_for(AUTO, small, 6000, FEW_TO_DECODE) == 8
    assert crew_for(3, CPU, small, 1, FEW_TO_DECODE) == Processes(3)
    assert crew_for(AUTO, CPU, small, 1, FEW_TO_DECODE) is None
    assert crew_for(1, CPU, HD, MANY, FEW_TO_DECODE) is None


def test_threads_and_memory_are_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "free_memory", lambda: 3 * bytes_of_process(HD))
    assert jobs_for(AUTO, HD, MANY, FEW_TO_DECODE) == 3
    assert jobs_for(Auto(2), HD, MANY, FEW_TO_DECODE) == 2
    monkeypatch.setattr(jobs, "free_memory", lambda: 0)
    assert jobs_for(AUTO, HD, MANY, FEW_TO_DECODE) == 1


def test_a_gpu_is_left_to_one() -> None:
    assert crew_for(AUTO, torch.device("cuda"), HD, MANY, FEW_TO_DECODE) is None
    with pytest.raises(UsageError, match="--jobs 2 needs the CPU"):
        crew_for(2, torch.device("cuda"), HD, MANY, FEW_TO_DECODE)


@pytest.mark.parametrize(
    ("asked", "device", "gpu", "started"),
    [
        (AUTO, "auto", False, 7),
        (Auto(4), "auto", False, 3),
        (AUTO, "auto", True, 0),
        (AUTO, "cuda", False, 0),
        (2, "cpu", True, 1),
        (1, "cpu", False, 0),
    ],
)
def test_those_that_help_are_started_early(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: int | Auto,
    device: str,
    gpu: bool,
    started: int,
) -> None:
    found: list[int] = []
    monkeypatch.setattr("bcodec.processes.start_early", found.append)
    monkeypatch.setattr(jobs, "GPUS", (tmp_path if gpu else tmp_path / "none",))
    start_early(asked, device, HD, MANY, FEW_TO_DECODE)
    assert sum(found) == started


@pytest.mark.parametrize(("limit", "expected"), [("max", 8192), ("5000", 3500), (None, 8192)])
def test_memory_is_that_of_the_machine_or_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    monkeypatch.undo()  # of the machine above
    (tmp_path / "meminfo").write_text("MemTotal:  100 kB\nMemAvailable:     8 kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("2000\n")
        (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 500\n")
    monkeypatch.setattr(jobs, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(jobs, "CGROUP", tmp_path)
    assert free_memory() == expected
    monkeypatch.setattr(jobs, "MEMORY", tmp_path / "none")
    assert free_memory() == (expected if limit == "5000" else None)


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("jobs") / "clip.y4m", moving(6, 40, 24))


def test_commands_do_with_processes_what_they_do_alone(
    run: Command, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded, options = tmp_path / "a.bcv", ("--gop", 2, *FAST)
    assert run("encode", source, "-o", coded, *options, "--jobs", 1).status == 0
    one = run("decode", coded, "-o", "-", "--jobs", 1)
    data = coded.read_bytes()
    feed(monkeypatch, data)
    assert run("decode", "-", "-o", "-", "--jobs", 2).out == one.out
    found = run("decode", coded, "-o", tmp_path / "part.y4m", "--start", 1, "--frames", 2, "--jobs", 2)
    assert found.status == 0, found.err
    assert pictures(tmp_path / "part.y4m") == [part[:1440] for part in one.out.split(b"FRAME\n")[2:4]]
    assert run("verify", coded, "--jobs", 2).out.endswith(b": OK, 6 frames\n")
    results = [run("compare", source, coded, "--no-ms-ssim", "--jobs", jobs).out for jobs in (1, 2)]
    assert results[0] == results[1] != b""
    coded.write_bytes(flipped(data, len(data) * 2 // 3))
    endings = [run("decode", coded, "-o", tmp_path / f"{n}.y4m", "--jobs", n) for n in (1, 2)]
    assert endings[1].status == endings[0].status == 1
    assert " kept in " in endings[1].err
    assert endings[1].err.replace("2.y4m", "1.y4m") == endings[0].err
    assert (tmp_path / "1.y4m").read_bytes() == (tmp_path / "2.y4m").read_bytes()


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from bcodec import networks
from bcodec.cli.main import main
from bcodec.pipeline.tally import Tally

if __name__ == "__main__":
    networks.shipped_weights = lambda: Path(sys.argv[1])
    Tally.count_frame = lambda _: os.killpg(0, signal.SIGINT)
    sys.exit(main(["decode", sys.argv[2], "-o", sys.argv[3], "--jobs", "2"]))
"""


def test_ctrl_c_ends_all_processes_in_one_line(
    run: Command, source: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    coded, script, target = tmp_path / "a.bcv", tmp_path / "interrupted.py", tmp_path / "out.y4m"
    assert run("encode", source, "-o", coded, "--gop", 2, *FAST).status == 0
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, script, tiny_weights, coded, target],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,  # Ctrl-C goes to all of its processes, and to no other
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "bcodec: interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bcv", "interrupted.py"]
