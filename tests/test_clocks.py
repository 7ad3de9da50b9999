"""Which picture is shown when, at variable rates: times on a command line, chapters of a part, rates."""

from __future__ import annotations

import json
from bisect import bisect_left
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from commands import FAST, Command
from test_times import PAUSE, RATE, make_clip, times_of

from bcodec.bitstream import BitstreamReader
from bcodec.pipeline.clock import CodedClock
from bcodec.video import VideoReader

QUICKLY = *FAST, "--gop", 4
UNEVEN = [*range(6), 20, 21, 22, 50, 52, 54, 55, 56, 57]  # in periods of the rate


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clocks") / "uneven.mp4", UNEVEN, sound=None)


# ---------------------------------------------------------------- looked up


def test_the_clock_of_a_coded_file_is_right_for_each_picture(
    run: Command, tmp_path: Path, uneven: Path
) -> None:
    assert run("encode", uneven, "-o", tmp_path / "a.bcv", *QUICKLY).status == 0
    times = [Fraction(t, RATE) for t in UNEVEN]
    with (tmp_path / "a.bcv").open("rb") as file:
        file.seek(77)
        clock = CodedClock(file)
        assert [clock.time_of(i) for i in range(len(times))] == times
        for tick in range(-1, 2 * UNEVEN[-1] + 1):
            assert clock.picture_at(Fraction(tick, 2 * RATE)) == bisect_left(times, Fraction(tick, 2 * RATE))
        assert clock.time_of(len(times) + 1) == times[-1] + Fraction(2, RATE)
        assert clock.picture_at(times[-1] + Fraction(3, 2 * RATE)) == len(times) + 1
        assert file.tell() == 77


def test_the_clock_of_a_damaged_file_still_goes(run: Command, tmp_path: Path, uneven: Path) -> None:
    assert run("encode", uneven, "-o", tmp_path / "a.bcv", *QUICKLY).status == 0
    data = (tmp_path / "a.bcv").read_bytes()
    with (tmp_path / "a.bcv").open("rb") as file:
        BitstreamReader(file)
        header = file.tell()
    for cut in (header, header + 40, len(data) // 2, len(data) - 3):
        (tmp_path / "cut.bcv").write_bytes(data[:cut])
        with (tmp_path / "cut.bcv").open("rb") as file:
            clock = CodedClock(file)
            assert 0 <= clock.picture_at(Fraction(3, 10)) <= 9
            assert clock.time_of(8) >= 0


# ---------------------------------------------------------------- said in time


@pytest.mark.parametrize("where", ["encode", "decode"])
@pytest.mark.parametrize(
    ("start", "duration", "first", "count"),
    [
        ("0.2s", "0.5s", 6, 3),
        ("0.7s", "0.2s", 7, 2),
        ("0.8s", "0.06s", 9, 1),
        ("3", "0.1s", 3, 3),
        ("1.7s", "9s", 10, 5),
        ("0.8s", 2, 9, 2),
    ],
)
def test_a_part_in_time_is_of_the_pictures_shown_then(
    run: Command,
    tmp_path: Path,
    uneven: Path,
    where: str,
    start: str,
    duration: str | int,
    first: int,
    count: int,
) -> None:
    part = ("--start", start, "--duration", duration)
    assert run("encode", uneven, "-o", tmp_path / "a.bcv", *QUICKLY, *part * (where == "encode")).status == 0
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv", *part * (where == "decode"))
    assert result.status == 0, result.err
    whole = [Fraction(t - UNEVEN[first], RATE) for t in UNEVEN[first : first + count]]
    assert times_of(tmp_path / "b.mkv") == pytest.approx(whole, abs=1e-3)


def test_chapters_of_a_part_are_cut_where_its_pictures_are(
    run: Command, tmp_path: Path, uneven: Path
) -> None:
    """Chapters at 0, 0.7 and 1.8 s; the part is from 22 / 30 s, its ninth picture, to 54 / 30 s."""
    source, bounds = tmp_path / "in.mkv", [0, 700, 1800, 1950]
    with av.open(str(uneven)) as film, av.open(str(source), "w") as container:
        stream = container.add_stream_from_template(film.streams.video[0])
        chapters = [
            {"id": i, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": str(i)}}
            for i, (a, b) in enumerate(pairwise(bounds))
        ]
        container.set_chapters(chapters)  # type: ignore[arg-type]
        for packet in film.demux():
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    part = ("--start", 8, "--frames", 3)
    found = {}
    for where in ("encode", "decode"):
        words = part if where == "encode" else ()
        assert run("encode", source, "-o", tmp_path / "a.bcv", "-y", *QUICKLY, *words).status == 0
        words = part if where == "decode" else ()
        assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"{where}.mkv", *words).status == 0
        with av.open(str(tmp_path / f"{where}.mkv")) as container:
            found[where] = [time / 1e9 for c in container.chapters() for time in (c["start"], c["end"])]
    assert found["decode"] == pytest.approx(found["encode"], abs=2e-3)
    assert found["decode"] == pytest.approx([0, 32 / 30], abs=2e-3)


# ---------------------------------------------------------------- rates


@pytest.mark.parametrize(
    ("times", "ticks", "endings"),
    [
        (PAUSE, 30, "mp4 mkv ts"),
        ([t for t in range(90) if t % 9], 30, "mp4 mkv ts"),  # dropped frames
        ([3000 * t + (0, 90, -60, 30, -90)[t % 5] for t in range(60)], 90000, "mp4 mkv"),  # of a telephone
    ],
)
def test_the_nominal_rate_is_that_of_most_pictures(
    tmp_path: Path, times: list[int], ticks: int, endings: str
) -> None:
    for ending in endings.split():
        with VideoReader(make_clip(tmp_path / f"a.{ending}", times, rate=ticks, sound=None)) as reader:
            assert float(reader.format.frame_rate) == pytest.approx(30, rel=0.005)


def test_all_bitrates_are_of_the_time_in_which_pictures_are_shown(run: Command, tmp_path: Path) -> None:
    source, log = make_clip(tmp_path / "a.mkv", PAUSE, sound=None), tmp_path / "log"
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--log-json", log, *QUICKLY).status == 0
    encoded = json.loads(log.read_text().splitlines()[-1])["summary"]["bitrate"]
    told = json.loads(run("info", tmp_path / "a.bcv", "--json").out)["bitrate"]
    words = ("compare", source, tmp_path / "a.bcv", source, "--json", "--no-ms-ssim", "--threads", 1)
    coded, same = json.loads(run(*words).out)["videos"]
    assert (told, coded["bitrate"]) == (pytest.approx(encoded), pytest.approx(encoded))
    with av.open(str(source)) as container:
        size = sum(packet.size for packet in container.demux())
    assert same["bitrate"] == pytest.approx(size * 8 / 1.5, rel=0.01)
