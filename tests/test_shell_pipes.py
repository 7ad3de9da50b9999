"""What comes and goes through pipes beside y4m: bare planes and containers in, Matroska with sound out."""

import io
import os
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from clips import still
from commands import FAST, Command, Pipe, feed, one_error

from bcodec.video import VideoReader


def with_sound(path: Path) -> Path:
    """Three frames of 32x32 at 25 per second, and PCM of the same length."""
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("ffv1", rate=25), container.add_stream("pcm_s16le", rate=8000)
        assert isinstance(video, VideoStream)
        assert isinstance(sound, AudioStream)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        sound.layout = "mono"
        for t in range(3):
            picture = VideoFrame.from_ndarray(np.full((48, 32), 90 + t, np.uint8), "yuv420p")
            container.mux(video.encode(picture))
            samples = np.arange(320 * t, 320 * (t + 1), dtype=np.int16)[None]
            frame = AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate = 8000
            container.mux(sound.encode(frame))
        container.mux([*video.encode(None), *sound.encode(None)])
    return path


def content(file: Path | io.BytesIO) -> tuple[list[bytes], bytes]:
    """The pictures and the sound of a video."""
    shown: list[bytes] = []
    heard = b""
    with av.open(file if isinstance(file, io.BytesIO) else str(file), "r") as container:
        for packet in container.demux():
            if packet.stream.type == "audio":
                heard += bytes(packet)
            else:
                shown += [f.to_ndarray().tobytes() for f in packet.decode() if isinstance(f, VideoFrame)]
    return shown, heard


def test_matroska_goes_through_a_pipe_with_its_sound(run: Command, tmp_path: Path) -> None:
    coded, target = tmp_path / "a.bcv", tmp_path / "out.mkv"
    assert run("encode", with_sound(tmp_path / "in.mkv"), "-o", coded, *FAST).status == 0
    assert run("decode", coded, "-o", target, "--threads", 1).status == 0
    result = run("decode", coded, "-o", "-", "--format", "mkv", "--threads", 1)
    assert result.status == 0, result.err
    shown, heard = content(Pipe(result.out))
    assert (shown, heard) == content(target)
    assert (len(shown), heard) == (3, np.arange(960, dtype=np.int16).tobytes())
    refused = run("decode", coded, "-o", "-", "--format", "mp4")
    assert (refused.status, "mkv can be written to standard output" in refused.err) == (2, True)


def test_a_format_is_written_whatever_the_name(run: Command, tmp_path: Path) -> None:
    coded = tmp_path / "a.bcv"
    run("encode", still(tmp_path / "in.y4m", 2), "-o", coded, *FAST)
    for name, options in (("a.y4m", ()), ("b.tmp", ("--format", "y4m"))):
        assert run("decode", coded, "-o", tmp_path / name, *options, "--threads", 1).status == 0
    assert (tmp_path / "a.y4m").read_bytes() == (tmp_path / "b.tmp").read_bytes()


def test_bare_planes_come_through_a_pipe(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = still(tmp_path / "in.yuv", 3)
    options = ("--size", "32x32", "--fps", "25", *FAST)
    assert run("encode", raw, "-o", tmp_path / "file.bcv", *options).status == 0
    feed(monkeypatch, raw.read_bytes())
    assert run("encode", "-", "-o", tmp_path / "pipe.bcv", *options).status == 0
    assert (tmp_path / "pipe.bcv").read_bytes() == (tmp_path / "file.bcv").read_bytes()
    feed(monkeypatch, raw.read_bytes()[:-1])
    result = run("encode", "-", "-o", tmp_path / "cut.bcv", *options)
    assert result.status == 1
    assert "standard input: 4607 bytes are not a whole number of 32x32 frames" in result.err
    assert not (tmp_path / "cut.bcv").exists()
    feed(monkeypatch, raw.read_bytes())
    result = run("encode", "-", "-o", tmp_path / "cut.bcv", "--size", "32x32")
    assert (result.status, "standard input: raw video does not say its size and rate" in result.err) == (
        2,
        True,
    )


def test_a_part_of_bare_planes_in_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raw = still(tmp_path / "in.yuv", 4).read_bytes()
    feed(monkeypatch, raw)
    with VideoReader("-", size=(32, 32), frame_rate=Fraction(25), start=1, frames=2) as reader:
        found = b"".join(frame.to_bytes() for frame in reader)
    assert found == raw[1536 : 3 * 1536]


# ---------------------------------------------------------------- containers on standard input

INDEX_FIRST, FRAGMENTS = "faststart", "frag_keyframe+empty_moov"


def in_a_container(path: Path, movflags: str = "") -> Path:
    """Ten pictures of H.264 with sound, remuxed: with an index where it is wanted."""
    whole = clips.with_sound(path.with_name("whole.mkv"), "mp2" if path.suffix == ".ts" else "aac")
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=options) as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "movflags", "copied"),
    [
        ("in.mkv", "", False),
        ("in.ts", "", False),
        ("in.nut", "", False),
        ("in.mp4", INDEX_FIRST, False),
        ("in.mp4", FRAGMENTS, False),
        ("in.mp4", "", True),
    ],
)
def test_a_container_comes_through_a_pipe_as_it_is_in_a_file(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, movflags: str, copied: bool
) -> None:
    source, of_file, of_pipe = (
        in_a_container(tmp_path / name, movflags),
        tmp_path / "f.bcv",
        tmp_path / "p.bcv",
    )
    assert run("encode", source, "-o", of_file, *FAST).status == 0
    feed(monkeypatch, source.read_bytes())
    result = run("encode", "-", "-o", of_pipe, *FAST)
    assert result.status == 0, result.err
    assert of_pipe.read_bytes() == of_file.read_bytes()
    told = "standard input has been copied to a temporary file, to be read from there"
    assert (told in result.err) == copied


@pytest.mark.parametrize("aim", [(), ("--bitrate", "30k")])
@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.y4m", "in.yuv"])
def test_a_part_by_time_comes_through_a_pipe_as_it_is_in_a_file(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, aim: tuple[str, ...]
) -> None:
    """Its pictures by their times, and the sound that goes with them."""
    holds_sound = name in ("in.mkv", "in.mp4")
    source = in_a_container(tmp_path / name) if holds_sound else still(tmp_path / name, 10)
    raw = ("--size", "32x32", "--fps", "25") if name == "in.yuv" else ()
    options = ("--start", "0.1s", "--duration", "0:00.2", *raw, *aim, *FAST)
    assert run("encode", source, "-o", tmp_path / "f.bcv", *options).status == 0
    feed(monkeypatch, source.read_bytes())
    result = run("encode", "-", "-o", tmp_path / "p.bcv", *options)
    assert result.status == 0, result.err
    assert "5 frames" in result.err
    assert "left out" not in result.err
    assert ("copied to a temporary file" in result.err) == holds_sound
    assert (tmp_path / "p.bcv").read_bytes() == (tmp_path / "f.bcv").read_bytes()


@pytest.mark.parametrize(("name", "movflags"), [("in.mkv", ""), ("in.mp4", "")])
def test_a_search_keeps_the_sound_of_a_pipe(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, movflags: str
) -> None:
    source, aim = in_a_container(tmp_path / name, movflags), ("--bitrate", "30k", *FAST)
    assert run("encode", source, "-o", tmp_path / "f.bcv", *aim).status == 0
    feed(monkeypatch, source.read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    assert run("encode", "-", "-o", tmp_path / "p.bcv", *aim).status == 0
    assert (tmp_path / "p.bcv").read_bytes() == (tmp_path / "f.bcv").read_bytes()
    assert set(tmp_path.iterdir()) - before == {tmp_path / "p.bcv"}


@pytest.mark.parametrize(("name", "movflags"), [("in.mkv", ""), ("in.mp4", INDEX_FIRST), ("in.mp4", "")])
def test_a_pipe_that_is_cut_short_is_told(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, movflags: str
) -> None:
    data = in_a_container(tmp_path / name, movflags).read_bytes()
    feed(monkeypatch, data[:-50] if movflags or name == "in.mkv" else data[: len(data) // 2])
    result = run("encode", "-", "-o", tmp_path / "p.bcv", *FAST)
    assert result.status == 1
    assert ("is cut short by 50 bytes" if movflags or name == "in.mkv" else "is not a video") in result.err


def test_a_named_pipe_may_hold_a_container(run: Command, tmp_path: Path) -> None:
    source, pipe = in_a_container(tmp_path / "in.mp4"), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[source.read_bytes()])
    writer.start()
    assert run("encode", pipe, "-o", tmp_path / "p.bcv", *FAST).status == 0
    writer.join()
    assert run("encode", source, "-o", tmp_path / "f.bcv", *FAST).status == 0
    assert (tmp_path / "p.bcv").read_bytes() == (tmp_path / "f.bcv").read_bytes()


def test_a_copy_that_has_no_room_is_told(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, in_a_container(tmp_path / "in.mp4").read_bytes())
    with open("/dev/full", "r+b", buffering=0) as full:
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda: full)
        result = run("encode", "-", "-o", tmp_path / "p.bcv", *FAST)
    one_error(result, 1, f"{tempfile.gettempdir()}, which must hold a copy of the input: No space left")


def test_y4m_of_another_sampling_comes_through_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = b"FRAME\n" + bytes([100]) * 1024 + bytes([90]) * 1024
    feed(monkeypatch, b"YUV4MPEG2 W32 H32 F25:1 Ip C422\n" + 2 * picture)
    with VideoReader("-") as reader:
        assert [frame.to_bytes() for frame in reader] == 2 * [bytes([100]) * 1024 + bytes([90]) * 512]
