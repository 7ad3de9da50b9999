"""The benchmark of the examples: its tables, from points whose BD-rates are known, and what it counts."""

import csv
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from clips import noise, write
from programs import example

from bcodec.metrics import Quality
from bcodec.video import VideoReader

WIDTH, HEIGHT, COUNT = 64, 48, 3


benchmark = example("benchmark")


def curve(clip: str, codec: str, luma: float, chroma: float, seconds: float) -> list[Any]:
    """Four points whose planes gain 3 dB each time that the rate doubles."""
    points = []
    for step in range(4):
        quality = Quality(30 + luma + 3 * step, *[40 + chroma + 3 * step] * 2)
        encode = benchmark.Cost(seconds, 2 * seconds, 250_000_000)
        decode = benchmark.Cost(seconds / 2, seconds, 120_000_000)
        points.append(benchmark.Point(clip, 100, 50, 8, codec, step, 1000 * 2**step, quality, encode, decode))
    return points


def traded(clip: str) -> list[Any]:
    """A codec with 3 dB less in luma than its anchor, at the same rate, and 3 dB more in PSNR-YUV."""
    return [*curve(clip, "bcodec-fast", -3, 21, 6), *curve(clip, "x264-medium", 0, 0, 2)]


def equal(clip: str) -> list[Any]:
    return [*curve(clip, "bcodec-fast", 0, 0, 6), *curve(clip, "x264-medium", 0, 0, 2)]


def cells(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()]


def test_half_the_rate_at_equal_psnr_yuv_may_be_twice_the_rate_at_equal_luma() -> None:
    curves = benchmark.curves_of(traded("a"))["a"]
    sides = curves["x264-medium"], curves["bcodec-fast"]
    assert benchmark.rate_change(*sides, "psnr_yuv") == pytest.approx(-50)
    assert benchmark.rate_change(*sides, "psnr_y") == pytest.approx(100)


def test_a_clip_has_a_line_and_the_last_two_are_mean_and_median() -> None:
    curves = benchmark.curves_of([*traded("a"), *equal("b"), *equal("c")])
    heads, _, first, *_, mean, median = cells(benchmark.clip_table(curves, "bcodec-fast", ["x264-medium"]))
    assert heads == [
        "clip", "q 0", "q 1", "q 2", "q 3", "x264-medium", "to x264-medium", "to x264-medium, luma",
    ]  # fmt: skip
    assert first == [
        "`a`", "0.200 35.5", "0.400 38.5", "0.800 41.5", "1.600 44.5",
        "0.200 32.5 · 0.400 35.5 · 0.800 38.5 · 1.600 41.5", "-50.0 %", "+100.0 %",
    ]  # fmt: skip
    assert mean[-2:] == ["-16.7 %", "+33.3 %"]
    assert median[-2:] == ["+0.0 %", "+0.0 %"]


def test_each_codec_is_compared_with_each_in_time_and_rate() -> None:
    table = benchmark.codec_table(benchmark.curves_of(traded("a")), ["bcodec-fast", "x264-medium"])
    assert table.splitlines()[2:] == [
        "| bcodec-fast | 1 |  | -50.0 %, luma +100.0 % |",
        "| x264-medium | 0.333 | +100.0 %, luma -50.0 % |  |",
    ]


def test_curves_that_share_no_quality_have_no_bd_rate() -> None:
    points = [*curve("a", "bcodec-fast", 30, 30, 6), *curve("a", "x264-medium", 0, 0, 2)]
    assert "| n/a | n/a |" in benchmark.clip_table(
        benchmark.curves_of(points), "bcodec-fast", ["x264-medium"]
    )


def test_speed_is_by_clip_by_frame_and_by_megapixel() -> None:
    points = curve("a", "bcodec-fast", 0, 0, 6)  # 8 frames of 0.005 megapixels
    assert cells(benchmark.speed_table(points))[2] == [
        "bcodec-fast", "100x50", "6 s (1.33 frames/s)", "300 s", "3 s (2.67 frames/s)", "150 s",
        "0.25 GB, 0.12 GB",
    ]  # fmt: skip


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write(tmp_path / "noise.y4m", noise(COUNT, WIDTH, HEIGHT))


def planes(path: Path) -> list[bytes]:
    with VideoReader(path) as reader:
        return [frame.to_bytes() for frame in reader]


def test_the_settings_of_x264_are_no_part_of_the_pictures(clip: Path) -> None:
    whole, counted = clip.with_name("whole.h264"), clip.with_name("counted.h264")
    benchmark.encode_inside(benchmark.LIBRARIES["x264"], {"crf": "30"}, 1, clip, whole)
    stream = whole.read_bytes()
    counted.write_bytes(benchmark.without_settings(stream))
    assert b"x264 - core" in stream
    assert b"x264 - core" not in counted.read_bytes()
    assert planes(counted) == planes(whole)
    assert len(planes(whole)) == COUNT


def test_a_video_that_lacks_a_frame_has_no_quality(clip: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        benchmark.quality(noise(COUNT + 1, WIDTH, HEIGHT), clip)


def test_each_point_is_a_line_of_the_results(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [str(clip), "--presets", "--codecs", "x264-ultrafast", "--intra", "2", "--out", str(clip.parent)]
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words])
    monkeypatch.setattr(benchmark, "alone", lambda task, *arguments: task(*arguments))
    benchmark.main()
    with (clip.parent / "results.csv").open(newline="") as file:
        rows: Iterable[dict[str, str]] = list(csv.DictReader(file))
    assert [row["q"] for row in rows] == ["37", "32", "27", "22"]
    for row in rows:
        assert float(row["rate"]) == int(row["bytes"]) * 8 / (WIDTH * HEIGHT * COUNT)
        yuv = (6 * float(row["psnr_y"]) + float(row["psnr_u"]) + float(row["psnr_v"])) / 8
        assert math.isclose(float(row["psnr_yuv"]), yuv)
    assert "| x264-ultrafast | 64x48 |" in (clip.parent / "results.md").read_text()
    with pytest.raises(SystemExit):  # never over results that took hours
        benchmark.main()
