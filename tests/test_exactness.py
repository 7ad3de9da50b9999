"""The same bitstream and the same decoded pictures under every instruction set and number of threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("exactness_run.py")
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ATEN_CPU_CAPABILITY": "default"},
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
)
VARIANTS = ["threads=1", "threads=2", "mkldnn=off", *(["cuda"] if torch.cuda.is_available() else [])]


def lines(weights: Path, environment: dict[str, str], variants: list[str]) -> list[str]:
    """Environment, variant, MD5 of the payloads and of the planes, for each variant: run by a new Python."""
    options = [option for variant in variants for option in ("--variant", variant)]
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), str(weights), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return [f"{environment} {line}" for line in finished.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs(tiny_weights: Path) -> list[list[str]]:
    """The words of each line; the last two are the MD5s of the payloads and of the planes."""
    with ThreadPoolExecutor(2) as pool:
        done = pool.map(
            lambda environment: lines(tiny_weights, environment, ["default"] if environment else VARIANTS),
            ENVIRONMENTS,
        )
        return [line.split() for run in done for line in run]


def test_every_variation_was_run(runs: list[list[str]]) -> None:
    assert len(runs) == len(VARIANTS) + len(ENVIRONMENTS) - 1


def test_decoded_pictures_are_the_same_everywhere(runs: list[list[str]]) -> None:
    assert len({run[-1] for run in runs}) == 1, runs


def test_bitstreams_are_the_same_everywhere(runs: list[list[str]]) -> None:
    assert len({run[-2] for run in runs}) == 1, runs
