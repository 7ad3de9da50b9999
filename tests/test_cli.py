"""The commands, run in process on tiny clips with tiny random networks: results, exit statuses, messages."""

import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from clips import format_of, moving, noise, write
from commands import (
    COUNT,
    FAST,
    GOP,
    HEIGHT,
    QUICK,
    WIDTH,
    Command,
    feed,
    flipped,
    one_error,
    packet_ends,
    pictures,
)
from conftest import save_tiny

import bcodec
from bcodec.bitstream import BitstreamReader, BitstreamWriter, Packet, SequenceHeader
from bcodec.cli.main import commands
from bcodec.frame import picture_bytes

NEEDS_FULL_DISK = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
# ---------------------------------------------------------------- what goes in comes out


@pytest.mark.parametrize("suffix", ["y4m", "yuv", "mkv"])
def test_decode_writes_the_pictures_that_the_encoder_saw(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"out.{suffix}"
    result = run("decode", coded, "-o", target, *QUICK)
    assert (result.status, result.out) == (0, b"")
    assert re.fullmatch(rf"bcodec: 9 frames of 64x48 in .* fps\) to {re.escape(str(target))}\n", result.err)
    raw = {"size": (WIDTH, HEIGHT), "frame_rate": Fraction(25)} if suffix == "yuv" else {}
    assert pictures(target, **raw) == decoded
    assert len(decoded) == COUNT


def test_decode_to_mp4_keeps_every_frame(run: Command, coded: Path, tmp_path: Path) -> None:
    assert run("decode", coded, "-o", tmp_path / "out.mp4", *QUICK).status == 0
    assert len(pictures(tmp_path / "out.mp4")) == COUNT


def test_pipes_carry_the_same_bytes_as_files(
    run: Command, clip: Path, coded: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, clip.read_bytes())
    result = run("encode", "-", "-o", "-", "--keyint", GOP, *FAST)
    assert (result.status, result.out) == (0, coded.read_bytes())
    feed(monkeypatch, result.out)
    result = run("decode", "-", "-o", "-", *QUICK)
    assert result.status == 0
    header, *frames = result.out.split(b"FRAME\n")
    assert header.startswith(b"YUV4MPEG2 W64 H48 F25:1")
    assert frames == decoded
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(("start", "frames"), [(0, 1), (0, 5), (3, 2), (4, 1), (5, 99), (8, 1)])
@pytest.mark.parametrize("piped", [False, True])
def test_decode_begins_and_ends_at_any_frame(
    run: Command,
    coded: Path,
    decoded: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: int,
    frames: int,
    piped: bool,
) -> None:
    feed(monkeypatch, coded.read_bytes())
    options = ("--start", start, "--frames", frames, *QUICK)
    assert run("decode", "-" if piped else coded, "-o", tmp_path / "out.y4m", *options).status == 0
    assert pictures(tmp_path / "out.y4m") == decoded[start : start + frames]


def test_decode_needs_nothing_that_stands_before_the_i_frame(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.bcv"
    damaged.write_bytes(flipped(coded.read_bytes(), 80))
    assert run("decode", damaged, "-o", tmp_path / "out.y4m", "--start", 5, *QUICK).status == 0
    assert pictures(tmp_path / "out.y4m") == decoded[5:]


def test_encode_begins_and_ends_at_any_frame(run: Command, clip: Path, tmp_path: Path) -> None:
    part = write(tmp_path / "part.y4m", moving(COUNT)[2:5])
    assert run("encode", clip, "-o", tmp_path / "a.bcv", "--start", 2, "--frames", 3, *FAST).status == 0
    assert run("encode", part, "-o", tmp_path / "b.bcv", *FAST).status == 0
    assert (tmp_path / "a.bcv").read_bytes() == (tmp_path / "b.bcv").read_bytes()


def test_encode_takes_raw_video_with_size_and_rate(run: Command, tmp_path: Path) -> None:
    raw = write(tmp_path / "clip.yuv", moving(2))
    options = ("--size", "64x48", "--fps", "30000/1001", "-q", 63, *FAST)
    assert run("encode", raw, "-o", tmp_path / "out.bcv", *options).status == 0
    found = json.loads(run("info", tmp_path / "out.bcv", "--json").out)
    assert (found["width"], found["height"], found["frames"]) == (64, 48, 2)
    assert found["frame_rate"] == "30000/1001"


def test_encode_says_what_of_the_input_is_not_kept(run: Command, tmp_path: Path) -> None:
    path = tmp_path / "rgb.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        container.mux(stream.encode(av.VideoFrame(32, 32, "bgr0")))
        container.mux(stream.encode(None))
    result = run("encode", path, "-o", tmp_path / "out.bcv", *FAST)
    assert result.status == 0
    assert "bcodec: input is bgr0: converted to yuv420p" in result.err
    assert result.err.count("\n") == 2


def test_existing_output_is_replaced_with_y(run: Command, coded: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.y4m"
    target.write_bytes(b"old")
    assert run("decode", coded, "-o", target, "--frames", 1, "-y", *QUICK).status == 0
    assert len(pictures(target)) == 1


def test_output_that_is_a_link_stays_one(run: Command, coded: Path, tmp_path: Path) -> None:
    (tmp_path / "link.y4m").symlink_to(tmp_path / "real.y4m")
    assert run("decode", coded, "-o", tmp_path / "link.y4m", "--frames", 1, *QUICK).status == 0
    assert (tmp_path / "link.y4m").is_symlink()
    assert len(pictures(tmp_path / "real.y4m")) == 1


def test_output_may_be_a_device(run: Command, clip: Path) -> None:
    assert run("encode", clip, "-o", os.devnull, "--frames", 1, *FAST).status == 0
    assert not Path(os.devnull).is_file()


def test_threads_are_set(run: Command, clip: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert run("encode", clip, "-o", tmp_path / "out.bcv", "--frames", 1, "--threads", 1).status == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_terminal_gets_a_bar(
    run: Command, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    result = run("decode", coded, "-o", tmp_path / "out.y4m", *QUICK)
    assert result.status == 0
    assert re.search(r"0/9 \[.*frames/s", result.err)
    assert result.err.splitlines()[-1].endswith("out.y4m")


# ---------------------------------------------------------------- info


def test_info_counts_every_byte(run: Command, coded: Path) -> None:
    found = json.loads(run("info", coded, "--json").out)
    assert found["bytes"] == coded.stat().st_size
    assert (found["frames"], found["gop_size"], found["i_frames"]) == (COUNT, GOP, [0, 4, 8])
    assert [(row["frame_type"], row["temporal_layer"], row["frames"]) for row in found["layers"]] == [
        ("I", 0, 3),
        ("B", 1, 2),
        ("B", 2, 4),
    ]
    assert sum(row["bits"] for row in found["layers"]) < found["bytes"] * 8
    bits = sum(row["bits"] for row in found["layers"])
    assert bits == found["picture_bytes"] * 8
    assert found["bitrate"] == pytest.approx(bits * 25 / COUNT)
    assert found["bits_per_pixel"] == pytest.approx(bits / (WIDTH * HEIGHT * COUNT))
    assert found["colour"]["range"] == "limited"
    assert found["damage"] is None


def test_info_in_text_tells_the_same(run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("info", coded)
    text = result.out.decode()
    assert (result.status, result.err) == (0, "")
    for part in ("64x48", "25 frames/s", "9 in 0.36 s, 3 of them I frames", "range limited", "bits/pixel"):
        assert part in text
    assert max(map(len, text.splitlines()[1:])) <= 100
    feed(monkeypatch, coded.read_bytes())
    assert run("info", "-").out.decode().splitlines()[1:] == text.splitlines()[1:]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_info_tells_of_a_damaged_file_what_it_can(
    run: Command, coded: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    damaged = tmp_path / "damaged.bcv"
    damaged.write_bytes(coded.read_bytes()[: packet_ends(coded)[3]])
    result = run("info", damaged, *options)
    one_error(result, 1, "damaged.bcv: the file is cut short", "after 4 whole frames")
    if options:
        found = json.loads(result.out)
        assert (found["frames"], found["i_frames"]) == (4, [0, 4])
        assert "cut short" in found["damage"]
    else:
        assert b"4 in 0.20 s, 2 of them I frames" in result.out


# ---------------------------------------------------------------- damaged bitstreams


def rewritten(
    path: Path,
    target: Path,
    change: Callable[[Packet], Packet] = lambda packet: packet,
    **header: Any,
) -> Path:
    """Write a sound bitstream with other things in it."""
    with path.open("rb") as source, target.open("wb") as file:
        reader = BitstreamReader(source)
        with BitstreamWriter(file, replace(reader.header, **header)) as writer:
            for packet in reader.frames():
                writer.write(change(packet))
    return target


# coding order: I0, I4, B2, B1, B3, I8, B6, B5, B7
@pytest.mark.parametrize(
    ("packets", "more", "frames"),
    [(1, 0, 1), (2, 5, 1), (4, -1, 1), (4, 0, 3), (5, 10, 5), (9, 0, 9), (9, 3, 9)],
)
def test_of_a_truncated_file_all_before_the_cut_is_delivered(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path, packets: int, more: int, frames: int
) -> None:
    damaged = tmp_path / "cut.bcv"
    damaged.write_bytes(coded.read_bytes()[: packet_ends(coded)[packets - 1] + more])
    result = run("decode", damaged, "-o", tmp_path / "out.y4m", *QUICK)
    kept = f"{frames} frame{'s' * (frames > 1)} before the damage kept in {tmp_path / 'out.y4m'}"
    one_error(result, 1, f"cut.bcv: frame {frames}: the file is cut short", kept)
    assert pictures(tmp_path / "out.y4m") == decoded[:frames]


def test_of_a_corrupt_file_all_before_the_damage_is_delivered(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    data, ends = coded.read_bytes(), packet_ends(coded)
    (tmp_path / "bad.bcv").write_bytes(flipped(data, ends[6] + 20))
    result = run("decode", tmp_path / "bad.bcv", "-o", tmp_path / "out.mkv", "--strict", *QUICK)
    one_error(result, 1, "bad.bcv: frame 5: damaged packet at byte", "5 frames before")
    assert pictures(tmp_path / "out.mkv") == decoded[:5]


def test_damage_is_told_by_frame_when_decoding_begins_later(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    data, ends = coded.read_bytes(), packet_ends(coded)
    (tmp_path / "bad.bcv").write_bytes(flipped(data, ends[7] + 20))
    result = run("decode", tmp_path / "bad.bcv", "-o", tmp_path / "out.y4m", "--start", 5, "--strict", *QUICK)
    one_error(result, 1, "bad.bcv: frame 7: damaged packet at byte", "2 frames before")
    assert pictures(tmp_path / "out.y4m") == decoded[5:7]


def test_a_picture_that_comes_out_different_is_refused(
    run: Command, coded: Path, decoded: list[bytes], tmp_path: Path
) -> None:
    def other_hash(packet: Packet) -> Packet:
        return replace(packet, picture_hash=packet.picture_hash ^ (packet.header.poc == 3))

    bad = rewritten(coded, tmp_path / "bad.bcv", other_hash)
    result = run("decode", bad, "-o", tmp_path / "out.y4m", "--strict", *QUICK)
    one_error(result, 1, "bad.bcv: frame 3: ", "hash", "3 frames before")
    assert pictures(tmp_path / "out.y4m") == decoded[:3]


def test_damage_before_the_first_frame_leaves_no_output(run: Command, coded: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.bcv").write_bytes(flipped(coded.read_bytes(), 90))
    result = run("decode", tmp_path / "bad.bcv", "-o", tmp_path / "out.y4m", "--strict", *QUICK)
    one_error(result, 1, "bad.bcv: frame 0: damaged packet at byte 58")
    assert not (tmp_path / "out.y4m").exists()


def test_payload_of_noise_is_an_error_and_no_traceback(run: Command, coded: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(400)
    bad = rewritten(coded, tmp_path / "bad.bcv", lambda packet: replace(packet, payload=noise))
    one_error(run("decode", bad, "-o", tmp_path / "out.y4m", *QUICK), 1, "bad.bcv: frame 0: ")


def test_what_was_coded_with_other_weights_is_refused(
    run: Command, coded: Path, tmp_path: Path, tiny_networks: bcodec.Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path / "other.npz", seed=1)
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tmp_path / "other.npz")
    result = run("decode", coded, "-o", tmp_path / "out.y4m", *QUICK)
    one_error(result, 1, "coded.bcv: coded with model", tiny_networks.model_id.hex())
    assert not (tmp_path / "out.y4m").exists()


def test_what_was_coded_with_another_arithmetic_is_refused(run: Command, coded: Path, tmp_path: Path) -> None:
    other = rewritten(coded, tmp_path / "other.bcv", arithmetic_version=999)
    one_error(run("decode", other, "-o", tmp_path / "out.y4m"), 1, "other.bcv: ", "arithmetic version 999")


@pytest.mark.parametrize("command", ["info", "decode"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "ends inside the sequence header"),
        (lambda data: data[:40], "ends inside the sequence header"),
        (lambda data: b"YUV4MPEG2" + data, "this is not a .bcv file"),
        (
            lambda data: data[:4] + b"\x63\x00" + data[6:],
            "format version 99, and this reader knows version 6",
        ),
        (lambda data: flipped(data, 17), "damaged sequence header"),
    ],
)
def test_file_with_a_bad_header_is_refused(
    run: Command, coded: Path, tmp_path: Path, command: str, change: Callable[[bytes], bytes], message: str
) -> None:
    (tmp_path / "bad.bcv").write_bytes(change(coded.read_bytes()))
    output = ("-o", tmp_path / "out.y4m") if command == "decode" else ()
    one_error(run(command, tmp_path / "bad.bcv", *output), 1, "bad.bcv: ", message)


def test_file_with_no_frames_is_refused(run: Command, tmp_path: Path, tiny_networks: bcodec.Networks) -> None:
    header = SequenceHeader(format_of(moving(1)[0]), GOP, bcodec.ARITHMETIC_VERSION, tiny_networks.model_id)
    with (tmp_path / "none.bcv").open("wb") as file, BitstreamWriter(file, header):
        pass
    one_error(run("decode", tmp_path / "none.bcv", "-o", tmp_path / "out.y4m"), 1, "none.bcv: has no frame 0")
    assert run("info", tmp_path / "none.bcv").status == 0


def test_start_beyond_the_end_is_refused(run: Command, clip: Path, coded: Path, tmp_path: Path) -> None:
    result = run("decode", coded, "-o", tmp_path / "out.y4m", "--start", COUNT, *QUICK)
    one_error(result, 1, "coded.bcv: has no frame 9")
    one_error(
        run("encode", clip, "-o", tmp_path / "out.bcv", "--start", COUNT), 1, "clip.y4m: has no frame 9"
    )
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- videos that cannot be encoded


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, AudioStream)
        frame = AudioFrame(layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_cut(path: Path) -> Path:
    write(path, noise(5))
    path.write_bytes(path.read_bytes()[:-9000])
    return path


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing.mp4", "missing.mp4: no such file"),
        (lambda folder: folder, "is a directory"),
        (lambda folder: write_bytes(folder / "empty.mp4", b""), "empty.mp4: is empty"),
        (lambda folder: write_bytes(folder / "text.mp4", b"not a video\n" * 99), "text.mp4: is not a video"),
        (lambda folder: write_sound(folder / "sound.wav"), "sound.wav: has no video in it, only audio"),
        (lambda folder: write_bytes(folder / "none.y4m", b"YUV4MPEG2 W0 H0 F25:1\n"), "width is 0"),
        (
            lambda folder: write_bytes(folder / "huge.y4m", b"YUV4MPEG2 W99999 H99999 F25:1\n"),
            "width is 99999",
        ),
    ],
)
def test_input_that_is_no_video_is_refused(
    run: Command, tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    result = run("encode", make(tmp_path), "-o", tmp_path / "out.bcv")
    one_error(result, 1, message)
    assert not (tmp_path / "out.bcv").exists()


@pytest.mark.parametrize("suffix", ["mkv", "y4m"])
def test_strictly_truncated_video_leaves_nothing_and_says_how_many_frames_are_good(
    run: Command, tmp_path: Path, suffix: str
) -> None:
    source = write_cut(tmp_path / f"cut.{suffix}")
    result = run("encode", source, "-o", tmp_path / "out.bcv", "--gop", 2, "--strict", *FAST)
    one_error(result, 1, f"cut.{suffix}: is ", "nothing was kept; --frames ")
    assert not (tmp_path / "out.bcv").exists()
    found = re.search(r"--frames (\d+)", result.err)
    assert found
    assert run("encode", source, "-o", tmp_path / "out.bcv", "--frames", found[1], *FAST).status == 0


def test_raw_video_must_be_whole_frames(run: Command, tmp_path: Path) -> None:
    raw = write_bytes(tmp_path / "odd.yuv", bytes(picture_bytes(64, 48) + 1))
    result = run("encode", raw, "-o", tmp_path / "out.bcv", "--size", "64x48", "--fps", "25")
    one_error(result, 1, "odd.yuv: 4609 bytes are not a whole number of 64x48 frames")


# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing command"),
        (("transcode",), "No such command"),
        (("encode",), "Missing"),
        (("encode", "a.mp4"), "Missing option '-o'"),
        (("encode", "a.mp4", "-o", "b.bcv", "--qp", "3"), "No such option"),
        (("encode", "a.mp4", "-o", "b.bcv", "-q", "64"), "64.0 is not in the range 0<=x<=63"),
        (("encode", "a.mp4", "-o", "b.bcv", "--gop", "0"), "0 is not in the range 1<=x<=64"),
        (("encode", "a.mp4", "-o", "b.bcv", "--frames", "0"), "--frames"),
        (("encode", "a.mp4", "-o", "b.bcv", "--start", "-1"), "--start"),
        (("encode", "a.mp4", "-o", "b.bcv", "--threads", "0"), "--threads"),
        (("encode", "a.mp4", "-o", "b.bcv", "--device", "tpu"), "--device"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "big", "--fps", "25"), "'big' is not a size"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "0x0", "--fps", "25"), "0x0 is not within 16x16 to"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "9999x99", "--fps", "25"), "9999x99 is not within"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "8192x8192", "--fps", "25"), "8192x8192 is not within"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "64x48", "--fps", "0"), "0 is not above 0"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "64x48", "--fps", "25/0"), "'25/0' is not a rate"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "64x48", "--fps", "1e999"), "'1e999' is not a rate"),
        (("encode", "a.yuv", "-o", "b.bcv", "--size", "64x48"), "give --size WxH and --fps R"),
        (("encode", "a.mp4", "-o", "b.bcv", "--size", "64x48", "--fps", "25"), "for raw video only"),
        (("decode", "a.bcv"), "Missing option '-o'"),
        (("info",), "Missing argument"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    one_error(run(*arguments), 2, message, "--help")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.avi", "out"])
def test_output_of_an_unknown_kind_is_wrong_usage(
    run: Command, coded: Path, tmp_path: Path, name: str
) -> None:
    one_error(run("decode", coded, "-o", tmp_path / name), 2, f"{name}: cannot write")


@pytest.mark.parametrize("linked", [False, True])
def test_output_over_the_input_is_refused(run: Command, clip: Path, tmp_path: Path, linked: bool) -> None:
    source = write_bytes(tmp_path / "clip.y4m", clip.read_bytes())
    target = tmp_path / "link.bcv" if linked else source
    if linked:
        target.hardlink_to(source)
    one_error(run("encode", source, "-o", target, "-y"), 2, "are the same file")
    assert source.read_bytes() == clip.read_bytes()


def test_a_terminal_is_no_file(
    run: Command, coded: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    one_error(run("info", "-"), 2, "standard input")
    one_error(run("encode", "-", "-o", "out.bcv"), 2, "standard input")
    one_error(run("encode", clip, "-o", "-"), 2, "standard output")
    one_error(run("decode", coded, "-o", "-"), 2, "standard output")


def test_help_and_version_need_no_torch() -> None:
    script = (
        "import sys; from bcodec.cli.main import main\n"
        "assert [main(a) for a in (['--version'], ['encode', '--help'], ['encode'])] == [0, 0, 2]\n"
        "assert not {'torch', 'av', 'numpy'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"bcodec {bcodec.__version__}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert (
        "-q N Quality: higher is better and bigger. Eighths count: 32.5. [default: 32; 0<=x<=63]"
        in " ".join(done.stdout.split())
    )


def test_python_can_run_the_package() -> None:
    words = [sys.executable, "-m", "bcodec", "info", "nothing.bcv"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "bcodec: error: nothing.bcv: No such file or directory\n"


@pytest.mark.parametrize("command", ["", *commands.commands])
def test_help_fits_a_terminal(run: Command, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(*filter(None, [command]), "--help")
    assert result.status == 0
    assert max(map(len, result.out.decode().splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("bcodec en", "plain,encode"),
        ("bcodec decode --no-a", "plain,--no-audio"),
        ("bcodec info clip", "file,clip"),
    ],
)
def test_a_shell_completes(run: Command, monkeypatch: pytest.MonkeyPatch, words: str, offered: str) -> None:
    monkeypatch.setenv("_BCODEC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert offered in run().out.decode().splitlines()
    monkeypatch.setenv("_BCODEC_COMPLETE", "zsh_source")
    assert b"compdef _bcodec_completion bcodec" in run().out


def test_public_names_are_all_there() -> None:
    for name in bcodec.__all__:
        assert getattr(bcodec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bcodec.nonsense  # noqa: B018


# ---------------------------------------------------------------- failures on the way


def failing(error: BaseException) -> Callable[..., Iterator[Packet]]:
    def encode(*_: object, **__: object) -> Iterator[Packet]:
        raise error
        yield  # a generator, as the real one

    return encode


def test_existing_output_is_refused_before_any_work(
    run: Command, clip: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.networks.load_networks", failing(AssertionError("work was done")))
    monkeypatch.setattr("bcodec.video.VideoReader", failing(AssertionError("work was done")))
    for command, source, name in [("encode", clip, "out.bcv"), ("decode", coded, "out.y4m")]:
        target = write_bytes(tmp_path / name, b"old")
        one_error(run(command, source, "-o", target), 1, f"{name}: exists already (-y overwrites it)")
        assert target.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["nowhere/out", "folder", "file/out", "n" * 300])
def test_output_that_cannot_be_written_is_refused(
    run: Command, clip: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    one_error(run("encode", clip, "-o", tmp_path / name, "-y", *FAST), 1, f"{tmp_path / name}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_of_others_is_refused(run: Command, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    one_error(run("encode", clip, "-o", tmp_path / "locked" / "out.bcv"), 1, "out.bcv: Permission denied")


@NEEDS_FULL_DISK
@pytest.mark.parametrize("name", ["out.bcv", "out.y4m", "out.mkv"])
def test_full_disk_is_told(run: Command, clip: Path, coded: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    target.symlink_to("/dev/full")
    command, source = ("encode", clip) if name == "out.bcv" else ("decode", coded)
    one_error(run(command, source, "-o", target, *QUICK), 1, f"{name}: No space left on device")


def test_write_that_fails_half_way_leaves_nothing(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.pipeline.passes.code_groups", failing(OSError(28, "No space left on device")))
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv"), 1, "out.bcv: No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory"),
    ],
)
def test_lack_of_memory_is_told(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("bcodec.pipeline.passes.code_groups", failing(error))
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv"), 1, "out of memory")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_ends_a_command_with_nothing_left_behind(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    seen: list[list[str]] = []

    def encode(*_: object, **__: object) -> Iterator[Packet]:
        seen.append([path.suffix for path in tmp_path.iterdir()])
        os.kill(os.getpid(), number)
        yield from ()

    monkeypatch.setattr("bcodec.pipeline.passes.code_groups", encode)
    # What runs in a shell's background inherits that SIGINT is ignored, and bcodec leaves it at that.
    inherited = signal.signal(number, signal.SIG_DFL)
    try:
        result = run("encode", clip, "-o", tmp_path / "out.bcv")
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, inherited)
    assert (result.status, result.err) == (status, "bcodec: interrupted\n")
    assert seen == [[".part"]]
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_an_older_output_as_it_was(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_bytes(tmp_path / "out.bcv", b"old")
    monkeypatch.setattr("bcodec.pipeline.passes.code_groups", failing(KeyboardInterrupt()))
    assert run("encode", clip, "-o", target, "-y").status == 130
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    "arguments",
    [("encode", "clip.y4m", "-o", "-"), ("decode", "coded.bcv", "-o", "-"), ("info", "coded.bcv")],
)
def test_reader_of_standard_output_may_go_away(
    run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(coded.parent)
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        result = run(*arguments)
        monkeypatch.undo()
    assert (result.status, result.err) == (141, "")


def test_closed_standard_streams_are_told(run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    one_error(run("decode", coded, "-o", "-"), 2, "standard output")
    monkeypatch.setattr(sys, "stdin", None)
    one_error(run("info", "-"), 2, "standard input")


@NEEDS_FULL_DISK
@pytest.mark.parametrize("arguments", [("info",), ("decode", "-o", "-")])
def test_full_disk_behind_standard_output_is_told(
    run: Command, coded: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        one_error(run(*arguments, coded), 1, "standard output: No space left on device")


def test_missing_bitstream_is_told(run: Command, tmp_path: Path) -> None:
    one_error(run("decode", tmp_path / "no.bcv", "-o", tmp_path / "a.y4m"), 1, "no.bcv: No such file")
    one_error(run("info", tmp_path / "no.bcv"), 1, "no.bcv: No such file")


def test_missing_weights_are_told(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tmp_path / "none.npz")
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv"), 1, "weights", "none.npz")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_missing_gpu_is_told(run: Command, clip: Path, tmp_path: Path) -> None:
    one_error(run("encode", clip, "-o", tmp_path / "out.bcv", "--device", "cuda"), 1, "CUDA")


def test_where_there_is_a_gpu_encoding_does_not_wait_for_it(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # there is none: to use it would fail
    assert run("encode", clip, "-o", tmp_path / "out.bcv", *QUICK).status == 0


def test_odd_size_in_mp4_is_refused_by_the_name_that_the_user_gave(run: Command, tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.y4m", moving(1, 33, 31))
    assert run("encode", odd, "-o", tmp_path / "odd.bcv", *FAST).status == 0
    result = run("decode", tmp_path / "odd.bcv", "-o", tmp_path / "odd.mp4", *QUICK)
    one_error(result, 1, f"{tmp_path / 'odd.mp4'}: mp4 (H.264) cannot hold the odd size 33x31")


def test_a_bug_is_not_hidden(
    run: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.pipeline.passes.code_groups", failing(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        run("encode", clip, "-o", tmp_path / "out.bcv")


# ---------------------------------------------------------------- the examples


def test_encode_folder_encodes_all_videos_of_a_folder(tmp_path: Path) -> None:
    stand_in = tmp_path / "bcodec"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 1\n')
    stand_in.chmod(0o755)
    (tmp_path / "in").mkdir()

    def encode_folder(*arguments: str) -> tuple[int, str]:
        script = Path(__file__).parents[1] / "examples" / "encode_folder.sh"
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", script, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert encode_folder("in", "out") == (1, "")
    for name in ("a.mp4", "c d.MKV", "notes.txt"):
        (tmp_path / "in" / name).touch()
    words = ["encode", "--out-dir", "out", "-q", "40", "--", "in/a.mp4", "in/c d.MKV"]
    assert encode_folder("in", "out", "-q", "40") == (1, "".join(f"{word}\n" for word in words))
    assert encode_folder("nowhere", "out") == (2, "")


def test_python_api_example_encodes_and_decodes(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clip = write(tmp_path / "clip.y4m", moving(2))
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
    monkeypatch.setattr(sys, "argv", ["python_api.py", str(clip), "20"])
    runpy.run_path(str(Path(__file__).parents[1] / "examples" / "python_api.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert re.search(r"2 frames of 64x48 at qp 20: \d+ bytes\n\d\.\d{4} bits per pixel, \d\d\.\d\d dB", out)
