"""What `encode` and `verify` offer beyond pictures in and packets out: numbers, targets, checks, going on."""

# ruff: noqa: F401, F811 (fixtures are imported)

import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from test_cli import (
    COUNT,
    FORMAT,
    GOP,
    HEIGHT,
    QUICK,
    WIDTH,
    clip,
    coded,
    decoded,
    feed,
    flipped,
    moving_pictures,
    one_error,
    packet_ends,
    write_clip,
)
from test_scenes import frames_of, scene

import bcodec
from bcodec.bitstream import BitstreamReader, FrameType, Packet
from bcodec.encoder.group import CodedFrame, GroupCoder
from bcodec.frame import Frame


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
    result = run("encode", clip, "-o", target, "--gop", GOP, "--log-json", log, "--psnr", *QUICK)
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
        source, shown = moving_pictures()[header.poc], Frame.from_bytes(decoded[header.poc], WIDTH, HEIGHT)
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
    run: Command, clip: Path, coded: Path, tiny_networks: bcodec.Networks, tmp_path: Path
) -> None:
    target = tmp_path / "out.bcv"
    run("encode", clip, "-o", target, "--gop", GOP, "--preset", "fast", *QUICK)
    with bcodec.VideoReader(str(clip)) as reader:
        settings = bcodec.Settings(gop_size=GOP, scene_cut=True, preset="fast")
        assert packets(target) == list(bcodec.encode(reader, settings, tiny_networks))
    assert packets(target) != packets(coded)


def test_log_goes_to_standard_output(run: Command, clip: Path, tmp_path: Path) -> None:
    result = run("encode", clip, "-o", tmp_path / "a.bcv", "--frames", 2, "--log-json", "-", *QUICK)
    assert [*json.loads(result.out.splitlines()[-1])] == ["summary"]
    one_error(run("encode", clip, "-o", "-", "--log-json", "-"), 2, "cannot both be standard output")
    one_error(run("encode", clip, "-o", tmp_path / "b.bcv", "--log-json", clip), 2, "are the same file")


@pytest.mark.parametrize(("level", "told"), [("error", 0), ("warning", 0), ("info", 1)])
def test_log_level_bounds_what_is_told(
    run: Command, clip: Path, tmp_path: Path, level: str, told: int
) -> None:
    options = ("--frames", 1, "--log-level", level, *QUICK)
    assert run("encode", clip, "-o", tmp_path / "out.bcv", *options).err.count("\n") == told
    one_error(run("decode", clip, "-o", tmp_path / "out.y4m", "--log-level", level), 1, "not a .bcv file")


def test_verify_says_that_a_file_is_sound(
    run: Command, clip: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("verify", coded, *QUICK)
    assert (result.status, result.out, result.err) == (0, f"{coded}: OK, 9 frames\n".encode(), "")
    feed(monkeypatch, coded.read_bytes())
    assert run("verify", "-", *QUICK).out == b"standard input: OK, 9 frames\n"
    assert run("encode", clip, "-o", tmp_path / "out.bcv", "--frames", 2, "--verify", *QUICK).status == 0


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
    result = run("encode", clip, "-o", tmp_path / "out.bcv", "--verify", "--frames", 3, *QUICK)
    assert result.status == 1
    assert "out.bcv: frame 0: the decoded picture is not the one that was encoded" in result.err
    assert list(tmp_path.iterdir()) == []


class Changing:
    """Something that is never the same."""

    def __init__(self) -> None:
        self.value = 0

    def __call__(self, _: Frame) -> int:
        self.value += 1
        return self.value


# ---------------------------------------------------------------- scene cuts


def test_a_scene_begins_with_an_i_frame(run: Command, tmp_path: Path) -> None:
    frames = frames_of(scene(0, 6) + scene(1, 6))
    joined = write_clip(tmp_path / "joined.y4m", frames, replace(FORMAT, width=128, height=72))
    found = {}
    for option in ("--scene-cut", "--no-scene-cut"):
        target = tmp_path / f"{option}.bcv"
        assert run("encode", joined, "-o", target, "--gop", GOP, "--verify", option, *QUICK).status == 0
        found[option] = json.loads(run("info", target, "--json").out)["i_frames"]
    assert found == {"--scene-cut": [0, 4, 6, 10], "--no-scene-cut": [0, 4, 8]}


# ---------------------------------------------------------------- targets


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("long") / "long.y4m", moving_pictures(33))


@pytest.mark.parametrize("piped", [False, True])
def test_the_bitrate_is_met(
    run: Command, long_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piped: bool
) -> None:
    if piped:
        feed(monkeypatch, long_clip.read_bytes())
    target, log = tmp_path / "out.bcv", tmp_path / "log.json"
    options = ("--bitrate", "60k", "--gop", 8 if piped else 2, "--log-json", log, "--verify", *QUICK)
    result = run(
        "encode",
        "-" if piped else long_clip,
        "-o",
        "-" if piped else target,
        *options[: -3 if piped else None],
    )
    assert result.status == 0
    if piped:
        target.write_bytes(result.out)
    found = json.loads(run("info", target, "--json").out)
    assert found["bitrate"] == pytest.approx(60_000, rel=0.05)
    assert len(lines(log)) == 33 + 1
    assert "pass 1 at qp " in result.err
    assert ("analysis of a part at qp 32: " in result.err) == (not piped)


def test_the_largest_size_is_kept(run: Command, clip: Path, long_clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.bcv"
    assert run("encode", long_clip, "-o", target, "--max-size", "9k", "--gop", 8, *QUICK).status == 0
    assert 8_000 < target.stat().st_size <= 9_000
    result = run("encode", clip, "-o", target, "--max-size", "500", "--gop", 8, "-y", *QUICK)
    assert "--max-size cannot be met: qp 0 takes" in result.err
    assert result.status == 1
    assert 8_000 < target.stat().st_size <= 9_000


def test_what_cannot_be_met_is_told(run: Command, clip: Path, tmp_path: Path) -> None:
    result = run("encode", clip, "-o", tmp_path / "out.bcv", "--bitrate", "9G", *QUICK)
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
        (("--resume", "--bitrate", "1M"), "--resume goes on with an encode of constant quality (-q)"),
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


# ---------------------------------------------------------------- going on with what was ended


@dataclass
class Interrupted:
    """A coder of groups that is interrupted after so many frames, and counts those it coded."""

    frames_left: int
    coded: int = 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        original = GroupCoder.code

        def code(*arguments: Any) -> Iterator[CodedFrame]:
            for frame in original(*arguments):
                if self.frames_left == 0:
                    raise KeyboardInterrupt
                self.frames_left -= 1
                self.coded += 1
                yield frame

        patch.setattr(GroupCoder, "code", code)


RESUMED = ("--gop", GOP, "--resume", *QUICK)  # coding order: I0, I4, B2, B1, B3, I8, B6, B5, B7


@pytest.mark.parametrize(("frames", "again"), [(0, 9), (1, 10), (4, 10), (5, 8), (6, 8), (8, 8)])
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


@pytest.mark.parametrize("cut", [0, 30, 58, 70, -20, -1])
def test_a_file_that_ends_anywhere_is_gone_on_with(
    run: Command, clip: Path, coded: Path, tmp_path: Path, cut: int
) -> None:
    (tmp_path / ".out.bcv.part").write_bytes(coded.read_bytes()[:cut])
    assert run("encode", clip, "-o", tmp_path / "out.bcv", *RESUMED).status == 0
    assert (tmp_path / "out.bcv").read_bytes() == coded.read_bytes()


@pytest.mark.parametrize("options", [("-q", 40), ("--gop", 8), ("--start", 1), ("--preset", "slow")])
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
