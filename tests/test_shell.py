"""What a user of other encoders types: it is understood, or refused with the word that helps."""

from fractions import Fraction
from pathlib import Path

import pytest
from clips import still
from commands import FAST, Command, count_frames

from bcodec.bitstream import BitstreamReader
from bcodec.cli.arguments import moment
from bcodec.pipeline.moments import Part, Seconds, Steady
from bcodec.video import VideoReader

# ---------------------------------------------------------------- which file is which


def test_all_ways_to_name_input_and_output_are_one(run: Command, tmp_path: Path) -> None:
    source = still(tmp_path / "in.y4m", 2)
    coded = [tmp_path / f"{number}.bcv" for number in range(4)]
    for words in (
        (source, "-o", coded[0]),
        (source, coded[1]),
        ("-i", source, coded[2]),
        ("--input", source, "--output", coded[3]),
    ):
        result = run("encode", *words, *FAST)
        assert result.status == 0, result.err
    assert len({path.read_bytes() for path in coded}) == 1
    shown = [tmp_path / f"{number}.y4m" for number in range(3)]
    for words in ((coded[0], "-o", shown[0]), (coded[0], shown[1]), ("-i", coded[0], shown[2])):
        assert run("decode", *words, "--threads", 1).status == 0
    assert len({path.read_bytes() for path in shown}) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("encode", "a.mp4", "b.mp4"), "Missing option '-o', or --out-dir for several inputs"),
        (("encode", "a.mp4", "b.mp4", "c.bcv"), "Missing option '-o', or --out-dir for several inputs"),
        (("encode", "a.mp4", "b.bcv", "-o", "c.bcv"), "several inputs need --out-dir, not -o"),
        (("encode", "a.mp4", "-o", "b.mp4"), "b.mp4: encode writes a .bcv file; decode makes a video like"),
        (("encode", "a.mp4", "-o", "b.bcv", "--crf", "23"), "the quality is -q, where higher is better"),
        (("encode", "-i", "a.mp4", "-crf", "23", "b.bcv"), "the quality is -q, where higher is better"),
        (("encode", "a.mp4", "-o", "b.bcv", "--qp=3"), "the quality is -q, where higher is better"),
        (("encode", "-ss", "10", "-i", "a.mp4", "b.bcv"), "where to begin is --start"),
        (("decode", "a.bcv", "-o", "b.y4m", "-an"), "to leave sound out is --no-audio"),
        (("decode", "a.bcv", "b.y4m", "c.y4m"), "one input is decoded at a time, not also c.y4m"),
        (("decode", "a.bcv", "b.bcv", "-o", "c.y4m"), "one input is decoded at a time, not also b.bcv"),
        (("decode", "a.bcv", "-o", "b.webm"), "cannot write .webm; write .mkv (lossless) or .mp4 instead"),
        (("decode", "a.bcv", "-o", "b.mov"), "cannot write .mov; write .mp4 instead"),
        (("encode", "a.mp4", "-o", "b.bcv", "-q", "nan"), "'nan' is not a number"),
        (("encode", "a.mp4", "-o", "b.bcv", "--target-xpsnr", "nan"), "'nan' is not a number"),
        (("encode", "a.mp4", "-o", "b.bcv", "--start", "1:75"), "neither frames, as 90, nor a time"),
        (("encode", "a.mp4", "b.bcv", "--frames", "9", "--duration", "2s"), "contradict each other"),
        (("encode", "a.mp4", "b.bcv", "--duration", "0"), "--duration is not above 0"),
    ],
)
def test_what_is_refused_is_refused_with_the_right_word(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "a.bcv"):
        Path(name).touch()
    result = run(*words)
    assert (result.status, result.err.count("\n"), hint in result.err) == (2, 1, True), result.err
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.bcv"}


def test_the_version_has_a_short_name(run: Command) -> None:
    assert run("-V").out == run("--version").out


# ---------------------------------------------------------------- quality and time


def test_a_quality_lies_between_two_integers(run: Command, tmp_path: Path) -> None:
    source = still(tmp_path / "in.y4m", 3)
    found = []
    for quality in ("31", "31.5", "32"):
        target = tmp_path / f"{quality}.bcv"
        assert run("encode", source, "-o", target, "-q", quality, *FAST).status == 0
        with target.open("rb") as file:
            found.append([packet.header.qp for packet in BitstreamReader(file).frames()])
    low, between, high = found
    assert low < between < high


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("90", 90),
        ("10s", Seconds(Fraction(10))),
        ("0.04s", Seconds(Fraction(1, 25))),
        ("1:02.5", Seconds(Fraction(125, 2))),
        ("1:00:00", Seconds(Fraction(3600))),
    ],
)
def test_a_moment_is_said_in_frames_or_in_time(words: str, meant: int | Seconds) -> None:
    assert moment(words) == meant


def test_a_time_is_the_first_frame_that_is_not_before_it() -> None:
    rate = Fraction(30000, 1001)
    clock = Steady(rate)
    for frame in (0, 1, 299, 300, 107_892):
        at, after = Seconds(frame / rate), Seconds(frame / rate + Fraction(1, 1000))
        assert Part(at).in_frames(clock) == (frame, None)
        assert Part(after).in_frames(clock) == (frame + 1, None)
    assert Part(90, Seconds(Fraction(10))).in_frames(clock) == (90, 300)


@pytest.mark.parametrize(
    ("part", "first", "count"),
    [
        (("--start", "0.2s"), 2, 7),
        (("--start", "2", "--duration", "0.3s"), 2, 3),
        (("--start", "0:00.5", "--duration", "2"), 5, 2),
    ],
)
def test_a_part_in_time_is_that_part(
    run: Command, tmp_path: Path, part: tuple[str, ...], first: int, count: int
) -> None:
    source = still(tmp_path / "in.y4m", 9, rate=10)
    wanted = ("--start", first, "--frames", count)
    assert run("encode", source, "-o", tmp_path / "whole.bcv", *FAST).status == 0
    for command, source_of, end in (("encode", source, "bcv"), ("decode", tmp_path / "whole.bcv", "y4m")):
        a, b = tmp_path / f"a.{end}", tmp_path / f"b.{end}"
        options = FAST if command == "encode" else FAST[:2]
        for target, words in ((a, part), (b, wanted)):
            result = run(command, source_of, "-o", target, *words, *options)
            assert result.status == 0, result.err
        assert a.read_bytes() == b.read_bytes()
    assert count_frames(tmp_path / "a.bcv") == count
    with VideoReader(tmp_path / "a.y4m") as reader:
        assert sum(1 for _ in reader) == count
