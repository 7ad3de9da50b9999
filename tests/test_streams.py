"""Sound, subtitles and tags go through a .bcv file unchanged, in their place."""

from __future__ import annotations

import io
import json
import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from clips import MS, RATE, SOUND_RATE, SOUNDED, flat, with_sound, write
from commands import Command

from bcodec.bitstream import (
    AuxiliaryPacket,
    BitstreamReader,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
    VideoFormat,
)
from bcodec.bitstream.sidecar import (
    HEADER,
    KEY,
    NO_DTS,
    NO_PTS,
    FileHeader,
    InterleavedWriter,
    SideData,
    StreamHeader,
    StreamKind,
    TimeRange,
    leading,
)
from bcodec.cli.main import main
from bcodec.errors import BitstreamError
from bcodec.pipeline.inspect import Inspection
from bcodec.video import VideoReader

QUICKLY = "--threads", "1", "--preset", "fast"
SOUND_STREAM = 2  # its index where there are subtitles


@pytest.fixture
def run(run: Command) -> Command:
    """As everywhere, on one thread and with the fast preset: side data is not coded."""
    return lambda name, *words: run(name, *words, *QUICKLY[: 2 if name == "decode" else None])


def packets(path: Path, kind: str = "audio") -> list[tuple[bytes, Fraction]]:
    """Bytes and times, in seconds, of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [(bytes(p), (p.pts or 0) * p.time_base) for p in container.demux(stream) if p.size]


def first_picture(path: Path) -> Fraction:
    return min(time for _, time in packets(path, "video"))


def same_times(
    ours: list[tuple[bytes, Fraction]],
    theirs: list[tuple[bytes, Fraction]],
    since: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0)),
) -> bool:
    """Times since those of the first pictures: mkv moves all where sound begins before 0."""
    pairs = zip(ours, theirs, strict=True)
    return all(abs((a - since[0]) - (b - since[1])) <= MS for (_, a), (_, b) in pairs)


def payloads(found: list[tuple[bytes, Fraction]]) -> list[bytes]:
    return [data for data, _ in found]


class Coded(NamedTuple):
    """A clip with subtitles and sound, and what it was encoded to, in GOPs of 8."""

    source: Path
    file: Path


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Coded:
    folder = tmp_path_factory.mktemp("coded")
    source, file = with_sound(folder / "clip.mkv", subtitles="subrip"), folder / "a.bcv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.networks.shipped_weights", lambda: tiny_weights)
        assert main(["encode", str(source), "-o", str(file), "--gop", "8", *QUICKLY]) == 0
    return Coded(source, file)


# ---------------------------------------------------------------- through the codec


@pytest.mark.parametrize(
    ("before", "codec", "after"),
    [
        ("mp4", "aac", "mp4"),
        ("mp4", "aac", "mkv"),
        ("mkv", "libopus", "mp4"),
        ("mkv", "flac", "mkv"),
        ("mkv", "pcm_s16le", "mkv"),
        ("mp4", "libmp3lame", "mkv"),
        ("ts", "ac3", "mp4"),
    ],
)
def test_sound_comes_back_byte_for_byte(
    run: Command, tmp_path: Path, before: str, codec: str, after: str
) -> None:
    source = with_sound(tmp_path / f"clip.{before}", codec)
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--gop", 1).status == 0
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{after}")
    assert (result.status, result.err.count("\n")) == (0, 1), result.err
    ours, theirs = packets(tmp_path / f"b.{after}"), packets(source)
    assert payloads(ours) == payloads(theirs)
    assert same_times(ours, theirs, since=(first_picture(tmp_path / f"b.{after}"), first_picture(source)))
    with av.open(str(tmp_path / f"b.{after}")) as container:
        assert container.streams.audio[0].language == "deu"
        assert container.metadata.get("title") == (None if before == "ts" else "Größe")
        frames = sum(frame.samples for frame in container.decode(audio=0))
    assert frames >= SOUND_RATE * SOUNDED // RATE - 2000


@pytest.mark.parametrize(("before", "codec"), [("mkv", "subrip"), ("mp4", "mov_text")])
def test_subtitles_come_back(run: Command, tmp_path: Path, before: str, codec: str) -> None:
    source = with_sound(tmp_path / f"clip.{before}", subtitles=codec)
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--gop", 1).status == 0
    assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{before}").status == 0
    kept = [p for p in packets(tmp_path / f"b.{before}", "subtitle") if p[0] != b"\0\0"]
    assert kept == [p for p in packets(source, "subtitle") if p[0] != b"\0\0"]


def test_what_the_container_cannot_hold_is_told(run: Command, tmp_path: Path, coded: Coded) -> None:
    result = run("decode", coded.file, "-o", tmp_path / "b.mp4")
    assert result.status == 0
    assert result.err.startswith("bcodec: mp4 cannot hold the subtitle subrip: it is converted to mov_text\n")
    assert payloads(packets(tmp_path / "b.mp4")) == payloads(packets(coded.source))
    result = run("decode", coded.file, "-o", tmp_path / "b.y4m")
    assert result.err.startswith(
        "bcodec: y4m holds pictures only, left out: subtitle subrip, audio aac 48000 Hz mono"
    )
    assert result.err.count("\n") == 2


@pytest.mark.parametrize("where", ["encode", "decode"])
def test_streams_are_left_out_on_request(run: Command, tmp_path: Path, coded: Coded, where: str) -> None:
    options = ("--no-audio", "--no-subtitles")
    if where == "decode":
        result = run("decode", coded.file, "-o", tmp_path / "b.mkv", *options)
    else:
        result = run("encode", coded.source, "-o", tmp_path / "a.bcv", "--gop", 1, *options)
        assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv").status == 0
    assert (result.status, result.err.count("\n")) == (0, 1)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert [s.type for s in container.streams] == ["video"]


@pytest.mark.parametrize("where", ["encode", "decode"])
def test_a_part_has_its_own_sound(run: Command, tmp_path: Path, where: str) -> None:
    source = with_sound(tmp_path / "clip.mkv", "pcm_s16le", subtitles="subrip")
    part = ("--start", 6, "--frames", 4)  # 0.24 s to 0.40 s
    extra = part if where == "encode" else ()
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--gop", 3, *extra).status == 0
    extra = part if where == "decode" else ()
    assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv", *extra).status == 0
    begin, end = Fraction(24, 100), Fraction(40, 100)
    whole = packets(source)
    expected = [(data, time - begin) for data, time in whole if begin <= time < end]
    ours = packets(tmp_path / "b.mkv")
    assert payloads(ours) == payloads(expected)
    assert same_times(ours, expected)
    words = packets(tmp_path / "b.mkv", "subtitle")
    assert words == [(b"words 1", 0), (b"words 3", Fraction(6, 100))] or where == "decode"
    assert words[-1] == (b"words 3", Fraction(6, 100))


def test_the_first_picture_keeps_its_time(run: Command, tmp_path: Path) -> None:
    source = with_sound(tmp_path / "clip.mkv", start=3)
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--gop", 2).status == 0
    for name in ("b.mkv", "b.mp4"):
        assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / name).status == 0
        ours, theirs = packets(tmp_path / name, "video"), packets(source, "video")
        assert sorted(time for _, time in ours) == [time for _, time in theirs]
        assert same_times(packets(tmp_path / name), packets(source))
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].average_rate == RATE


def test_sound_through_pipes_is_the_same(
    run: Command, tmp_path: Path, coded: Coded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(coded.file.read_bytes())))
    assert run("decode", "-", "-o", tmp_path / "b.mkv").status == 0
    assert payloads(packets(tmp_path / "b.mkv")) == payloads(packets(coded.source))


def test_packets_stand_where_decoding_begins(run: Command, tmp_path: Path) -> None:
    source = with_sound(tmp_path / "clip.mkv", "pcm_s16le")
    assert run("encode", source, "-o", tmp_path / "a.bcv", "--gop", 4).status == 0
    with (tmp_path / "a.bcv").open("rb") as file:
        reader = BitstreamReader(file)
        headers, rest = leading(reader)
        stream = SideData.of(headers).streams[1]
        shown = Fraction(-1)
        between = 0
        for packet in rest:
            if isinstance(packet, Packet):
                shown = max(
                    shown, Fraction(packet.header.poc, RATE) if packet.header.temporal_layer == 0 else shown
                )
            else:
                time = stream.seconds(packet)
                assert time is not None
                assert time >= shown - Fraction(4, RATE)
                between += time < Fraction(8, RATE)
    assert between > 5


@pytest.mark.parametrize("after", ["mkv", "mp4"])
def test_what_the_source_says_of_its_pictures_survives(run: Command, tmp_path: Path, after: str) -> None:
    rate = Fraction(30000, 1001)
    codes = {"colour_range": 1, "colour_primaries": 9, "colour_transfer": 16, "colour_matrix": 9}
    format = VideoFormat(64, 48, rate, 1 / rate, Fraction(4, 3), rotation=90, chroma_location=2, **codes)
    tags = SideData(FileHeader(tags={"title": "Größe", "comment": "of the demo"}))
    write(tmp_path / "clip.mp4", flat((60, 70, 80)), format, side_data=tags)
    assert run("encode", tmp_path / "clip.mp4", "-o", tmp_path / "a.bcv").status == 0
    result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{after}")
    assert "aspect" not in result.err
    with VideoReader(tmp_path / "clip.mp4") as before, VideoReader(tmp_path / f"b.{after}") as reader:
        assert replace(before.format, time_base=1 / rate) == format
        assert replace(reader.format, time_base=1 / rate) == format
        assert {key.lower(): value for key, value in reader.side_data.file.tags.items()} == tags.file.tags


# ---------------------------------------------------------------- headers and times as bytes


AUDIO = StreamHeader(
    3,
    StreamKind.AUDIO,
    "aac",
    Fraction(1, 48000),
    5,
    48000,
    "5.1(side)",
    {"language": "deu", "title": "Ü"},
    b"template",
)


def test_headers_come_back() -> None:
    for header in (AUDIO, StreamHeader(255, StreamKind.SUBTITLE, "subrip", MS)):
        packet = header.to_packet()
        assert (packet.stream, packet.flags) == (header.index, HEADER)
        assert StreamHeader.parse(packet.stream, packet.payload) == header
    file = FileHeader(
        Fraction(-7, 90000), {"title": "a" * 60000, "comment": "left out: " * 6000, "artist": "x"}
    )
    back = FileHeader.parse(file.to_packet().payload)
    assert (back.start, set(back.tags)) == (file.start, {"title", "artist"})
    assert str(AUDIO) == "audio aac 48000 Hz 5.1(side) deu"


def test_bytes_of_a_header_are_as_the_diagram_says() -> None:
    header = StreamHeader(1, StreamKind.AUDIO, "aac", Fraction(1, 48000), 1, 44100, "mono", {"a": "bc"}, b"T")
    assert header.to_packet().payload.hex(" ") == (
        "00 01 00 00 00 80 bb 00 00 01 00 00 00 44 ac 00 00 03 04 06 00"
        " 61 61 63 6d 6f 6e 6f 01 02 00 61 62 63 54"
    )
    assert FileHeader(Fraction(1, 2)).to_packet().payload.hex() == "010000000000000002000000"


def test_no_header_is_trusted() -> None:
    payload = AUDIO.to_packet().payload
    body = len(payload) - len(AUDIO.template)
    rng = np.random.default_rng(0)
    for data in [payload[:n] for n in range(body)]:
        with pytest.raises(BitstreamError):
            StreamHeader.parse(1, data)
    for data in (rng.bytes(int(rng.integers(0, 60))) for _ in range(300)):
        for parse in (FileHeader.parse, lambda data: StreamHeader.parse(1, data)):
            with suppress(BitstreamError):
                parse(data)
    side_data = SideData.of([AuxiliaryPacket(1, HEADER, 0, 0, 0, b"\x07" + payload[1:]), AUDIO.to_packet()])
    assert list(side_data.streams) == [3]
    assert side_data.notices == [
        "auxiliary stream 1 is left out: stream 1 is of kind 7 with time base 1/48000"
    ]


def at(pts: int, duration: int = 20, flags: int = KEY, stream: int = 1) -> AuxiliaryPacket:
    return AuxiliaryPacket(stream, flags, pts, pts, duration, b"data")


@pytest.mark.parametrize("kind", list(StreamKind))
def test_a_time_range_moves_and_cuts(kind: StreamKind) -> None:
    stream = StreamHeader(1, kind, "codec", MS)
    wanted = TimeRange(begin=Fraction(12, 10), end=Fraction(15, 10), back=Fraction(2, 10))
    assert wanted.cut(at(1200), stream) == at(1000)
    assert wanted.cut(at(1499), stream) == at(1299)
    assert wanted.cut(at(1500), stream) is None
    assert wanted.cut(at(1180), stream) is None
    assert wanted.cut(at(1190), stream) == (at(1000, 10) if kind is StreamKind.SUBTITLE else None)
    timeless = replace(at(0), flags=NO_PTS | NO_DTS)
    assert wanted.cut(timeless, stream) == timeless
    assert TimeRange().cut(at(-5), stream) == at(-5)


def test_packets_wait_for_their_place() -> None:
    format = VideoFormat(64, 48, Fraction(10), Fraction(1, 10))
    stream = StreamHeader(1, StreamKind.AUDIO, "codec", MS)
    side_data = SideData(FileHeader(Fraction(1), {}), {1: stream})
    file = io.BytesIO()
    with InterleavedWriter(file, SequenceHeader(format, 2, 1, bytes(8)), side_data) as writer:
        for time in (900, 1000, 1100, 1250, 1300):
            side_data.add(at(time))
        side_data.add(at(1000, stream=2))  # of a stream that is not kept
        for poc, kind, layer in [
            (0, FrameType.I, 0),
            (2, FrameType.I, 0),
            (1, FrameType.B, 1),
            (3, FrameType.B, 0),
        ]:
            writer.write(Packet(PacketHeader(poc, kind, layer, 30, True), b"", 0))
    file.seek(0)
    order = [
        p.header.poc if isinstance(p, Packet) else f"{p.pts}" * (p.flags != HEADER)
        for p in BitstreamReader(file)
    ]
    assert order == ["", "", "900", 0, "1000", "1100", 2, 1, "1250", 3, "1300"]


def test_what_is_read_ahead_of_a_picture_waits_for_it() -> None:
    side_data = SideData(streams={1: StreamHeader(1, StreamKind.AUDIO, "codec", MS)})
    for pts, before in [(100, 0), (200, 4), (300, 5)]:
        side_data.add(at(pts), before)
    assert side_data.until(Fraction(1), 3) == [at(100)]
    assert side_data.until(Fraction(1), 4) == [at(200)]
    assert side_data.until(None) == [at(300)]


def test_sound_is_coded_to_the_same_bytes_each_time(run: Command, tmp_path: Path, coded: Coded) -> None:
    assert run("encode", coded.source, "-o", tmp_path / "a.bcv", "--gop", 8).status == 0
    assert (tmp_path / "a.bcv").read_bytes() == coded.file.read_bytes()


def test_too_much_that_waits_goes_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcodec.bitstream.sidecar.MOST_WAITING", 10)
    side_data = SideData(streams={1: StreamHeader(1, StreamKind.AUDIO, "codec", MS)})
    side_data.add(at(5000))
    side_data.add(at(6000))
    assert side_data.until(Fraction(1)) == []
    side_data.add(at(7000))
    assert len(side_data.until(Fraction(1))) == 3


# ---------------------------------------------------------------- hostile sound


@pytest.mark.parametrize(
    "packet",
    [
        AuxiliaryPacket(SOUND_STREAM, HEADER, 0, 0, 0, AUDIO.to_packet().payload),  # a template of nonsense
        AuxiliaryPacket(SOUND_STREAM, KEY, 2**62, -(2**62), 2**62, b"x"),
        AuxiliaryPacket(SOUND_STREAM, KEY, -(2**63), 2**63 - 1, 0, b""),
        AuxiliaryPacket(9, KEY, 0, 0, 0, b"of no stream"),
        AuxiliaryPacket(0, HEADER, 0, 0, 0, (2**62).to_bytes(8, "little") + b"\1\0\0\0"),
    ],
)
def test_hostile_streams_do_not_keep_the_pictures_from_coming(
    run: Command, tmp_path: Path, coded: Coded, packet: AuxiliaryPacket
) -> None:
    with coded.file.open("rb") as file, (tmp_path / "bad.bcv").open("wb") as bad:
        reader = BitstreamReader(file)
        with InterleavedWriter(bad, reader.header, SideData()) as writer:
            for each in reader:
                if isinstance(each, Packet) and each.header.poc == 0 and not packet.flags & HEADER:
                    writer.write(each)
                    writer.write(packet)
                elif each != packet and not (
                    isinstance(each, AuxiliaryPacket)
                    and each.stream == packet.stream
                    and packet.flags & HEADER
                ):
                    writer.write(each)
                elif isinstance(each, AuxiliaryPacket) and each.flags & HEADER:
                    writer.write(packet)
    result = run("decode", tmp_path / "bad.bcv", "-o", tmp_path / "out.mkv")
    assert result.status in (0, 1)
    assert "Traceback" not in result.err
    if result.status == 0:
        with VideoReader(tmp_path / "out.mkv") as pictures:
            assert len(list(pictures)) == SOUNDED


# ---------------------------------------------------------------- info


def test_info_tells_of_all_side_data(coded: Coded, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["info", str(coded.file)]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert any(re.fullmatch("title +Größe", line) for line in lines)
    assert any(re.match("beside +subtitle subrip: 3 packets, ", line) for line in lines)
    assert any(re.match("beside +audio aac 48000 Hz mono deu: ", line) for line in lines)
    assert lines[-5:] == [
        "the first GOP, poc 0 to 8, a column a frame:",
        "     0  I       I",
        "     1      B",
        "     2    B   B",
        "     3   B B B B",
    ]
    assert main(["info", "--json", str(coded.file)]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["tags"]["title"] == "Größe"
    assert {stream["description"] for stream in found["streams"]} == {
        "the file's tags",
        "subtitle subrip",
        "audio aac 48000 Hz mono deu",
    }
    assert found["first_gop"][4] == [4, "B", 1]
    assert (
        sum(row["bits"] for row in found["layers"]) // 8 + sum(s["bytes"] for s in found["streams"])
        < found["bytes"]
    )


def test_info_lets_no_tag_steer_the_terminal() -> None:
    header = FileHeader(tags={"title": "a\x1b[2J\nb"})
    found = Inspection(
        SequenceHeader(VideoFormat(64, 48, Fraction(25), Fraction(1, 25)), 8, 1, bytes(8)), bytes=1
    )
    found.note(header.to_packet(), 1)
    assert "title    a?[2J?b\n" in found.to_text()
