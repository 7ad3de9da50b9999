"""A signal ends the command in one line at any time, also while its packages are being loaded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from clips import still

from bcodec.cli.signals import Stopped, signals_raised

SEND = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"


def interrupted(*words: str, folder: Path) -> tuple[int, str]:
    """The exit status and standard error of the command, run with modules of `folder` before all others."""
    done = subprocess.run(
        [sys.executable, "-m", "bcodec", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("package", ["click", "av", "torch"])
def test_a_signal_in_an_import_ends_the_command_behind_it(tmp_path: Path, package: str) -> None:
    source, stand_ins = still(tmp_path / "in.y4m"), tmp_path / "stand_ins"
    stand_ins.mkdir()
    real = (
        "import importlib, sys\n"
        f"sys.path.remove({str(stand_ins)!r}); del sys.modules[{package!r}]\n"
        f"importlib.import_module({package!r}).bcodec_went_on = True\n"
    )
    (stand_ins / f"{package}.py").write_text(SEND + real)
    found = interrupted("encode", str(source), "-o", str(tmp_path / "out.bcv"), folder=stand_ins)
    assert found == (130, "bcodec: interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.y4m", "stand_ins"]


def test_no_signal_is_raised_inside_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_loaded.py").write_text(SEND + "import time\ntime.sleep(0.1)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Stopped) as caught:
        import_half_loaded()
    assert caught.value.number == signal.SIGINT
    assert sys.modules.pop("half_loaded").whole
    assert signal.getsignal(signal.SIGALRM) is before


def import_half_loaded() -> None:
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals_raised():
            __import__("half_loaded")
            signal.pause()  # the signal comes again
    finally:
        signal.signal(signal.SIGINT, inherited)
