"""What comes and goes through pipes beside y4m: bare planes in, Matroska with sound out."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from clips import still
from commands import FAST, Command, Pipe, feed

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
