"""What the command does before anything is loaded."""

import os
import subprocess
import sys

import pytest

CODE = "import os; from bcodec.__main__ import main; main(); print(os.environ.get('GOMP_SPINCOUNT'))"
POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({POLICY: "ACTIVE"}, "None"), ({SPINS: "7"}, "7")]
)
def test_waiting_threads_spin_little_unless_told_otherwise(given: dict[str, str], spins: str) -> None:
    without = {name: value for name, value in os.environ.items() if name not in (POLICY, SPINS)}
    words = [sys.executable, "-c", CODE, "--version"]
    done = subprocess.run(words, env=without | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == spins
