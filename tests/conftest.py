"""Tiny random networks, exported and loaded like the released ones, and commands run in process with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bcodec.cli.main import main
from bcodec.entropy.tables import make_tables
from bcodec.networks import Channels, Networks, load_networks, save_networks

TINY = Channels(level1=8, level2=8, level3=8, y=24, z=8, motion=16)


def save_tiny(path: Path, seed: int = 0) -> None:
    """Random weights, large enough that every layer matters."""
    torch.manual_seed(seed)
    networks = Networks(TINY)
    with torch.no_grad():
        for parameter in networks.parameters():
            if parameter.ndim == 4:
                parameter.add_(torch.randn_like(parameter) * 0.3 / parameter[0].numel() ** 0.5)
    save_networks(path, networks, make_tables())


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    save_tiny(path)
    return path


@pytest.fixture(scope="session")
def tiny_networks(tiny_weights: Path) -> Networks:
    return load_networks(tiny_weights)


@dataclass
class Result:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: bytes
    err: str


Command = Callable[..., Result]


@pytest.fixture
def run(
    tmp_path: Path,
    tiny_weights: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Command]:
    """Runs a command of bcodec, given as words; at the end no file must be left half done."""
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)

    def command(*arguments: object) -> Result:
        status = main([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Result(status, out, err.decode())

    yield command
    assert [path for path in tmp_path.rglob("*") if ".bcodec-" in path.name] == []
