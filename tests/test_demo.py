"""The demo makes everything that it promises."""

from pathlib import Path

import av
import numpy as np
import pytest

from bcodec.cli.main import main
from bcodec.pipeline.demo import HEIGHT, WIDTH, write_png


def test_demo_writes_videos_and_a_picture(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
    monkeypatch.chdir(tmp_path)
    words = ["demo", "--frames", "1", "--threads", "1"]
    assert main(words) == 0
    names = ["clip.bcv", "clip.mkv", "decoded.mkv", "side-by-side.png"]
    assert sorted(path.name for path in Path("bcodec-demo").iterdir()) == names
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "$ bcodec encode bcodec-demo/clip.mkv -o bcodec-demo/clip.bcv -q 32"
    assert lines[-2].endswith("bcodec-demo/clip.bcv")
    assert lines[-1].startswith("bcodec-demo/side-by-side.png: ")
    assert err.count("\n") == 2
    with av.open("bcodec-demo/side-by-side.png") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (2 * WIDTH + 4, HEIGHT)
    with av.open("bcodec-demo/decoded.mkv") as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert container.metadata["title"] == "bcodec demo"
    assert main(words) == 1
    assert "bcodec-demo/clip.mkv: exists already (-y overwrites it)" in capsys.readouterr().err
    assert main([*words, "-y"]) == 0


def test_png_keeps_every_sample(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (17, 31, 3), np.uint8)
    write_png(picture, str(tmp_path / "a.png"))
    with av.open(str(tmp_path / "a.png")) as container:
        (frame,) = container.decode(video=0)
        assert np.array_equal(frame.to_ndarray(format="rgb24"), picture)
