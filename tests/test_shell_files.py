"""No file that exists is lost without -y, whichever option names it."""

import os
from pathlib import Path

import pytest
from clips import still
from commands import FAST, Command

from bcodec.pipeline.output import output_file


def write_twice(target: Path, *, overwrite: bool, resume: bool = False) -> None:
    """Let one writer, told whether to overwrite, end after another that began when it had."""
    with output_file(str(target), overwrite=overwrite, resume=resume) as late:
        Path(late).write_bytes(b"late")
        with output_file(str(target), overwrite=False) as early:
            Path(early).write_bytes(b"early")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("links", [False, True])
def test_of_two_writers_the_later_does_not_replace_what_the_earlier_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool, links: bool
) -> None:
    def no_links(*_: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "out.bcv"
    with pytest.raises(FileExistsError) as caught:
        write_twice(target, overwrite=False, resume=resume)
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"early"
    assert [path.name for path in tmp_path.iterdir() if path != target] == [".out.bcv.part"] * resume


def test_with_y_the_later_writer_wins(tmp_path: Path) -> None:
    target = tmp_path / "out.bcv"
    write_twice(target, overwrite=True)
    assert target.read_bytes() == b"late"
    assert list(tmp_path.iterdir()) == [target]


def test_a_log_replaces_nothing_without_y(run: Command, tmp_path: Path) -> None:
    source, log = still(tmp_path / "in.y4m"), tmp_path / "precious.mkv"
    log.write_bytes(b"precious")
    words = ("encode", source, "-o", tmp_path / "out.bcv", "--log-json", log, *FAST)
    result = run(*words)
    assert (result.status, result.err) == (1, f"bcodec: error: {log}: exists already (-y overwrites it)\n")
    assert log.read_bytes() == b"precious"
    assert not (tmp_path / "out.bcv").exists()
    assert run(*words, "-y").status == 0
    assert log.read_text().startswith('{"poc": 0')
