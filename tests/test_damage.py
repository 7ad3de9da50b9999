"""Damage in the input does not cost the rest: it is counted and told, and reading goes on behind it."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from commands import Command, feed, one_error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bcodec.errors import VideoError
from bcodec.video import VideoReader
from bcodec.video.breaks import breaks

RATE, COUNT, GOP = 5, 150, 10
QUICKLY = "--threads", "1", "--preset", "fast"


def coded(size: tuple[int, int], count: int, first: int = 0, flags: str = "") -> list[Packet[Stream]]:
    """Noise in H.264, an IDR picture every GOP pictures, with B pictures."""
    with av.open(io.BytesIO(), "w", format="mpegts") as container:
        options = {"g": str(GOP), "bf": "2", "sc_threshold": "0", "qp": "20", "threads": "1"}
        options |= {"x264-params": flags} if flags else {}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        assert isinstance(stream, VideoStream)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        packets = []
        for time in range(first, first + count):
            picture = VideoFrame(*size, "yuv420p")
            rng = np.random.default_rng(time)
            for plane in picture.planes:
                plane.update(rng.integers(60, 190, plane.buffer_size, np.uint8).tobytes())
            picture.pts, picture.time_base = time, Fraction(1, RATE)
            packets += stream.encode(picture)
        return packets + stream.encode(None)


def write(path: Path, packets: list[Packet[Stream]], size: tuple[int, int] = (64, 48)) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream("h264", rate=RATE, width=size[0], height=size[1])
        for packet in packets:
            each = Packet(bytes(packet))
            each.pts, each.dts, each.time_base = packet.pts, packet.dts, packet.time_base
            each.is_keyframe, each.stream = packet.is_keyframe, stream
            container.mux(each)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 seconds of MPEG-TS."""
    return write(tmp_path_factory.mktemp("damage") / "whole.ts", coded((64, 48), COUNT))


def spoil(source: Path, target: Path, begin: float, end: float) -> Path:
    """Overwrite packets of MPEG-TS from one share of the file to another."""
    data = bytearray(source.read_bytes())
    first, last = (int(len(data) * share) // 188 * 188 for share in (begin, end))
    data[first:last] = np.random.default_rng(1).bytes(last - first)
    target.write_bytes(data)
    return target


def read(path: Path, start: int = 0) -> list[bytes]:
    with VideoReader(path, strict=False, start=start) as reader:
        return [frame.to_bytes() for frame in reader]


def test_reading_goes_on_behind_damage(whole: Path, tmp_path: Path) -> None:
    source, expected = spoil(whole, tmp_path / "bad.ts", 0.4, 0.45), read(whole)
    with VideoReader(source, strict=False) as reader:
        frames = [frame.to_bytes() for frame in reader]
        assert reader.damage.packets > 0
        assert reader.damage.first is not None
        assert 10 < reader.damage.first < 20
        assert re.match(r"\d+ damaged packets?, the first at 1\d\.\d\d s$", str(reader.damage))
        assert re.match(r"damage at 1\d\.\d\d s is passed over", reader.notices[0])
    assert len(frames) > COUNT * 0.85
    assert frames[:50] == expected[:50]
    assert frames[-70:] == expected[-70:]


def test_strictly_damage_ends_it(whole: Path, tmp_path: Path) -> None:
    source, expected, frames = spoil(whole, tmp_path / "bad.ts", 0.4, 0.45), read(whole), list[bytes]()
    with VideoReader(source) as reader, pytest.raises(VideoError, match="is damaged or cut short after"):
        frames.extend(frame.to_bytes() for frame in reader)
    assert 50 < len(frames) < 75
    assert frames[:50] == expected[:50]


@pytest.mark.parametrize("start", [1, 49, 60, 105, 149])
@pytest.mark.parametrize("ending", ["ts", "mkv", "mp4"])
def test_who_begins_later_has_the_same_pictures(whole: Path, tmp_path: Path, ending: str, start: int) -> None:
    source = whole
    if ending != "ts":
        source = tmp_path / f"clip.{ending}"
        with av.open(str(whole)) as before, av.open(str(source), "w") as after:
            stream = after.add_stream_from_template(before.streams.video[0])
            for packet in before.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    after.mux(packet)
    assert read(source, start=start) == read(source)[start:]


def test_who_begins_behind_damage_has_none(whole: Path, tmp_path: Path) -> None:
    source = spoil(whole, tmp_path / "bad.ts", 0.2, 0.25)
    with VideoReader(source, start=COUNT - 30) as reader:
        frames = [frame.to_bytes() for frame in reader]
        assert not reader.damage
    assert frames == read(whole)[-len(frames) :]


def test_pictures_are_counted_from_the_first_that_can_be_decoded(whole: Path, tmp_path: Path) -> None:
    data, source = whole.read_bytes(), tmp_path / "late.ts"
    source.write_bytes(data[: 3 * 188] + data[len(data) // 10 // 188 * 188 :])  # it begins within a GOP
    pictures = read(source)
    assert len(pictures) < COUNT
    assert read(source, start=100) == pictures[100:]


def test_an_encode_goes_on_and_says_so(run: Command, whole: Path, tmp_path: Path) -> None:
    source, out = write_short(tmp_path), tmp_path / "out.bcv"
    result = run("encode", source, "-o", out, *QUICKLY)
    assert result.status == 1
    lines = result.err.splitlines()
    assert re.fullmatch(r"bcodec: damage at .* s is passed over \(--strict stops at damage\)", lines[0])
    assert re.fullmatch(
        r"bcodec: error: .*short.ts: \d+ damaged packets?, .*; the rest is in .*out.bcv", lines[-1]
    )
    assert run("verify", out, "--threads", "1").status == 0
    assert run("decode", out, "-o", tmp_path / "out.mkv", "--threads", "1").status == 0
    assert len(read(tmp_path / "out.mkv")) == len(read(source))
    result = run("encode", source, "-o", tmp_path / "strict.bcv", "--strict", *QUICKLY)
    assert result.status == 1
    assert "nothing was kept" in result.err
    assert not (tmp_path / "strict.bcv").exists()


def write_short(folder: Path) -> Path:
    """A clip of which a middle part is damaged."""
    clip = write(folder / "clip.ts", coded((64, 48), 20))
    return spoil(clip, folder / "short.ts", 0.5, 0.6)


def test_a_file_cut_short_gives_what_is_there(run: Command, tmp_path: Path) -> None:
    clip = tmp_path / "cut.y4m"
    clip.write_bytes(b"YUV4MPEG2 W64 H48 F25:1\n" + (b"FRAME\n" + bytes(64 * 48 * 3 // 2)) * 3 + b"FRAME\n")
    result = run("encode", clip, "-o", tmp_path / "out.bcv", *QUICKLY)
    assert result.status == 1
    assert "cut.y4m: is damaged or cut short after 3 frames; the rest is in " in result.err
    assert run("verify", tmp_path / "out.bcv", "--threads", "1").status == 0


# ---------------------------------------------------------------- holes in Matroska


@pytest.fixture(scope="module")
def matroska(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 seconds, in clusters of about 5 seconds each."""
    return write(tmp_path_factory.mktemp("damage") / "whole.mkv", coded((64, 48), COUNT))


def holed(source: Path, target: Path, *places: float, length: int = 4096) -> Path:
    """Overwrite some bytes from each share of the file on."""
    data = bytearray(source.read_bytes())
    for place in places:
        at = int(len(data) * place)
        data[at : at + length] = np.random.default_rng(at).bytes(length)
    target.write_bytes(data)
    return target


def test_where_matroska_is_broken_it_is_told(run: Command, matroska: Path, tmp_path: Path) -> None:
    source, out = holed(matroska, tmp_path / "bad.mkv", 0.31, 0.71, length=9000), tmp_path / "out.bcv"
    with VideoReader(source, strict=False) as reader:
        frames = [frame.to_bytes() for frame in reader]
        assert re.search(r"is broken in 2 places, first behind (8|9)\.\d\d s$", str(reader.damage))
    assert 120 < len(frames) < COUNT - 4
    part = ("--start", 70, "--frames", 8)
    assert run("encode", source, "-o", out, "--strict", *part, *QUICKLY).status == 0  # between the two
    result = run("encode", source, "-o", out, "-y", "--start", 90, "--frames", 9, *QUICKLY)
    assert result.status == 0, result.err
    result = run("encode", source, "-o", out, "-y", "--frames", 60, *QUICKLY)
    assert result.status == 1
    first, *_, last = result.err.splitlines()
    assert re.search(r"the input is broken behind [89]\.\d\d s: that is passed over \(--strict stops", first)
    assert re.search(r"bad.mkv: (1 damaged packet, .*)?is broken behind [89]\.\d\d s; the rest is in ", last)
    assert run("verify", out, "--threads", "1").status == 0
    result = run("encode", source, "-o", out, "-y", "--strict", *QUICKLY)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert re.search(r"bad.mkv: is broken in 2 places, first behind [89]\.\d\d s$", result.err.rstrip())


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_packet_is_lost_without_a_break(matroska: Path, tmp_path: Path, data: st.DataObject) -> None:
    """And where nothing is overwritten, or the file is only cut off, there is no break."""
    place = data.draw(st.floats(0.05, 0.8))
    source = holed(matroska, tmp_path / "bad.mkv", place, length=data.draw(st.sampled_from([1, 99, 5000])))
    with av.open(str(source)) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
    assert breaks(str(source)) or count == COUNT
    source.write_bytes(matroska.read_bytes()[: int(place * matroska.stat().st_size)])
    assert breaks(str(source)) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"live": "1"},
        {"cluster_time_limit": "100"},
        {"cluster_size_limit": "300"},
        {"reserve_index_space": "900", "cues_to_front": "1"},
        {"write_crc32": "0"},
    ],
)
@pytest.mark.parametrize("is_piped", [False, True])
def test_whole_matroska_has_no_breaks(
    matroska: Path, tmp_path: Path, options: dict[str, str], is_piped: bool
) -> None:
    file, target = Written(), tmp_path / "a.mkv"
    with (
        av.open(str(matroska)) as before,
        av.open(file if is_piped else str(target), "w", format="matroska", options=options) as after,
    ):
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = stream
                after.mux(packet)
    if is_piped:
        target.write_bytes(file.data)
    assert breaks(str(target)) == []
    assert breaks(str(holed(target, tmp_path / "b.mkv", 0.5))) != []


class Written:
    """What keeps all that is written, and does not go back."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


# ---------------------------------------------------------------- another size


def two_sizes(path: Path, flags: str = "") -> Path:
    packets = [*coded((64, 48), 20, flags=flags), *coded((32, 32), 20, first=20, flags=flags)]
    assert all((a.dts or 0) < (b.dts or 0) for a, b in pairwise(packets))
    return write(path, packets)


def test_pictures_that_change_their_size_are_refused_at_once(run: Command, tmp_path: Path) -> None:
    source = two_sizes(tmp_path / "two.ts")
    result = run("encode", source, "-o", tmp_path / "out.bcv", *QUICKLY)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert re.search(
        r"two.ts: changes from 64x48 to 32x32 at \d\.\d\d s; --autoscale scales what follows", result.err
    )
    assert run("encode", source, "-o", tmp_path / "out.bcv", "--frames", 4, *QUICKLY).status == 0


def test_a_second_recording_of_another_size_is_refused_at_once(run: Command, tmp_path: Path) -> None:
    """Its times are those of the first once more."""
    parts = [write(tmp_path / f"{size[0]}.ts", coded(size, 20)) for size in ((64, 48), (32, 32))]
    source = tmp_path / "joined.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    result = run("encode", source, "-o", tmp_path / "out.bcv", *QUICKLY)
    one_error(result, 1, "changes from 64x48 to 32x32 at 4.00 s", "--frames encodes what is before")


@pytest.mark.parametrize("flags", ["", "tff=1"])
def test_pictures_that_change_their_size_are_scaled_on_request(
    run: Command, tmp_path: Path, flags: str
) -> None:
    source, out = two_sizes(tmp_path / "two.ts", flags), tmp_path / "out.bcv"
    options = ("--autoscale", *["--deinterlace"] * bool(flags), *QUICKLY)
    result = run("encode", source, "-o", out, *options)
    assert (result.status, result.err.count("\n")) == (0, 2), result.err
    told = (
        r"the input changes from 64x48 yuv420p to 32x32 yuv420p at 4\.00 s: such pictures are scaled to 64x48"
    )
    assert re.search(told, result.err)
    with VideoReader(source, autoscale=True, deinterlace=bool(flags)) as reader:
        frames = list(reader)
    assert (len(frames), {(f.width, f.height) for f in frames}) == (40, {(64, 48)})
    assert abs(float(frames[-1].y.mean()) - float(frames[0].y.mean())) < 3  # of the noise


def test_a_change_of_size_in_a_pipe_is_met_on_the_way(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = two_sizes(tmp_path / "two.ts").read_bytes()
    feed(monkeypatch, data)
    result = run("encode", "-", "-o", tmp_path / "out.bcv", *QUICKLY)
    assert result.status == 1
    assert "standard input: changes from 64x48 yuv420p to 32x32 yuv420p at 4.00 s; --autoscale" in result.err
    feed(monkeypatch, data)
    assert run("encode", "-", "-o", tmp_path / "out.bcv", "--autoscale", *QUICKLY).status == 0
