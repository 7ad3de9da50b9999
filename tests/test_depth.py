"""Ten bits in and ten bits out: every way in gives the same samples, and every way out holds them."""

import io
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import deepened, format_of, moving, write
from commands import COUNT, FAST, GOP, HEIGHT, QUICK, WIDTH, Command, feed, one_error, pictures

from bcodec.bitstream import BitstreamReader
from bcodec.decoder import decode
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.metrics import Quality
from bcodec.networks import Networks
from bcodec.video import VideoReader, VideoWriter

RAW: dict[str, Any] = {"size": (WIDTH, HEIGHT), "frame_rate": Fraction(25), "raw_pixels": "yuv420p10le"}
RAW_OPTIONS = ("--size", f"{WIDTH}x{HEIGHT}", "--fps", 25, "--pix-fmt", "yuv420p10le")
LIKE_BEFORE = (*FAST, "--gop", GOP)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return deepened(moving(COUNT, WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def deep_clip(frames: list[Frame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("deep") / "clip.y4m", frames)


@pytest.fixture
def deep_coded(run: Command, deep_clip: Path, tmp_path: Path) -> Path:
    """The clip as it was encoded."""
    assert run("encode", deep_clip, "-o", tmp_path / "deep.bcv", *LIKE_BEFORE).status == 0
    return tmp_path / "deep.bcv"


def bytes_of(frames: list[Frame]) -> list[bytes]:
    return [frame.to_bytes() for frame in frames]


def decoded(path: Path, networks: Networks) -> list[Frame]:
    with path.open("rb") as file:
        reader = BitstreamReader(file)
        return list(decode(reader.frames(), reader.header, networks))


# ---------------------------------------------------------------- files of samples


@pytest.mark.parametrize("size", [(64, 48), (47, 33)])
@pytest.mark.parametrize("ending", ["y4m", "yuv", "mkv"])
def test_ten_bits_come_back_untouched(tmp_path: Path, ending: str, size: tuple[int, int]) -> None:
    frames = deepened(moving(3, *size))
    path = write(tmp_path / f"clip.{ending}", frames)
    with VideoReader(path, **(RAW | {"size": size} if ending == "yuv" else {})) as reader:
        assert (reader.format.bit_depth, reader.notices) == (10, [])
        assert bytes_of(list(reader)) == bytes_of(frames)


def test_mp4_holds_ten_bits_near_lossless(tmp_path: Path, frames: list[Frame]) -> None:
    path = write(tmp_path / "clip.mp4", frames)
    with VideoReader(path) as reader:
        back = list(reader)
        assert reader.format.bit_depth == 10
    assert all(Quality.of(a.planes, b.planes).psnr_y > 45 for a, b in zip(frames, back, strict=True))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag, context.pix_fmt) == ("hevc", "hvc1", "yuv420p10le")


def test_mp4_of_ten_bits_keeps_times(tmp_path: Path, frames: list[Frame]) -> None:
    times = [Fraction(t, 25) for t in (0, 1, 2, 7, 8, 9, 30, 31, 32)]
    with VideoWriter(tmp_path / "clip.mp4", format_of(frames[0])) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)
    with VideoReader(tmp_path / "clip.mp4") as reader:
        assert [time for _, time in reader.timed()] == times


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_mp4_of_ten_bits_may_be_short(tmp_path: Path, frames: list[Frame], count: int) -> None:
    """libx265 gives times that it never set where it sees no more pictures than it may reorder."""
    for attempt in range(3):  # as chance has it
        path = write(tmp_path / f"{attempt}.mp4", frames[:count])
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert sorted(packet.pts or 0 for packet in packets) == [512 * n for n in range(count)]


def test_where_ffmpeg_has_no_encoder_for_ten_bits_mp4_is_refused(
    tmp_path: Path, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules["bcodec.video.mux"].ENCODERS, ("mp4", 10), ("libx000", {}))
    with pytest.raises(VideoError, match=r"cannot write 10 bits in mp4; write \.mkv or \.y4m"):
        VideoWriter(tmp_path / "clip.mp4", format_of(frames[0]))


def test_ffmpeg_reads_our_y4m(deep_clip: Path, frames: list[Frame]) -> None:
    with av.open(str(deep_clip)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p10le"
        first = next(container.decode(stream))
    samples = np.frombuffer(memoryview(first.planes[0]), "<u2").reshape(HEIGHT, -1)[:, :WIDTH]
    assert np.array_equal(samples, frames[0].y)


def test_samples_beyond_ten_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.yuv"
    path.write_bytes(np.full(WIDTH * HEIGHT * 3 // 2, 1024, "<u2").tobytes())
    with pytest.raises(VideoError, match="has a sample of 1024"), VideoReader(path, **RAW) as reader:
        next(iter(reader))


# ---------------------------------------------------------------- commands


def test_every_way_in_gives_the_same_file(
    run: Command,
    deep_coded: Path,
    frames: list[Frame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources = [write(tmp_path / f"clip.{ending}", frames) for ending in ("yuv", "mkv", "y4m")]
    feeds = [("-", RAW_OPTIONS, sources[0]), ("-", (), sources[2])]
    ways = [(sources[0], RAW_OPTIONS, None), (sources[1], (), None), *feeds]
    for number, (source, options, fed) in enumerate(ways):
        if fed:
            feed(monkeypatch, fed.read_bytes())
        target = tmp_path / f"{number}.bcv"
        assert run("encode", source, "-o", target, *options, *LIKE_BEFORE).status == 0
        packets, others = (
            [*BitstreamReader(io.BytesIO(p.read_bytes())).frames()] for p in (target, deep_coded)
        )
        assert packets == others
    assert json.loads(run("info", deep_coded, "--json").out)["bit_depth"] == 10


@pytest.mark.parametrize("suffix", ["y4m", "yuv", "mkv"])
def test_decode_writes_all_ten_bits(
    run: Command, deep_coded: Path, tiny_networks: Networks, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"out.{suffix}"
    assert run("decode", deep_coded, "-o", target, *QUICK).status == 0
    shown = decoded(deep_coded, tiny_networks)
    assert np.any(shown[1].y & 3)
    assert pictures(target, **(RAW if suffix == "yuv" else {})) == bytes_of(shown)
    assert run("verify", deep_coded, *QUICK).status == 0


@pytest.mark.parametrize("how", [("--jobs", 1), ("--jobs", 2), ("--jobs", 1, "--strict")])
def test_all_is_decoded_in_ten_bits_whatever_is_written(
    run: Command, deep_coded: Path, coded: Path, tiny_networks: Networks, tmp_path: Path, how: tuple[Any, ...]
) -> None:
    options = (*QUICK, *how)
    assert run("decode", deep_coded, "-o", tmp_path / "8.y4m", "--bit-depth", 8, *options).status == 0
    rounded = [frame.at_depth(8) for frame in decoded(deep_coded, tiny_networks)]
    assert pictures(tmp_path / "8.y4m") == bytes_of(rounded)
    assert run("decode", coded, "-o", tmp_path / "10.y4m", "--bit-depth", 10, *options).status == 0
    with VideoReader(tmp_path / "10.y4m") as reader:
        deep = list(reader)
    assert bytes_of([frame.at_depth(8) for frame in deep]) == bytes_of(decoded(coded, tiny_networks))
    assert np.any(deep[1].y & 3)


def test_a_depth_is_chosen(run: Command, clip: Path, deep_clip: Path, tmp_path: Path) -> None:
    rounded = write(tmp_path / "rounded.y4m", [f.at_depth(8) for f in deepened(moving(COUNT, WIDTH, HEIGHT))])
    raised = write(tmp_path / "raised.y4m", [f.at_depth(10) for f in moving(COUNT, WIDTH, HEIGHT)])
    for source, depth, same in ((deep_clip, 8, rounded), (clip, 10, raised)):
        one, other = tmp_path / "one.bcv", tmp_path / "other.bcv"
        assert run("encode", source, "-o", one, "--bit-depth", depth, "-y", *LIKE_BEFORE).status == 0
        assert run("encode", same, "-o", other, "-y", *LIKE_BEFORE).status == 0
        packets, others = ([*BitstreamReader(io.BytesIO(p.read_bytes())).frames()] for p in (one, other))
        assert packets == others
        assert json.loads(run("info", one, "--json").out)["bit_depth"] == depth


def test_several_passes_over_a_pipe_take_ten_bits(
    run: Command, deep_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, deep_clip.read_bytes())
    options = ("--max-size", "6k", "--psnr", *LIKE_BEFORE)
    assert run("encode", "-", "-o", tmp_path / "small.bcv", *options).status == 0
    assert run("verify", tmp_path / "small.bcv", *QUICK).status == 0


def test_compare_is_at_the_higher_depth(run: Command, clip: Path, deep_clip: Path, tmp_path: Path) -> None:
    raised = write(tmp_path / "raised.y4m", [f.at_depth(10) for f in moving(COUNT, WIDTH, HEIGHT)])
    of_deep = [run("compare", deep_clip, other, "--json") for other in (clip, raised)]
    one, other = (json.loads(result.out)["videos"][0] for result in of_deep)
    for name in ("psnr_y", "psnr_u", "xpsnr_y", "ssim"):
        assert one[name] == other[name]
    source, rounded = (
        np.concatenate([p.ravel() for p in f.planes[:1]])
        for f in (deepened(moving(1, WIDTH, HEIGHT))[0], moving(1, WIDTH, HEIGHT)[0].at_depth(10))
    )
    error = np.square(source.astype(float) - rounded).mean()
    assert one["per_frame"][0]["psnr_y"] == pytest.approx(10 * np.log10(1023**2 / error), abs=1e-4)
    same = json.loads(run("compare", raised, clip, "--json").out)["videos"][0]
    assert same["psnr_yuv"] == 100


def test_raw_planes_of_ten_bits_are_compared(
    run: Command, deep_clip: Path, frames: list[Frame], tmp_path: Path
) -> None:
    raw = write(tmp_path / "clip.yuv", frames)
    assert json.loads(run("compare", deep_clip, raw, "--json").out)["videos"][0]["psnr_yuv"] == 100
    assert (
        json.loads(run("compare", raw, deep_clip, "--json", *RAW_OPTIONS).out)["videos"][0]["psnr_yuv"] == 100
    )


def test_a_pixel_format_is_for_raw_video_only(run: Command, deep_clip: Path, tmp_path: Path) -> None:
    result = run("encode", deep_clip, "-o", tmp_path / "out.bcv", "--pix-fmt", "yuv420p10le", *FAST)
    one_error(result, 2, "--pix-fmt is for raw video only")


def test_x265_says_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from clips import *;"
        " write(Path(sys.argv[2]), deepened(moving(2)))"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "clip.mp4")]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")
