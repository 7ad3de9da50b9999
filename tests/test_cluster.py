"""Workers of a Dask scheduler give the bytes of one process, whatever becomes of some of them."""

import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice, repeat
from operator import mul
from pathlib import Path

import pytest
from clips import moving, write
from commands import FAST, Command, one_error

from bcodec import __version__
from bcodec.bitstream import ARITHMETIC_VERSION
from bcodec.cli.main import main
from bcodec.encoder.effort import Preset
from bcodec.encoder.group import GroupCoder, Part
from bcodec.encoder.trial import CodedFrame
from bcodec.errors import ClusterError, CodecError
from bcodec.networks import Networks

pytest.importorskip("distributed")
from distributed import Client, Scheduler

from bcodec.cluster import Cluster

NOBODY = "tcp://127.0.0.1:9"
OPTIONS = ("--gop", 2, *FAST)
ONCE = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
HERE = Path(__file__).parent


@contextmanager
def started(log: Path, name: str, *words: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler or a worker on the loopback address, as a process that is killed at the end."""
    paths = [environment.pop("first", ""), str(HERE), *sys.path]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths), **environment},
            cwd=log.parent,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def told(log: Path, pattern: str) -> str:
    """What a process writes into its log sooner or later."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextmanager
def scheduler(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """One that gives a task to two workers at most, and its address."""
    words = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard")
    with started(folder / "scheduler", "scheduler", *words, **ONCE) as process:
        yield process, told(folder / "scheduler", r"Scheduler at:\s+(\S+)")


@contextmanager
def worker(folder: Path, number: int, address: str, first: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """One that is ready, with one thread."""
    log, alone = folder / f"worker{number}", ("--nthreads", 1, "--no-dashboard", "--no-nanny")
    with started(log, "worker", address, *alone, "--local-directory", folder, first=first) as process:
        told(log, r"(Registered to)")
        yield process


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with two workers."""
    folder = tmp_path_factory.mktemp("cluster")
    with scheduler(folder) as (_, found), worker(folder, 1, found), worker(folder, 2, found):
        yield found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("source") / "clip.y4m", moving(9, 64, 48))


@pytest.fixture(scope="module")
def expected(source: Path, tiny_weights: Path) -> bytes:
    """What one process codes."""
    target = source.with_name("expected.bcv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
        assert main(["encode", str(source), "-o", str(target), *map(str, OPTIONS), "--jobs", "1"]) == 0
    return target.read_bytes()


def test_commands_do_by_workers_what_they_do_alone(
    run: Command, address: str, source: Path, expected: bytes, tmp_path: Path
) -> None:
    there, target = ("--scheduler", address), tmp_path / "a.bcv"
    done = run("encode", source, "-o", target, *OPTIONS, *there, "--verify")
    assert (done.status, len(done.err.splitlines())) == (0, 1), done.err  # and none of Dask
    assert target.read_bytes() == expected
    assert run("decode", target, "-o", "-", *there).out == run("decode", target, "-o", "-", "--jobs", 1).out
    assert run("verify", target, *there).out.endswith(b": OK, 9 frames\n")
    results = [run("compare", source, target, "--no-ms-ssim", *how).out for how in (there, ("--jobs", 1))]
    assert results[0] == results[1] != b""
    assert run("encode", source, "--out-dir", tmp_path / "many", *OPTIONS, *there).status == 0
    assert (tmp_path / "many" / "clip.y4m.bcv").read_bytes() == expected
    one_error(run("encode", source, "-o", target, "-y", *there, "--target-psnr", 30), 2, "cannot use --sch")


def test_an_encode_is_gone_on_with_by_workers(
    run: Command, address: str, source: Path, expected: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "a.bcv"
    target.with_name(".a.bcv.part").write_bytes(expected[: len(expected) * 2 // 3])
    done = run("encode", source, "-o", target, *OPTIONS, "--resume", "--scheduler", address)
    assert done.status == 0, done.err
    assert target.read_bytes() == expected


# ---------------------------------------------------------------- the work, without commands


def _doubling() -> Callable[[int], int]:
    return partial(mul, 2)


def _failing() -> Callable[[int], None]:
    return partial(_fail)


def _fail(task: int) -> None:
    raise CodecError(f"{task} is too much")


def test_tasks_are_taken_as_they_are_needed_and_results_come_in_order(address: str) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with Cluster(address) as cluster, closing(cluster.work(_doubling, tasks())) as results:
        assert cluster.size == 2
        for number, result in enumerate(results):
            assert result == 2 * number
            assert len(taken) <= number + 2 * cluster.size + 1


def test_what_a_task_raises_is_raised(address: str) -> None:
    with Cluster(address) as cluster, pytest.raises(CodecError, match="5 is too much"):
        list(cluster.work(_failing, [5]))


def _count_tasks(dask_scheduler: Scheduler) -> int:
    return len(dask_scheduler.tasks)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from bcodec import networks
from bcodec.cli.main import main
from bcodec.pipeline.tally import Tally

networks.shipped_weights = lambda: Path(sys.argv[1])
Tally.count_frame = lambda _: os.kill(os.getpid(), signal.SIGINT)
sys.exit(main(["encode", sys.argv[2], "-o", sys.argv[3], "--gop", "2", "--scheduler", sys.argv[4]]))
"""


def test_ctrl_c_ends_the_work_in_one_line(
    address: str, source: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, script, tiny_weights, source, tmp_path / "a.bcv", address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "bcodec: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["interrupted.py"]
    end = time.monotonic() + 10
    with Client(address) as client:
        while client.run_on_scheduler(_count_tasks) and time.monotonic() < end:
            time.sleep(0.05)
        assert client.run_on_scheduler(_count_tasks) == 0


# ---------------------------------------------------------------- workers that die


def _deadly(
    deaths: list[Path], networks: Networks, preset: Preset, pictures: bool
) -> Callable[[Part], list[CodedFrame]]:
    """What codes parts in a worker, and kills that amid the video: once for each file that is there."""
    coder = GroupCoder(networks, preset, pictures=pictures)

    def code(part: Part) -> list[CodedFrame]:
        coded = coder.part(part)
        first = list(islice(coded, 1))
        for death in deaths if part.slots[0].poc == 3 else ():
            if death.exists():
                death.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return [*first, *coded]

    return code


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_costs_its_task_and_two_the_encode(
    run: Command, source: Path, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    deaths = [tmp_path / f"death{number}" for number in range(times)]
    for death in deaths:
        death.touch()
    monkeypatch.setattr("bcodec.encoder.parallel._coder", partial(_deadly, deaths))
    monkeypatch.setattr("bcodec.cluster.ANSWERS", 1)
    target, folder = tmp_path / "out" / "a.bcv", tmp_path / "cluster"
    target.parent.mkdir()
    folder.mkdir()
    with (
        scheduler(folder) as (_, address),
        worker(folder, 1, address) as one,
        worker(folder, 2, address) as two,
    ):
        done = run("encode", source, "-o", target, *OPTIONS, "--scheduler", address)
        ends = [process.wait(10) if times == 2 else process.poll() for process in (one, two)]
        assert ends.count(-signal.SIGKILL) == times
        if times == 1:
            assert done.status == 0, done.err
            assert target.read_bytes() == expected
        else:
            one_error(done, 1, "a part was given up: 2 workers that had it were killed")
            assert list(target.parent.iterdir()) == []
            one_error(run("verify", source, "--scheduler", address), 1, f"at {address} has no workers")
    assert not any(death.exists() for death in deaths)


def _dawdling() -> Callable[[float], None]:
    return time.sleep


def test_a_scheduler_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcodec.cluster.ANSWERS", 1)
    with (
        scheduler(tmp_path) as (process, address),
        worker(tmp_path, 1, address),
        Cluster(address) as cluster,
        closing(cluster.work(_dawdling, [0, 600])) as results,
    ):
        next(results)
        process.kill()
        for again in (results, cluster.work(_dawdling, [0])):
            with pytest.raises(ClusterError, match=f"the Dask scheduler at {address} is gone"):
                next(again)


# ---------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def without_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with scheduler(tmp_path_factory.mktemp("without")) as (_, address):
        yield address


OTHER = "import bcodec; bcodec.__version__ = '0.0.1'"
OLDER = "import bcodec.bitstream; bcodec.bitstream.ARITHMETIC_VERSION = 3"
NONE = "import sys; sys.modules['bcodec'] = None"


@contextmanager
def strange_worker(folder: Path, address: str, start: str) -> Iterator[str]:
    """One that runs `start` at its start; its name."""
    (folder / "strange").mkdir()
    (folder / "strange" / "sitecustomize.py").write_text(start)
    with worker(folder, 0, address, first=str(folder / "strange")):
        yield told(folder / "worker0", r"Listening to: +(\S+)")


STRANGERS = [
    (OTHER, f"has bcodec 0.0.1, here is {__version__}"),
    (OLDER, f"has arithmetic version 3, here is {ARITHMETIC_VERSION}"),
    (NONE, "cannot use bcodec: import of bcodec halted"),
]


@pytest.mark.parametrize(("start", "words"), STRANGERS)
def test_a_worker_that_would_code_otherwise_is_refused_by_name(
    run: Command, coded: Path, without_workers: str, tmp_path: Path, start: str, words: str
) -> None:
    with strange_worker(tmp_path, without_workers, start) as name:
        one_error(run("verify", coded, "--scheduler", without_workers), 1, f"the worker {name} {words}")


@pytest.mark.parametrize(("start", "words"), STRANGERS[1:])
def test_one_that_comes_later_ends_the_work(address: str, tmp_path: Path, start: str, words: str) -> None:
    with (
        Cluster(address) as cluster,
        closing(cluster.work(_dawdling, repeat(0.1))) as results,
    ):
        next(results)
        with (
            strange_worker(tmp_path, address, start) as name,
            pytest.raises(ClusterError, match=f"the worker {name} {words}"),
        ):
            deque(islice(results, 200), maxlen=0)


def test_without_a_scheduler_a_command_says_so(
    run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.cluster.ANSWERS", 1)
    one_error(run("verify", coded, "--scheduler", NOBODY), 1, f"no Dask scheduler answers at {NOBODY}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scheduler", "host"), "'host' is not an address like tcp://host:8786"),
        (("--scheduler", NOBODY, "--jobs", 2), "--jobs and --scheduler contradict each other"),
    ],
)
def test_wrong_usage_is_told(run: Command, coded: Path, words: tuple[str, ...], message: str) -> None:
    one_error(run("verify", coded, *words), 2, message)


def test_without_dask_a_command_says_what_to_install(
    run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.cli.arguments.find_spec", lambda _: None)
    one_error(run("verify", coded, "--scheduler", NOBODY), 1, "pip install 'bcodec[cluster]'")


def test_nobody_imports_dask_who_does_not_ask_for_it(coded: Path) -> None:
    script = "import sys; from bcodec.cli.main import main; main(['info', sys.argv[1]]);"
    script += "import bcodec.pipeline.encode, bcodec.pipeline.decode; sys.exit('dask' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, coded], env=environment, check=True, capture_output=True)


FREED = """
import resource, torch
from bcodec.cluster import keep_freed_memory
if {kept}:
    keep_freed_memory()
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.ones(1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_memory_that_is_freed_is_kept_in_spite_of_what_dask_sets() -> None:
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # as its nannies do
    often, seldom = (
        int(subprocess.check_output([sys.executable, "-c", FREED.format(kept=kept)], env=environment))
        for kept in (False, True)
    )
    assert seldom < often / 10
