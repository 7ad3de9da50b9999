"""Several inputs into one folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from clips import flat, write

from bcodec.cli.main import main
from bcodec.networks import Networks
from bcodec.pipeline.batch import complete_bytes, targets_in

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    tiny_networks: Networks,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Run:
    loads: list[int] = []

    def load(**_: object) -> Networks:
        loads.append(1)
        return tiny_networks

    monkeypatch.setattr("bcodec.networks.load_networks", load)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        loads.clear()
        status = main(["encode", *map(str, arguments), "--threads", "1", "--preset", "fast"])
        assert len(loads) <= 1, "the networks are loaded once"
        return status, *capsys.readouterr()

    return command


def clip(name: str) -> str:
    return str(write(Path(name), flat((40, 50), 32, 32)))


def test_a_failure_does_not_end_it_and_what_is_done_is_skipped(run: Run, tmp_path: Path) -> None:
    names = [clip("a.y4m"), "missing.mp4", clip("b c.y4m")]
    status, out, err = run(*names, "--out-dir", "coded")
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == ["encoded", "failed", "encoded", "encoded"]
    assert out.splitlines()[-1] == "encoded 2, skipped 0, damaged 0, failed 1"
    assert "bcodec: error: missing.mp4: no such file\n" in err
    assert err.endswith("bcodec: error: 1 of 3 inputs failed\n")
    assert sorted(path.name for path in Path("coded").iterdir()) == ["a.y4m.bcv", "b c.y4m.bcv"]
    assert all(complete_bytes(str(path)) == path.stat().st_size for path in Path("coded").iterdir())

    whole = Path("coded/a.y4m.bcv").read_bytes()
    Path("coded/b c.y4m.bcv").write_bytes(whole[:-9])
    status, out, err = run(names[0], names[2], "--out-dir", "coded")
    assert status == 1
    assert "coded/a.y4m.bcv: complete already, " in err
    assert "coded/b c.y4m.bcv: exists already (-y overwrites it)" in err
    assert Path("coded/b c.y4m.bcv").read_bytes() == whole[:-9]

    status, out, _ = run(names[0], names[2], "--out-dir", "coded", "-y")
    assert (status, out.splitlines()[-1]) == (0, "encoded 2, skipped 0, damaged 0, failed 0")
    status, out, _ = run(names[0], names[2], "--out-dir", "coded")
    assert (status, out.splitlines()[-1]) == (0, "encoded 0, skipped 2, damaged 0, failed 0")


def test_what_was_coded_with_losses_is_no_failure(run: Run, tmp_path: Path) -> None:
    names = [clip("a.y4m"), clip("cut.y4m"), "missing.mp4"]
    Path(names[1]).write_bytes(Path(names[1]).read_bytes()[:-9])
    status, out, err = run(*names[:2], "--out-dir", "coded")
    assert status == 1
    line = "cut.y4m: is damaged or cut short after 1 frame; the rest is in coded/cut.y4m.bcv"
    assert out.splitlines()[1].split(maxsplit=2) == ["damaged", "cut.y4m", line]
    assert out.splitlines()[-1] == "encoded 1, skipped 0, damaged 1, failed 0"
    assert f"bcodec: error: {line}\n" in err
    assert err.endswith("bcodec: error: 1 of 2 inputs was damaged\n")
    assert complete_bytes("coded/cut.y4m.bcv")
    status, out, err = run(*names, "--out-dir", "coded", "-y")
    assert out.splitlines()[-1] == "encoded 1, skipped 0, damaged 1, failed 1"
    assert err.endswith("bcodec: error: 1 of 3 inputs failed, 1 of 3 inputs was damaged\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.mp4",), "--out-dir"),
        (("a.mp4", "b.mp4", "-o", "c.bcv"), "several inputs need --out-dir"),
        (("a.mp4", "-o", "c.bcv", "--out-dir", "d"), "neither -o"),
        (("-", "--out-dir", "d"), "nor standard input"),
        (("a.mp4", "--out-dir", "d", "-q", "3", "--bitrate", "1M"), "-q and --bitrate contradict each other"),
        (("x/a.mp4", "y/a.mp4", "--out-dir", "d"), "x/a.mp4 and y/a.mp4 would both become a.mp4.bcv"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_names_of_outputs() -> None:
    assert targets_in("coded", ["x/a.mp4", "b"]) == {"x/a.mp4": "coded/a.mp4.bcv", "b": "coded/b.bcv"}


def test_a_bug_ends_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("bcodec.video.VideoReader", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run(clip("a.y4m"), "--out-dir", "coded")
