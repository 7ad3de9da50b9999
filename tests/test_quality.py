"""FFmpeg's quality filters beside formulas of their own, and the encoder's goal and report."""

from __future__ import annotations

import json
import math
import re
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from commands import Command

from bcodec.bitstream import BitstreamReader, VideoFormat
from bcodec.encoder.encode import Settings
from bcodec.frame import Frame, plane_shapes
from bcodec.metrics import Quality
from bcodec.networks import load_networks, shipped_weights
from bcodec.pipeline.compare import Comparison, rate_changes
from bcodec.pipeline.encode import encode_file
from bcodec.pipeline.plan import Plan
from bcodec.video import VideoReader, VideoWriter
from bcodec.video.quality import Pairs, QualityFilters, VmafFilter, has_vmaf, has_xpsnr, vmaf_of_log

WIDTH, HEIGHT = 72, 56
Floats = npt.NDArray[np.float64]


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    """Rising ramps and some noise."""
    rng = np.random.default_rng(seed)
    planes = []
    for rows, columns in plane_shapes(width, height):
        ramp = np.add.outer(np.arange(rows), np.arange(columns)) + 40
        planes.append((ramp + rng.integers(0, 20, ramp.shape)).astype(np.uint8))
    return Frame(*planes)


def damaged(frame: Frame, strength: int, seed: int = 9) -> Frame:
    rng = np.random.default_rng(seed)
    noise = (rng.integers(-strength, strength + 1, plane.shape) for plane in frame.planes)
    return Frame(
        *((p.astype(int) + n).clip(0, 255).astype(np.uint8) for p, n in zip(frame.planes, noise, strict=True))
    )


def ssim(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Of windows of 8x8, each 4 samples from the next, with unbiased variances."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for y in range(0, a.shape[0] - 7, 4):
        for x in range(0, a.shape[1] - 7, 4):
            p, q = (plane[y : y + 8, x : x + 8].astype(float).ravel() for plane in (a, b))
            (vp, vpq), (_, vq) = np.cov(p, q)
            mp, mq = p.mean(), q.mean()
            values.append((2 * mp * mq + c1) * (2 * vpq + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def xpsnr(source: Frame, before: npt.NDArray[Any], decoded: Frame) -> tuple[float, ...]:
    """Of a picture of up to 640x480 below 32 Hz after the luma `before`; Y, U and V in dB."""
    x, h, w = source.y.astype(float), source.height, source.width
    share = w * h / (3840 * 2160)
    block = 4 * int(32 * math.sqrt(share) + 0.5)
    high = np.zeros_like(x)
    high[1:-1, 1:-1] = 12 * x[1:-1, 1:-1]
    for dy, dx in np.ndindex(3, 3):
        if (dy, dx) != (1, 1):
            high[1:-1, 1:-1] -= (2 if 1 in (dy, dx) else 1) * x[dy : h - 2 + dy, dx : w - 2 + dx]
    rows, columns = range(0, h, block), range(0, w, block)
    weight = np.zeros((len(rows), len(columns)))
    for (i, y), (j, z) in ((a, b) for a in enumerate(rows) for b in enumerate(columns)):
        here = slice(y, y + block), slice(z, z + block)
        inner = slice(max(y, 1), min(y + block, h - 1)), slice(max(z, 1), min(z + block, w - 1))
        busy = np.abs(high[inner]).mean() + 2 * np.abs(x[here] - before[here]).mean()
        weight[i, j] = 1 / max(busy, 4)
    smoothed(weight)
    scale = math.sqrt(16 * 2**7 / math.sqrt(share))
    return tuple(
        10 * math.log10(a.size * 255**2 / int(weighted(a, b, weight, block // s) * scale + 0.5))
        for a, b, s in zip(source.planes, decoded.planes, (1, 2, 2), strict=True)
    )


def smoothed(weight: Floats) -> None:
    """Bring each block down to the largest of its neighbours to the left, to the right and above."""
    flat, columns = weight.reshape(-1), weight.shape[1]
    for i in range(len(flat)):
        x = i % columns
        most = flat[i] if x == 1 else max(flat[i - 2], flat[i]) if x else flat[i - 2] if i > 1 else 0.0
        if i > columns:
            most = max(most, flat[i - 1 - columns])
        if i > 0:
            flat[i - 1] = min(flat[i - 1], most)
    flat[-1] = min(flat[-1], max(flat[-2], flat[-1 - columns]))


def weighted(a: npt.NDArray[Any], b: npt.NDArray[Any], weight: Floats, block: int) -> float:
    errors = (a.astype(float) - b) ** 2
    across = np.add.reduceat(errors, range(0, a.shape[0], block), 0)
    sums = np.add.reduceat(across, range(0, a.shape[1], block), 1)
    return float((sums * weight).sum())


def test_the_filters_give_what_the_formulas_do() -> None:
    filters = QualityFilters(WIDTH, HEIGHT, Fraction(25))
    before = np.zeros((HEIGHT, WIDTH))
    for seed, strength in ((1, 3), (2, 6), (3, 12)):
        source = picture(seed)
        decoded = damaged(source, strength)
        found = filters.measure(source, decoded)
        assert found["ssim"] == pytest.approx(ssim(source.y, decoded.y), abs=2e-6)
        by_plane = [found[f"xpsnr_{plane}"] for plane in "yuv"]
        assert by_plane == pytest.approx(xpsnr(source, before, decoded), abs=2e-4)
        before = source.y.astype(float)


@pytest.mark.parametrize("rate", [25, 50])
def test_a_picture_is_measured_after_those_before_it(rate: int) -> None:
    filters, others = (QualityFilters(WIDTH, HEIGHT, Fraction(rate)) for _ in range(2))
    sources = [picture(seed) for seed in range(4)]
    found = [filters.measure(source, damaged(source, 5)) for source in sources]
    for first in (3, 1, 0):
        others.begin(sources[:first])
        assert [others.measure(source, damaged(source, 5)) for source in sources[first:]] == found[first:]
    others.begin([])
    assert others.measure(sources[3], damaged(sources[3], 5)) != found[3]


@pytest.mark.parametrize(
    ("width", "height"), [(16, 16), (44, 46), (45, 45), (73, 57), (2049, 1155), (2050, 1154)]
)
def test_pictures_of_any_size_are_measured_or_told_apart(width: int, height: int) -> None:
    source = picture(1, width, height)
    filters = QualityFilters(width, height, Fraction(30000, 1001))
    equal, near, far = (filters.measure(source, damaged(source, strength)) for strength in (0, 2, 9))
    assert 1 == equal["ssim"] > near["ssim"] > far["ssim"]
    if has_xpsnr(width, height):
        assert 100 == equal["xpsnr_y"] > near["xpsnr_y"] > far["xpsnr_y"]
    else:
        assert all(math.isnan(found["xpsnr_y"]) for found in (equal, near, far))


@pytest.mark.parametrize(
    ("rate", "like"),
    [(1 / Fraction(2**32 - 1), 25), (Fraction(2**32 - 1), 50), (Fraction(2**32 - 1, 2**32), 25)],
)
def test_rates_beyond_what_ffmpeg_can_hold_are_taken(rate: Fraction, like: int) -> None:
    found = []
    for each in (rate, Fraction(like)):
        filters = QualityFilters(WIDTH, HEIGHT, each)
        found.append([filters.measure(picture(seed), damaged(picture(seed), 4)) for seed in range(3)])
    assert found[0] == found[1]


def test_vmaf_is_read_from_what_its_library_writes() -> None:
    text = '{"frames": [{"frameNum": 0, "metrics": {"integer_adm2": 0.3, "vmaf": 4.19765}}, {"metrics": {}}]}'
    first, second = vmaf_of_log(text)
    assert first == 4.19765
    assert math.isnan(second)


def test_a_filter_writes_its_log_when_its_graph_goes(tmp_path: Path) -> None:
    log, pairs = tmp_path / "log", Pairs(WIDTH, HEIGHT, Fraction(25))
    last = pairs.graph.add("xpsnr", stats_file=str(log))
    pairs.source.link_to(last)
    pairs.decoded.link_to(last, 0, 1)
    pairs.end(last)
    pairs.through(picture(1), picture(2))
    del pairs, last
    assert "XPSNR average, 1 frames" in log.read_text()


@pytest.mark.skipif(not has_vmaf(), reason="this FFmpeg has no libvmaf")
def test_vmaf_is_measured_where_it_is_there() -> None:
    with closing(VmafFilter(WIDTH, HEIGHT, Fraction(25))) as vmaf:
        for strength in (0, 5, 40):
            vmaf.add(picture(1), damaged(picture(1), strength))
        found = vmaf.finish()
    assert found == sorted(found, reverse=True)
    assert len(found) == 3


# ---------------------------------------------------------------- compare and encode


RATE = Fraction(25)
FORMAT = VideoFormat(WIDTH, HEIGHT, RATE, 1 / RATE)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Eight frames in which something moves."""
    path = tmp_path / "clip.y4m"
    with VideoWriter(path, FORMAT) as writer:
        for shift in range(8):
            frame = picture(1)
            writer.write(Frame(np.roll(frame.y, shift, 1), frame.u, frame.v))
    return path


@pytest.fixture
def coded(run: Command, clip: Path) -> Path:
    path = clip.with_suffix(".bcv")
    assert run("encode", clip, "-o", path, "--gop", 4, "--preset", "fast", "--threads", 1).status == 0
    return path


def five_digits(value: float) -> set[str]:
    """What a number that was rounded to `value`, of six digits, may be told as."""
    return {f"{value + off:.5f}" for off in (-5e-7, 5e-7)}


def test_compare_tells_ssim_and_xpsnr(run: Command, clip: Path, coded: Path) -> None:
    result = run("compare", clip, coded, clip, "--json", "--threads", 1)
    ours, same = json.loads(result.out)["videos"]
    assert (same["ssim"], same["xpsnr_y"], same["xpsnr_yuv"]) == (1, 100, 100)
    frames = ours["per_frame"]
    for name in ("ssim", "xpsnr_y", "xpsnr_u", "xpsnr_v", "xpsnr_yuv"):
        assert ours[name] == pytest.approx(np.mean([frame[name] for frame in frames]), abs=2e-6)
    assert ours["xpsnr_yuv"] == pytest.approx(
        (6 * ours["xpsnr_y"] + ours["xpsnr_u"] + ours["xpsnr_v"]) / 8, abs=2e-6
    )
    assert (ours["vmaf"] is None) is not has_vmaf()
    table = run("compare", clip, coded, "--threads", 1).out.decode()
    assert f"{ours['xpsnr_y']:.2f}  " in table
    assert table.splitlines()[1].split()[8] in five_digits(ours["ssim"])
    assert "MS-SSIM" not in table  # the picture is too small for it


@pytest.mark.parametrize("where", ["header", "middle", "end"])
def test_compare_names_a_damaged_file(run: Command, clip: Path, coded: Path, where: str) -> None:
    data = bytearray(coded.read_bytes())
    if where == "end":
        del data[len(data) // 2 :]
    else:
        data[{"header": 12, "middle": len(data) // 2}[where]] ^= 0xFF
    coded.write_bytes(data)
    for videos in ((clip, coded), (coded, clip)):
        result = run("compare", *videos, "--threads", 1)
        assert result.status == 1
        assert result.err.splitlines()[-1].startswith(f"bcodec: error: {coded}: ")


def test_luma_alone_may_order_codecs_otherwise() -> None:
    def points(codec: str, luma: float) -> list[Comparison]:
        return [
            Comparison(
                f"{codec}{i}",
                codec,
                FORMAT,
                [Quality(30 + i + luma, 30 + i, 30 + i)],
                [1000 * 2**i],
                1 / FORMAT.frame_rate,
            )
            for i in range(5)
        ]

    qualities = points("a", 0), points("b", -0.5)
    for point in qualities[1]:
        (quality,) = point.qualities
        point.qualities = [quality._replace(psnr_u=quality.psnr_u + 2.5, psnr_v=quality.psnr_v + 2.5)]
    (change,) = rate_changes([*qualities[0], *qualities[1]])
    assert change.percent["psnr_yuv"] < 0 < change.percent["psnr_y"]
    assert change.to_dict()["percent"]["xpsnr_y"] is None


FAST = ("--gop", 4, "--preset", "fast", "--threads", 1)
HELD = 36.0  # dB
MEANS = ("psnr_y", "psnr_yuv", "xpsnr_y", "xpsnr_u", "xpsnr_v", "xpsnr_yuv", "ssim")


def compared(run: Command, clip: Path, coded: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("compare", clip, coded, "--json", "--threads", 1).out)["videos"][0]
    return found


def test_encode_tells_what_compare_does(run: Command, clip: Path, coded: Path, tmp_path: Path) -> None:
    target, log = tmp_path / "again.bcv", tmp_path / "log.json"
    result = run("encode", clip, "-o", target, "--psnr", "--log-json", log, *FAST)
    assert target.read_bytes() == coded.read_bytes()
    summary = json.loads(log.read_text().splitlines()[-1])["summary"]
    found = compared(run, clip, target)
    assert {name: summary[name] for name in MEANS} == pytest.approx(
        {name: found[name] for name in MEANS}, abs=1e-5
    )
    assert f"XPSNR Y {found['xpsnr_y']:.2f}, U" in result.err
    told = re.search(r"SSIM Y (\d\.\d{5}) \(mean over 8 frames\)", result.err)
    assert told
    assert told[1] in five_digits(found["ssim"])


def test_without_psnr_no_filter_is_asked(run: Command, clip: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    assert run("encode", clip, "-o", tmp_path / "a.bcv", "--log-json", log, *FAST).status == 0
    summary = json.loads(log.read_text().splitlines()[-1])["summary"]
    assert {"psnr_y", "xpsnr_y"} & set(summary) == {"psnr_y"}


def test_kept_frames_are_not_measured_but_come_before_the_others(
    run: Command, clip: Path, coded: Path, tmp_path: Path
) -> None:
    target, log = tmp_path / "go-on.bcv", tmp_path / "log.json"
    data = coded.read_bytes()
    with coded.open("rb") as file:
        reader = BitstreamReader(file)
        size = 58 + sum(reader.last_size for _ in islice(reader.frames(), 5))
    (tmp_path / ".go-on.bcv.part").write_bytes(data[:size])
    result = run("encode", clip, "-o", target, "--resume", "--psnr", "--log-json", log, *FAST)
    assert result.status == 0
    assert target.read_bytes() == data
    rest = compared(run, clip, target)["per_frame"][5:]
    summary = json.loads(log.read_text().splitlines()[-1])["summary"]
    assert summary["frames_measured"] == len(rest) == 3
    assert summary["xpsnr_y"] == pytest.approx(np.mean([frame["xpsnr_y"] for frame in rest]), abs=1e-5)


def test_xpsnr_is_held_group_by_group(
    run: Command,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Released weights: of random ones the quality need not rise with the qp.
    monkeypatch.setattr("bcodec.networks.shipped_weights", shipped_weights)
    target, settings = tmp_path / "held.bcv", Settings(40, 4, preset="fast")
    with caplog.at_level("DEBUG", "bcodec"), VideoReader(str(clip)) as reader:
        encode_file(reader, str(target), settings, load_networks(), Plan(target_xpsnr=HELD))
    told = re.findall(r"frames (\d+) to (\d+): qp ([\d.]+), ([\d.]+) dB, (\d+) trials", caplog.text)
    frames = compared(run, clip, target)["per_frame"]
    for first, last, _, decibels, _ in told:
        mean = np.mean([frame["xpsnr_y"] for frame in frames[int(first) : int(last) + 1]])
        assert mean == pytest.approx(float(decibels), abs=0.006)
        assert mean == pytest.approx(HELD, abs=0.2)
    assert [(first, last) for first, last, *_ in told] == [("0", "4"), ("5", "7")]
    assert max(int(trials) for *_, trials in told) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target-psnr", 30), "--target-psnr and --target-xpsnr contradict each other"),
        (("-q", 30), "-q and --target-xpsnr contradict each other"),
        (("--jobs", 2), "--target-xpsnr takes one GOP after the other: it cannot use --jobs"),
    ],
)
def test_xpsnr_is_one_goal(
    run: Command, clip: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = run("encode", clip, "-o", tmp_path / "a.bcv", "--target-xpsnr", 30, *options)
    assert (result.status, message in result.err) == (2, True)


def test_pictures_too_small_for_xpsnr_are_told(run: Command, tmp_path: Path) -> None:
    clip = tmp_path / "small.y4m"
    with VideoWriter(clip, replace(FORMAT, width=32, height=32)) as writer:
        for seed in range(2):
            writer.write(picture(seed, 32, 32))
    result = run("encode", clip, "-o", tmp_path / "a.bcv", "--target-xpsnr", 30, *FAST)
    assert result.status == 2
    assert "XPSNR of pictures so small" in result.err
    result = run("encode", clip, "-o", tmp_path / "a.bcv", "--psnr", *FAST)
    assert [line.split()[1] for line in result.err.splitlines()[-2:]] == ["PSNR", "SSIM"]
