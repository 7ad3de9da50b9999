"""What messages say is so."""

import re
from pathlib import Path

import pytest
from clips import still
from commands import FAST, Command


def test_what_ffmpeg_does_not_know_is_not_called_damaged(run: Command, tmp_path: Path) -> None:
    source = still(tmp_path / "in.mkv")
    data = source.read_bytes()
    assert data.count(b"V_FFV1") == 1
    source.write_bytes(data.replace(b"V_FFV1", b"V_XYZ1"))
    result = run("encode", source, "-o", tmp_path / "out.bcv")
    message = f"bcodec: error: {source}: is coded in a way that FFmpeg does not know\n"
    assert (result.status, result.err) == (1, message)


@pytest.mark.parametrize("count", [1, 2])
def test_one_is_not_plural(run: Command, tmp_path: Path, count: int) -> None:
    source = still(tmp_path / "in.y4m", count)
    result = run("encode", source, "-o", tmp_path / "out.bcv", "--psnr", *FAST)
    words = f"{count} frame{'s' * (count > 1)}"
    assert re.search(rf": {words} of 32x32 in ", result.err)
    assert f"(mean over {words})" in result.err
    source.write_bytes(source.read_bytes() + b"FRAME\n")
    result = run("encode", source, "-o", tmp_path / "out.bcv", "-y", *FAST)
    assert f"in.y4m: is damaged or cut short after {words};" in result.err
