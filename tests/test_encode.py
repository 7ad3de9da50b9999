"""What `encode` and `verify` offer beyond pictures in and packets out: numbers, targets, checks, going on."""

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import moving, write
from commands import (
    COUNT,
    FAST,
    GOP,
    HEIGHT,
    QUICK,
    WIDTH,
    Command,
    dear_i_frames,
    feed,
    flipped,
    one_error,
    packet_ends,
)

import bcodec
from bcodec.bitstream import BitstreamReader, FrameType, Packet
from bcodec.encoder.trial import Trial, code_frame
from bcodec.errors import UsageError
from bcodec.frame import Frame
from bcodec.pipeline.encode import encode_file
from bcodec.pipeline.plan import Plan
from bcodec.pipeline.tally import Tally


def packets(path: Path) -> list[Packet]:
    with path.open("rb") as file:
        return list(BitstreamReader(file).frames())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------- knowing what happened


def test_log_tells_every_bit_and_every_frame(
    run: Command, clip: Path, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    log, target = tmp_path / "log.json", tmp_path / "out.bcv"
    result = run("encode", clip, "-o", target, "--keyint", GOP, "--log-json", log, "--psnr", *FAST)
    assert target.read_bytes() == coded.read_bytes()
    *frames, last = lines(log)
    summary = last["summary"]
    for line, packet in zip(frames, packets(target), strict=True):
        header = packet.header
        assert (line["poc"], line["type"]) == (header.poc, header.frame_type.name)
        assert (line["layer"], line["qp"]) == (header.temporal_layer, header.qp)
        assert line["motion_bits"] + line["content_bits"] == len(packet.payload) * 8
        assert (line["motion_bits"] == 0) == (header.frame_type is FrameType.I)
        assert line["content_bits"] > 0 < line["seconds"]
        source, shown = moving(COUNT)[header.poc], Frame.from_bytes(decoded[header.poc], WIDTH, HEIGHT)
        quality = bcodec.Quality.of(source.planes, shown.planes)
        assert [line[f"psnr_{p}"] for p in "yuv"] == pytest.approx(quality[:3], abs=1e-4)
    ends = packet_ends(target)
    whole = (ends[-1] - 58) * 8
    assert sum(line["payload_bits"] + line["header_bits"] for line in frames) == whole == summary["bits"]
    assert (summary["frames"], summary["i_frames"]) == (COUNT, 3)
    assert summary["psnr_y"] == pytest.approx(np.mean([line["psnr_y"] for line in frames]), abs=1e-3)
    assert f"PSNR Y {summary['psnr_y']:.2f}, U" in result.err
    assert f"YUV 6:1:1 {summary['psnr_yuv']:.2f} dB (mean over 9 frames)" in result.err


def test_presets_are_those_of_the_library(
    run: Command, clip: Path, tiny_networks: bcodec.Networks, tmp_path: Path
) -> None:
    found = []
    for preset in ("fast", "medium"):
        target = tmp_path / f"{preset}.bcv"
        run("encode", clip, "-o", target, "--gop", 2, "--frames", 3, "--preset", preset, *QUICK)
        with bcodec.VideoReader(str(clip), frames=3) as reader:
            settings = bcodec.Settings(gop_size=2, scene_cut=True, preset=preset)
            assert packets(target) == list(bcodec.encode(reader, settings, tiny_networks))
        found.append(packets(target))
    assert found[0] != found[1]


def test_log_goes_to_standard_output(run: Command, clip: Path, tmp_path: Path) -> None:
    result = run("encode", clip, "-o", tmp_path / "a.bcv", "--frames", 2, "--log-json", "-", *FAST)
    assert [*json.loads(result.out.splitlines()[-1])] == ["summary"]
    one_error(run("encode", clip, "-o", "-", "--log-json", "-"), 2, "cannot both be standard output")
    one_error(run("encode", clip, "-o", tmp_path / "b.bcv", "--log-json", clip), 2, "are the same file")


@pytest.mark.parametrize(("level", "told"), [("error", 0), ("warning", 0), ("info", 1)])
def test_log_level_bounds_what_is_told(
    run: Command, clip: Path, tmp_path: Path, level: str, told: int
) -> None:
    options = ("--frames", 1, "--log-level", level, *FAST)
    assert run("encode", clip, "-o", tmp_path / "out.bcv", *options).err.count("\n") == told
    one_error(run("decode", clip, "-o", tmp_path / "out.y4m", "--log-level", level), 1, "not a .bcv file")


def test_verify_says_that_a_file_is_sound(
    run: Command, clip: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("verify", coded, *QUICK)
    assert (result.status, result.out, result.err) == (0, f"{coded}: OK, 9 frames\n".encode(), "")
    feed(monkeypatch, coded.read_bytes())
    assert run("verify", "-", *QUICK).out == b"standard input: OK, 9 frames\n"
    assert run("encode", clip, "-o", tmp_path / "out.bcv", "--frames", 2, "--verify", *FAST).status == 0


@pytest.mark.parametrize("place", [80, 300, -30, -3])
def test_verify_says_that_a_file_is_damaged(run: Command, coded: Path, tmp_path: Path, place: int) -> None:
    data = coded.read_bytes()
    (tmp_path / "bad.bcv").write_bytes(flipped(data, place % len(data)))
    result = run("verify", tmp_path / "bad.bcv", *QUICK)
    one_error(result, 1, "bad.bcv: ")
    assert result.out == b""


def test_encode_keeps_nothing_that_does_not_decode(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.codec.picture_hash", Changing())
    result = run("encode", clip, "-o", tmp_path / "out.bcv", "--verify", "--frames", 3, *FAST)
    assert result.status == 1
    assert "out.bcv: frame 0: the decoded picture is not the one that was encoded" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_an_unfinished_file_is_told_of_its_target(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.codec.picture_hash", Changing())
    options = ("--resume", "--verify", "--frames", 2, *FAST)
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv", *options), 1, "/out.bcv: frame 0: the decoded")
    assert [path.name for path in tmp_path.iterdir()] == [".out.bcv.part"]


class Changing:
    """Something that is never the same."""

    def __init__(self) -> None:
        self.value = 0

    def __call__(self, _: Frame) -> int:
        self.value += 1
        return self.value


# ---------------------------------------------------------------- scene cuts


def test_a_scene_begins_with_an_i_frame(run: Command, tmp_path: Path) -> None:
    joined = write(tmp_path / "joined.y4m", moving(3) + moving(4, seed=1))
    found = {}
    for option in ("--scene-cut", "--no-scene-cut"):
        target = tmp_path / f"{option}.bcv"
        assert run("encode", joined, "-o", target, "--keyint", GOP, "--verify", option, *FAST).status == 0
        found[option] = json.loads(run("info", target, "--json").out)["i_frames"]
    assert found == {"--scene-cut": [0, 3], "--no-scene-cut": [0, 4]}


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize("piped", [False, True])
def test_the_bitrate_is_met(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piped: bool
) -> None:
    count = 8 if piped else 12  # of twelve GOPs, every other one is analysed
    source = write(tmp_path / "in.y4m", moving(count))
    target, log = tmp_path / "out.bcv", tmp_path / "log.json"
    options = ("--bitrate", "80k", "--gop", 1, "--log-json", log, *FAST)
    if piped:
        feed(monkeypatch, source.read_bytes())
        result = run("encode", "-", "-o", "-", *options)
        target.write_bytes(result.out)
    else:
        result = run("encode", source, "-o", target, "--verify", *options)
    assert result.status == 0
    bits = sum(row["bits"] for row in json.loads(run("info", target, "--json").out)["layers"])
    assert bits * 25 / count == pytest.approx(80_000, rel=0.05)
    assert len(lines(log)) == count + 1
    assert "pass 1 at qp " in result.err
    assert ("analysis of a part at qp 32: " in result.err) == (not piped)


def test_the_largest_size_is_kept(run: Command, clip: Path, tmp_path: Path) -> None:
    target, options = tmp_path / "out.bcv", ("--gop", 4, *FAST)
    assert run("encode", clip, "-o", target, "--max-size", "2k", "--frames", 5, *options).status == 0
    assert 1_780 < target.stat().st_size <= 2_000
    result = run("encode", clip, "-o", target, "--max-size", "100", "--frames", 2, "-y", *options)
    assert "--max-size cannot be met: qp 0 takes" in result.err
    assert result.status == 1
    assert 1_780 < target.stat().st_size <= 2_000


def test_what_cannot_be_met_is_told(run: Command, clip: Path, tmp_path: Path) -> None:
    options = ("--bitrate", "9G", "--frames", 3, *FAST)
    result = run("encode", clip, "-o", tmp_path / "out.bcv", *options)
    assert result.status == 0
    assert "--bitrate cannot be met: qp 63 gives" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-q", 3, "--bitrate", "1M"), "-q and --bitrate contradict each other"),
        (("--max-size", "1M", "--target-psnr", 30), "--max-size and --target-psnr contradict each other"),
        (("--bitrate", "fast"), "'fast' is not an amount like 800k"),
        (("--bitrate", "0"), "'0' is not an amount"),
        (("--target-psnr", 99), "99.0 is not in the range"),
        (
            ("--resume", "--target-psnr", 30),
            "--resume goes on where all GOPs have one quality (-q, --bitrate",
        ),
        (("--jobs", 2, "--target-psnr", 30), "cannot use --jobs"),
        (("--jobs", 0), "0 is not in the range"),
        (("--verify", "-o", "-"), "--verify needs a file"),
        (("--resume", "-o", "-"), "--resume needs a file"),
    ],
)
def test_contradictions_are_wrong_usage(
    run: Command, clip: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv", *options), 2, message)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bitrate": 1e6, "max_size": 1e6}, "--bitrate and --max-size contradict each other"),
        ({"resume": True, "target_psnr": 36}, "not with --target-psnr"),
        ({"jobs": 2, "target_psnr": 36}, "cannot use --jobs"),
        ({"jobs": 0}, "--jobs is 0, not above 0"),
        ({"max_size": 0}, "--max-size is 0, not above 0"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(**asked)


def test_the_pipeline_needs_no_command_and_is_followed_by_the_frame(
    clip: Path, coded: Path, tiny_networks: bcodec.Networks, tmp_path: Path
) -> None:
    target, seen = tmp_path / "out.bcv", list[tuple[int, int | None]]()

    def follow(tally: Tally) -> None:
        seen.append((tally.frames, tally.total))

    settings, plan = bcodec.Settings(gop_size=GOP, keyint=GOP, preset="fast"), Plan(verify=True)
    with bcodec.VideoReader(clip) as reader:
        encoded = encode_file(reader, str(target), settings, tiny_networks, plan, follow=follow)
    assert target.read_bytes() == coded.read_bytes()
    assert (encoded.tally.packets, encoded.journal.frames) == (COUNT, COUNT)
    assert seen == 2 * [(count, COUNT) for count in range(COUNT + 1)]  # encoded, then verified


# ---------------------------------------------------------------- going on with what was ended


@dataclass
class Interrupted:
    """An encoder that is interrupted after so many frames, and counts those it coded."""

    frames_left: int
    coded: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def code(*arguments: Any) -> Trial:
            if self.frames_left == 0:
                raise KeyboardInterrupt
            self.frames_left -= 1
            self.coded += 1
            return code_frame(*arguments)

        patch.setattr("bcodec.encoder.group.code_frame", code)


RESUMED = ("--keyint", GOP, "--resume", *FAST)  # coding order: I0, I4, B2, B1, B3, I8, B6, B5, B7


@pytest.mark.parametrize(("frames", "again"), [(0, 9), (1, 10), (4, 10), (5, 8), (8, 8)])
def test_an_ended_encode_goes_on_from_its_last_whole_group(
    run: Command, clip: Path, coded: Path, tmp_path: Path, frames: int, again: int
) -> None:
    target, part = tmp_path / "out.bcv", tmp_path / ".out.bcv.part"
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(frames).install(patch)
        assert run("encode", clip, "-o", target, *RESUMED).status == 130
    assert part.exists()
    assert not target.exists()
    with pytest.MonkeyPatch.context() as patch:
        second = Interrupted(99)
        second.install(patch)
        log = tmp_path / "log.json"
        assert run("encode", clip, "-o", target, "--log-json", log, *RESUMED).status == 0
    assert target.read_bytes() == coded.read_bytes()
    assert not part.exists()
    assert second.coded == again  # with the I frames that are compared
    assert len(lines(log)) == COUNT + 1


@pytest.mark.parametrize("goal", [("--bitrate", "80k"), ("--max-size", 5200)])
def test_a_search_goes_on_in_whatever_pass_it_was_ended(
    run: Command, tmp_path: Path, goal: tuple[object, ...]
) -> None:
    """Ended again and again, each time a bit later: no pass is made twice, and the file is the same."""
    source = write(tmp_path / "in.y4m", moving(12))
    target, words = tmp_path / "out.bcv", ("--gop", 1, "--preset", "fast", "--threads", 1, *goal)
    with pytest.MonkeyPatch.context() as patch:
        whole = Interrupted(9999)
        whole.install(patch)
        assert run("encode", source, "-o", tmp_path / "whole.bcv", *words).status == 0
    coded, status = 0, 130
    for frames in (4, 2, 5, 9, 13, 16, 9999):
        with pytest.MonkeyPatch.context() as patch:
            part = Interrupted(frames)
            part.install(patch)
            status = run("encode", source, "-o", target, "--resume", *words).status
        coded += part.coded
        if status == 0:
            break
        assert status == 130
    assert status == 0
    assert target.read_bytes() == (tmp_path / "whole.bcv").read_bytes()
    assert coded < whole.coded + 7 * 4 + 6  # what a pass had begun, and the I frames that are compared
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_search_is_not_gone_on_with(run: Command, clip: Path, tmp_path: Path) -> None:
    part, words = tmp_path / ".out.bcv.part", ("encode", clip, "-o", tmp_path / "out.bcv", *RESUMED)
    with pytest.MonkeyPatch.context() as patch:
        Interrupted(7).install(patch)
        assert run(*words, "--bitrate", "80k").status == 130
    left = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(left) == 2
    for goal in (("--bitrate", "90k"), ("--max-size", "9k"), ("--bitrate", "80k", "--start", 1), ("-q", 20)):
        assert "remove it to begin anew" in run(*words, *goal).err
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == left
    part.unlink()
    assert run(*words, "--bitrate", "90k").status == 0


def test_a_size_that_cannot_be_met_leaves_nothing_to_go_on_with(
    run: Command, clip: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.bcv"
    one = ("encode", clip, "-o", target, "--frames", 2, *RESUMED)
    assert "--max-size cannot be met: qp 0 takes" in run(*one, "--max-size", 100).err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [4, 6, 8])  # packets: I0 B*2 B1 | B*4 B3 | B*6 B5 | B*8 B7
def test_an_ended_encode_goes_on_behind_an_anchor_that_is_no_i_frame(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr("bcodec.encoder.group.rd_cost", dear_i_frames)
    target, options = tmp_path / "out.bcv", ("--gop", 2, "--resume", *FAST)
    assert run("encode", clip, "-o", target, *options).status == 0
    assert [packet.header.frame_type for packet in packets(target)] == [FrameType.I, *8 * [FrameType.B]]
    whole = target.read_bytes()
    target.rename(tmp_path / "whole.bcv")
    (tmp_path / ".out.bcv.part").write_bytes(whole[: packet_ends(tmp_path / "whole.bcv")[cut]])
    assert run("encode", clip, "-o", target, *options).status == 0
    assert target.read_bytes() == whole


@pytest.mark.parametrize("cut", [0, 30, 58, 70, -20, -1])
def test_a_file_that_ends_anywhere_is_gone_on_with(
    run: Command, clip: Path, coded: Path, tmp_path: Path, cut: int
) -> None:
    (tmp_path / ".out.bcv.part").write_bytes(coded.read_bytes()[:cut])
    assert run("encode", clip, "-o", tmp_path / "out.bcv", *RESUMED).status == 0
    assert (tmp_path / "out.bcv").read_bytes() == coded.read_bytes()


@pytest.mark.parametrize("options", [("-q", 40), ("--keyint", 8), ("--start", 1), ("--preset", "medium")])
def test_another_encode_is_not_gone_on_with(
    run: Command, clip: Path, coded: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    part = tmp_path / ".out.bcv.part"
    part.write_bytes(coded.read_bytes()[: packet_ends(coded)[5]])
    result = run("encode", clip, "-o", tmp_path / "out.bcv", *RESUMED, *options)
    assert result.status == 1
    assert "the unfinished file is of another input or other settings; remove it" in result.err
    assert part.read_bytes() == coded.read_bytes()[: packet_ends(coded)[5]]


def test_a_file_that_another_encode_writes_is_left_to_it(run: Command, clip: Path, tmp_path: Path) -> None:
    with (tmp_path / ".out.bcv.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        one_error(run("encode", clip, "-o", tmp_path / "out.bcv", *RESUMED), 1, "out.bcv: another encode")
