"""What the command does before anything is loaded."""

import os
import subprocess
import sys

import pytest

CODE = "import os; from bcodec.__main__ import main; main(); print(os.environ['OMP_WAIT_POLICY'])"


@pytest.mark.parametrize(("given", "kept"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_wait_without_spinning_unless_told_otherwise(given: dict[str, str], kept: str) -> None:
    without = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    words = [sys.executable, "-c", CODE, "--version"]
    done = subprocess.run(words, env=without | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == kept
