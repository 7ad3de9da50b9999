"""Videos beside their source: the numbers, the table, the picture."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from clips import format_of, noise, write

from bcodec.bitstream import BitstreamReader
from bcodec.cli.main import main
from bcodec.metrics import Quality
from bcodec.networks import Networks
from bcodec.pipeline.compare import Comparison, curves, rate_changes, to_table

COUNT = 6
Run = Callable[..., tuple[int, str, str]]


@dataclass
class Files:
    source: Path
    coded: Path
    decoded: Path
    lossy: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Files:
    folder = tmp_path_factory.mktemp("compare")
    found = Files(*(folder / name for name in ("clip.y4m", "clip.bcv", "clip.mkv", "clip.mp4")))
    write(found.source, noise(COUNT))
    write(found.lossy, noise(COUNT))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
        for words in (
            ["encode", found.source, "-o", found.coded, "--preset", "fast"],
            ["decode", found.coded, "-o", found.decoded],
        ):
            assert main([*map(str, words), "--threads", "1"]) == 0
    return found


@pytest.fixture
def run(tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)

    def command(*arguments: object) -> tuple[int, str, str]:
        status = main(["compare", *map(str, arguments), "--threads", "1"])
        return status, *capsys.readouterr()

    return command


def test_a_bitstream_is_as_good_as_what_it_decodes_to(run: Run, files: Files) -> None:
    status, out, _ = run(files.source, files.coded, files.decoded, files.lossy, files.source, "--json")
    assert status == 0
    coded, decoded, lossy, same = json.loads(out)["videos"]
    assert coded["codec"].startswith("bcodec ")
    assert [video["codec"] for video in (decoded, lossy, same)] == ["ffv1", "h264", "rawvideo"]
    for name in ("psnr_y", "psnr_u", "psnr_v", "psnr_yuv", "frames"):
        assert coded[name] == decoded[name]
    assert coded["psnr_y"] == pytest.approx(
        np.mean([frame["psnr_y"] for frame in coded["per_frame"]]), abs=1e-4
    )
    assert (same["psnr_yuv"], same["ms_ssim"], same["bits_per_pixel"]) == (100, None, 12)
    with files.coded.open("rb") as file:
        list(BitstreamReader(file).frames())
    bits = [frame["bits"] for frame in coded["per_frame"]]
    assert 0 < sum(bits) < files.coded.stat().st_size * 8
    assert coded["bitrate"] == pytest.approx(sum(bits) * 25 / COUNT)
    assert sum(frame["bits"] for frame in lossy["per_frame"]) < files.lossy.stat().st_size * 8


def test_the_table_has_a_line_a_video(run: Run, files: Files) -> None:
    status, out, err = run(files.source, files.coded, files.lossy, "--frames", 2)
    assert (status, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split()[-2:] == ["frames", "file"]
    assert [row.split()[-2:] for row in rows] == [["2", str(files.coded)], ["2", str(files.lossy)]]


def test_raw_planes_take_size_and_rate_of_the_source(run: Run, files: Files, tmp_path: Path) -> None:
    raw = write(tmp_path / "clip.yuv", noise(COUNT))
    status, out, _ = run(files.source, raw, "--json")
    assert (status, json.loads(out)["videos"][0]["psnr_yuv"]) == (0, 100)
    status, _, err = run(raw, files.source)
    assert (status, err.count("\n")) == (1, 1)
    assert run(raw, files.source, "--size", "64x48", "--fps", 25)[0] == 0


def test_what_cannot_be_compared_is_told(run: Run, files: Files, tmp_path: Path) -> None:
    small = write(tmp_path / "small.y4m", noise(COUNT, 32, 32))
    status, out, err = run(files.source, small)
    assert (status, out) == (1, "")
    assert err == f"bcodec: error: {small}: is 32x32, and {files.source} is 64x48\n"
    short = write(tmp_path / "short.y4m", noise(4))
    assert (
        f"{short} is shorter than {files.source}: compared the first 4 frames" in run(files.source, short)[2]
    )
    assert (
        f"{files.source} is longer than {short}: compared the first 4 frames" in run(short, files.source)[2]
    )
    assert run(files.source)[0] == 2


def test_a_picture_is_drawn(run: Run, files: Files, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "curves.png"
    assert run(files.source, files.coded, files.lossy, files.lossy, "--plot", target)[0] == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [target]
    status, _, err = run(files.source, files.coded, "--plot", target)
    assert (status, "exists already" in err) == (1, True)


def test_a_picture_without_matplotlib_is_refused(
    run: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.cli.compare.find_spec", lambda name: None)
    assert "pip install 'bcodec[plot]'" in run(files.source, files.coded, "--plot", "a.png")[2]


def point(codec: str, size: int, psnr: float) -> Comparison:
    video = format_of(noise(1)[0])
    return Comparison(
        f"{codec}-{size}", codec, video, [Quality(psnr, psnr, psnr)], [size], 1 / video.frame_rate
    )


def test_curves_are_compared_by_bd_rate() -> None:
    ours = [point("b", 900 * 2**i, 30 + 3 * i) for i in range(4)]
    theirs = [point("a", 1000 * 2**i, 30 + 3 * i) for i in (3, 1, 0, 2)]
    few = [point("c", 1000, 33)]
    (change,) = rate_changes([*theirs, *ours, *few])
    assert (change.codec, change.anchor) == ("b", "a")
    assert (change.percent["psnr_yuv"], change.percent["psnr_y"]) == pytest.approx((-10, -10))
    assert math.isnan(change.percent["xpsnr_y"])
    assert [c.sizes[0] for c in curves(theirs)["a"]] == [1000, 2000, 4000, 8000]
    *_, head, row = to_table([*theirs, *ours]).splitlines()
    assert head.split() == ["PSNR", "YUV", "PSNR", "Y", "XPSNR", "YUV", "XPSNR", "Y", "BD-rate"]
    assert row.split() == ["-10.00", "%", "-10.00", "%", "-", "-", "b", "against", "a"]
    assert math.isnan(ours[0].mean.ms_ssim)


def test_networks_are_loaded_only_for_bitstreams(
    run: Run, files: Files, monkeypatch: pytest.MonkeyPatch, tiny_networks: Networks
) -> None:
    loaded: list[Networks] = []

    def load(**_: object) -> Networks:
        loaded.append(tiny_networks)
        return tiny_networks

    monkeypatch.setattr("bcodec.networks.load_networks", load)
    assert run(files.source, files.lossy)[0] == 0
    assert loaded == []
    assert run(files.source, files.coded, files.coded)[0] == 0
    assert len(loaded) == 1
