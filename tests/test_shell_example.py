"""examples/encode_folder.sh finds bcodec whether its environment is active or not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "encode_folder.sh"


def stand_in(path: Path, name: str) -> None:
    """A program that prints a name and the words it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho {name} "$@"\n')
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("there", "variable", "run"),
    [
        (("active", "beside", "python3"), "", "active"),
        (("beside", "python3"), "", "beside -m bcodec"),
        (("python3",), "", "python3 -m bcodec"),
        (("active", "beside", "chosen"), "./chosen -m bcodec", "chosen -m bcodec"),
        (("active", "chosen"), "./chosen", "chosen"),
        (("active", "apart"), "./a part/bcodec", "apart"),
    ],
)
def test_encode_folder_finds_bcodec(tmp_path: Path, there: tuple[str, ...], variable: str, run: str) -> None:
    done = encode_folder(tmp_path, there, variable)
    assert (done.stdout, done.stderr) == (f"{run} encode --out-dir out -- in/a.mp4\n", "")


def test_encode_folder_says_that_there_is_no_bcodec(tmp_path: Path) -> None:
    done = encode_folder(tmp_path, (), "")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "encode_folder.sh: bcodec is not installed; README.md says how" in done.stderr


def encode_folder(tmp_path: Path, there: tuple[str, ...], variable: str) -> subprocess.CompletedProcess[str]:
    """Run the script where there are only these programs."""
    script = tmp_path / "examples" / SCRIPT.name
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    places = {
        "active": "path/bcodec",
        "python3": "path/python3",
        "beside": ".venv/bin/python",
        "chosen": "chosen",
        "apart": "a part/bcodec",
    }
    for name in there:
        stand_in(tmp_path / places[name], name)
    for program in ("dirname", "realpath", "bash"):
        found = shutil.which(program)
        assert found
        (tmp_path / "path").mkdir(exist_ok=True)
        (tmp_path / "path" / program).symlink_to(found)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").touch()
    return subprocess.run(
        ["bash", str(script), "in", "out"],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path / "path"), "BCODEC": variable},
        capture_output=True,
        text=True,
        check=False,
    )
