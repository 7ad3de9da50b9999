"""Tiny random networks, exported and loaded like the released ones, and commands run in process with them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from clips import moving, write
from commands import COUNT, FAST, GOP, HEIGHT, WIDTH, Command, Result

from bcodec.bitstream import BitstreamReader
from bcodec.cli.main import main
from bcodec.decoder import decode
from bcodec.entropy import signs
from bcodec.entropy.tables import make_tables
from bcodec.networks import Channels, Networks, load_networks, save_networks

# A shell lets what it starts in the background ignore Ctrl-C, and commands would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# pytest -n runs as many tests at once as there are cores: one thread for each, and for what it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

TINY = Channels(level1=8, level2=8, level3=8, y=24, z=8, motion=16)


def save_tiny(path: Path, seed: int = 0) -> None:
    """Random weights, large enough that every layer matters."""
    torch.manual_seed(seed)
    networks = Networks(TINY)
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            if parameter.ndim == 4:
                # Of angles that all hold at once, one block would be as bright as sixteen.
                share = 0.02 if "angular.weights" in name else 0.3
                parameter.add_(torch.randn_like(parameter) * share / parameter[0].numel() ** 0.5)
    save_networks(path, networks, make_tables())


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.npz"
    save_tiny(path)
    return path


@pytest.fixture(scope="session")
def tiny_networks(tiny_weights: Path) -> Networks:
    return load_networks(tiny_weights)


@pytest.fixture
def networks(tiny_weights: Path) -> Networks:
    """The same for a test alone, which may change them."""
    return load_networks(tiny_weights)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine frames of 64x48 in a y4m file."""
    return write(tmp_path_factory.mktemp("clip") / "clip.y4m", moving(COUNT, WIDTH, HEIGHT))


@pytest.fixture(scope="session")
def coded(clip: Path, tiny_weights: Path) -> Path:
    """The clip as it was encoded: I0, I4, B2, B1, B3, I8, B6, B5, B7."""
    target = clip.with_name("coded.bcv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
        assert main(["encode", str(clip), "-o", str(target), "--keyint", str(GOP), *map(str, FAST)]) == 0
    return target


@pytest.fixture(scope="session")
def decoded(coded: Path, tiny_networks: Networks) -> list[bytes]:
    """The planes of each picture that it decodes to."""
    with coded.open("rb") as file:
        reader = BitstreamReader(file)
        return [frame.to_bytes() for frame in decode(reader.frames(), reader.header, tiny_networks)]


@pytest.fixture
def all_signs_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """No magnitudes tell a sign, and so symbols are as they were chosen."""
    monkeypatch.setattr(signs, "LEAST", 1 << 40)


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
