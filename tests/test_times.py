"""Every picture keeps its time: variable rates, pauses, joined recordings, parts, and files without times."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet as AnyPacket
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from commands import Command
from hypothesis import given
from hypothesis import strategies as st

from bcodec.bitstream import BitstreamReader, VideoFormat
from bcodec.bitstream.sidecar import StreamKind
from bcodec.frame import Frame, plane_shapes
from bcodec.pipeline.inspect import inspect
from bcodec.pipeline.spool import Spool
from bcodec.video import Damage, TimedFrame, VideoReader, VideoWriter
from bcodec.video.timeline import LONGEST_GAP, Timeline

RATE, SOUND = 30, 48000
PAUSE = [*range(10), *range(40, 45)]  # ten pictures, a pause of a second, five more
MS = Fraction(1, 1000)
QUICKLY = "--threads", 1, "--preset", "fast", "--gop", 4
Times = list[Fraction]


def make_clip(
    path: Path,
    times: Sequence[int],
    codec: str = "libx264",
    sound: str | None = "aac",
    rate: Fraction | int = RATE,
    seconds: float = 1.5,
) -> Path:
    """Pictures at `times`, in periods of the rate, and sound from where the first is."""
    with av.open(str(path), "w", options={"mpegts_copyts": "1"} if path.suffix == ".ts" else {}) as container:
        video = container.add_stream(codec, rate=rate)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        beside = container.add_stream(sound, rate=SOUND) if sound else None
        if isinstance(beside, AudioStream):
            beside.layout = "mono"
        container.start_encoding()
        packets: list[AnyPacket[Stream]] = []
        for index, time in enumerate(times):
            picture = VideoFrame(64, 48, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([50 + 3 * index % 200]) * plane.buffer_size)
            picture.pts, picture.time_base = time, 1 / Fraction(rate)
            packets += video.encode(picture)
        packets += video.encode(None)
        if isinstance(beside, AudioStream):
            each, begin = beside.codec_context.frame_size or 1024, round(SOUND * times[0] / rate)
            for time in range(0, round(seconds * SOUND), each):
                frame = AudioFrame(beside.format.name, "mono", each)
                frame.sample_rate, frame.pts, frame.time_base = SOUND, begin + time, Fraction(1, SOUND)
                frame.planes[0].update(bytes(frame.planes[0].buffer_size))
                packets += beside.encode(frame)
            packets += beside.encode(None)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    return path


def times_of(path: Path, kind: str = "video") -> Times:
    """When the packets of the first stream of a kind are shown, in seconds, ascending."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return sorted((p.pts or 0) * p.time_base for p in container.demux(stream) if p.size)


def largest_difference(ours: Times, theirs: Times) -> Fraction:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def since(origin: Fraction, times: Times) -> Times:
    return [time - origin for time in times]


def delays_of(path: Path) -> list[int]:
    with path.open("rb") as file:
        return [packet.delay for packet in BitstreamReader(file).frames()]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("clips")
    return lambda ending: make_clip(folder / f"pause.{ending}", PAUSE)


# ---------------------------------------------------------------- as numbers


@given(
    st.fractions(1, 90000, max_denominator=1001),
    st.sampled_from([1000, 12800, 90000, 10**9]),
    st.integers(0, 10**6),
    st.integers(0, 10**9),
)
def test_a_time_comes_back_within_half_a_time_base(rate: Fraction, base: int, poc: int, ticks: int) -> None:
    video = VideoFormat(64, 48, rate, Fraction(1, base))
    delay = video.delay(poc, ticks * video.time_base)
    assert abs(video.time(poc, delay) - ticks * video.time_base) <= video.time_base / 2
    assert not delay or video.time(poc, delay) == ticks * video.time_base


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60)])
def test_a_constant_rate_in_coarse_times_is_no_delay_and_comes_back_exact(rate: Fraction) -> None:
    video = VideoFormat(64, 48, rate, MS)
    for poc in range(500):
        assert video.delay(poc, round(poc / rate / MS) * MS) == 0
        assert video.time(poc, 0) == poc / rate


def packet_at(stream: Stream, time: float, duration: float = 0.04) -> AnyPacket[Stream]:
    packet = AnyPacket(b"data")
    packet.stream, packet.time_base = stream, MS
    packet.pts = packet.dts = round(time * 1000)
    packet.duration = round(duration * 1000)
    return packet


@pytest.fixture
def streams() -> tuple[Stream, Stream]:
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        return container.add_stream("ffv1", rate=25), container.add_stream("pcm_s16le", rate=SOUND)


def straightened(timeline: Timeline, packets: Sequence[AnyPacket[Stream]]) -> list[int | None]:
    return [packet.pts for packet in packets if timeline.straighten(packet)]


def test_a_pause_of_one_stream_is_no_jump(streams: tuple[Stream, Stream]) -> None:
    video, sound = streams
    steps = [packet_at(sound, time, 1) for time in range(30)]
    packets = [packet_at(video, 0), *steps, packet_at(video, 29)]
    assert straightened(Timeline(closes_gaps=True), packets)[-1] == 29000


@pytest.mark.parametrize(("closes_gaps", "after"), [(True, 80), (False, 100_000)])
def test_a_gap_is_closed_where_times_may_jump(
    streams: tuple[Stream, Stream], closes_gaps: bool, after: int
) -> None:
    packets = [packet_at(streams[0], time) for time in (0, 0.04, 100)]
    assert straightened(Timeline(closes_gaps=closes_gaps), packets) == [0, 40, after]
    short = [packet_at(streams[0], time) for time in (0, float(LONGEST_GAP))]
    assert straightened(Timeline(closes_gaps=closes_gaps), short) == [0, 1000 * LONGEST_GAP]


@pytest.mark.parametrize("begin", [0.0, 500.0])
@pytest.mark.parametrize("lead", [-0.3, 0.0, 0.3])
def test_streams_stay_in_step_over_a_jump(streams: tuple[Stream, Stream], begin: float, lead: float) -> None:
    """Each begins the new recording when its own packets of the old one are over."""
    video, sound = streams
    old = [packet_at(s, 9 + i * 0.04) for i in range(25) for s in (video, sound)]
    new = [packet_at(s, begin + i * 0.04 - (lead if s is sound else 0)) for i in range(25) for s in streams]
    late = new[0], old[-1], *new[1:]  # the last sound of the old one comes behind a picture of the new one
    timeline = Timeline(closes_gaps=True)
    kept = [p for p in (*old[:-1], *late) if timeline.straighten(p)]
    assert len(timeline.jumps) == 1
    pictures, sounds = ([p.pts or 0 for p in kept if p.stream is s] for s in streams)
    assert len(pictures) == 50
    for each in (pictures, sounds):
        assert all(40 <= b - a <= 700 for a, b in pairwise(each))
    assert pictures[-1] - sounds[-1] == round(1000 * lead)


# ---------------------------------------------------------------- through the codec


@pytest.mark.parametrize("after", ["mkv", "mp4"])
@pytest.mark.parametrize("before", ["mkv", "mp4", "ts"])
def test_a_pause_comes_back_and_sound_stays_in_step(
    run: Command, tmp_path: Path, clips: Callable[[str], Path], before: str, after: str
) -> None:
    source, coded, out = clips(before), tmp_path / "a.bcv", tmp_path / f"b.{after}"
    result = run("encode", source, "-o", coded, *QUICKLY)
    assert (result.status, result.err.count("\n")) == (0, 1)
    assert run("decode", coded, "-o", out).status == 0
    ours, theirs = times_of(out), times_of(source)
    assert largest_difference(since(ours[0], ours), since(theirs[0], theirs)) <= MS
    if (before, after) != ("ts", "mkv"):  # AAC of a broadcast does not go into mkv
        sounds = times_of(out, "audio"), times_of(source, "audio")
        assert largest_difference(since(ours[0], sounds[0]), since(theirs[0], sounds[1])) <= MS


def test_pictures_of_a_constant_rate_have_no_delay(run: Command, tmp_path: Path) -> None:
    for ending in ("mkv", "mp4", "ts"):
        source = make_clip(tmp_path / f"a.{ending}", range(9), rate=Fraction(30000, 1001))
        assert run("encode", source, "-o", tmp_path / "a.bcv", "-y", *QUICKLY).status == 0
        assert delays_of(tmp_path / "a.bcv") == [0] * 9


@pytest.mark.parametrize("where", ["encode", "decode"])
@pytest.mark.parametrize(("start", "frames"), [(6, 6), (10, 3), (0, 10), (12, 9)])
def test_a_part_begins_and_ends_by_the_times_of_its_pictures(
    run: Command, tmp_path: Path, where: str, start: int, frames: int
) -> None:
    source = make_clip(tmp_path / "clip.mkv", PAUSE, sound="pcm_s16le")
    part = ("--start", start, "--frames", frames)
    assert run("encode", source, "-o", tmp_path / "a.bcv", *QUICKLY, *part * (where == "encode")).status == 0
    decoded = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv", *part * (where == "decode"))
    assert decoded.status == 0
    whole, sounds = times_of(source), times_of(source, "audio")
    begin = whole[start] if start else Fraction(-1)
    end = whole[start + frames] if start + frames < len(whole) else Fraction(99)
    ours, heard = times_of(tmp_path / "b.mkv"), times_of(tmp_path / "b.mkv", "audio")
    assert largest_difference(ours, since(whole[start], whole[start : start + frames])) <= MS
    kept = since(whole[start], [time for time in sounds if begin <= time < end])
    assert largest_difference(heard, kept) <= MS


@pytest.mark.parametrize("ending", ["mkv", "ts", "mp4"])
def test_a_part_far_in_has_the_times_and_the_sound_that_it_has_in_the_whole(
    tmp_path: Path, ending: str
) -> None:
    """The reader goes there by the index, and its sound begins with it."""
    times = [*range(0, 120, 8), *range(150, 400, 10), *range(400, 460)]
    source = make_clip(tmp_path / f"clip.{ending}", times, sound="mp2", seconds=15.5)
    start, frames = 45, 12
    with VideoReader(source) as reader:
        whole = list(reader.timed())[start : start + frames]
    with VideoReader(source, start=start, frames=frames, keep=set(StreamKind)) as reader:
        part = list(reader.timed())
        sound, begin = reader.side_data.until(None), reader.side_data.file.start
        stream = next(iter(reader.side_data.streams.values()))
    assert [p.frame.to_bytes() for p in part] == [p.frame.to_bytes() for p in whole]
    assert [p.time for p in part] == since(whole[0].time, [p.time for p in whole])
    heard = [time for packet in sound if (time := stream.seconds(packet)) is not None]
    assert begin <= heard[0] < begin + Fraction(1, 20)
    assert part[-1].time - Fraction(1, 20) <= heard[-1] - begin < part[-1].time + Fraction(1, 20)


def test_mkv_on_standard_output_keeps_times_to_the_millisecond(
    run: Command, tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    """There the unit of time cannot be made finer at the end."""
    assert run("encode", clips("mkv"), "-o", tmp_path / "a.bcv", *QUICKLY).status == 0
    out = tmp_path / "out.mkv"
    out.write_bytes(run("decode", tmp_path / "a.bcv", "-o", "-", "--format", "mkv", "--threads", 1).out)
    assert largest_difference(times_of(out), times_of(clips("mkv"))) <= MS


def test_joined_recordings_go_on_where_the_first_ends(run: Command, tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / f"{n}.ts", range(n, n + 24), sound="mp2", rate=24, seconds=1)
        for n in (240, 48000)
    ]
    source = tmp_path / "joined.ts"
    source.write_bytes(joined([part.read_bytes() for part in parts]))
    result = run("encode", source, "-o", tmp_path / "a.bcv", *QUICKLY)
    assert result.status == 0
    assert "the times of the input jump at" in result.err
    assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.mkv").status == 0
    pictures, sounds = times_of(tmp_path / "b.mkv"), times_of(tmp_path / "b.mkv", "audio")
    assert len(pictures) == 48
    steps = [b - a for a, b in pairwise(pictures)]
    assert max(steps) < Fraction(1, 5)
    second = next(time for time in sounds if time > pictures[23] + Fraction(1, 24))
    assert abs((pictures[24] - second) - (pictures[0] - sounds[0])) <= Fraction(3, 100)


@pytest.mark.parametrize("strict", [True, False])
def test_recordings_that_were_only_concatenated_are_not_called_damaged(tmp_path: Path, strict: bool) -> None:
    """Where the second begins, its count goes on elsewhere: FFmpeg marks a picture before as incomplete."""
    parts = [
        make_clip(tmp_path / f"{n}.ts", range(n, n + 24), sound="mp2", rate=24, seconds=1)
        for n in (240, 48000)
    ]
    source = tmp_path / "joined.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    with av.open(str(source)) as container:
        assert any(packet.is_corrupt for packet in container.demux(video=0))
    with VideoReader(source, strict=strict) as reader:
        assert len(list(reader)) == 48
        assert not reader.damage


def joined(parts: Sequence[bytes]) -> bytes:
    """MPEG-TS files one behind the other, packets of each program counted on."""
    data, seen = bytearray(b"".join(parts)), dict[int, int]()
    for at in range(0, len(data), 188):
        program = int.from_bytes(data[at + 1 : at + 3]) & 0x1FFF
        if data[at + 3] & 0x10:
            seen[program] = (seen.get(program, -1) + 1) % 16
        data[at + 3] = data[at + 3] & 0xF0 | seen.get(program, 0)
    return bytes(data)


def test_an_edit_list_shows_what_it_lists_when_it_lists_it(run: Command, tmp_path: Path) -> None:
    """Half a second of nothing, 0.3 s from the beginning, and 0.4 s from a second on."""
    whole = make_clip(tmp_path / "whole.mp4", range(60), seconds=2)
    with av.open(str(whole)) as container:
        second = (container.streams.video[0].time_base or MS).denominator
    begin = second // 15  # of the first picture, whose decoding begins two periods earlier
    listed = [(500, -1), (300, begin), (400, begin + second)]
    source = tmp_path / "edited.mp4"
    source.write_bytes(with_edit_list(whole.read_bytes(), listed))
    with av.open(str(source)) as container:
        expected = [(p.pts or 0) * (p.time_base or MS) for p in container.decode(video=0)]
    assert (expected[0], 19 <= len(expected) <= 22) == (Fraction(1, 2), True)
    assert run("encode", source, "-o", tmp_path / "a.bcv", *QUICKLY).status == 0
    for ending in ("mkv", "mp4"):
        assert run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{ending}").status == 0
        ours, sounds = times_of(tmp_path / f"b.{ending}"), times_of(tmp_path / f"b.{ending}", "audio")
        assert largest_difference(since(ours[0], ours), since(expected[0], expected)) <= MS
        assert abs((ours[0] - sounds[0]) - (expected[0] - times_of(source, "audio")[0])) <= MS


def with_edit_list(data: bytes, entries: Sequence[tuple[int, int]]) -> bytes:
    """An mp4 file, its index at the end, whose first stream has other edits: durations in ms, media times."""

    def box(kind: bytes, place: int, end: int) -> tuple[int, int]:
        while data[place + 4 : place + 8] != kind:
            assert place < end
            place += int.from_bytes(data[place : place + 4])
        return place, place + int.from_bytes(data[place : place + 4])

    moov = box(b"moov", 0, len(data))
    trak = box(b"trak", moov[0] + 8, moov[1])
    edts = box(b"edts", trak[0] + 8, trak[1])
    edits = b"".join(struct.pack(">Iihh", *entry, 1, 0) for entry in entries)
    elst = struct.pack(">I4sII", 16 + len(edits), b"elst", 0, len(entries)) + edits
    result = bytearray(data)
    result[edts[0] : edts[1]] = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    for place, end in (moov, trak):
        result[place : place + 4] = (end - place + len(result) - len(data)).to_bytes(4)
    return bytes(result)


@pytest.mark.parametrize(
    ("codec", "ending"), [("libx264", "h264"), ("libx265", "hevc"), ("mpeg2video", "m2v")]
)
def test_an_elementary_stream_has_the_rate_of_its_parameter_sets(
    tmp_path: Path, codec: str, ending: str
) -> None:
    source = make_clip(tmp_path / f"a.{ending}", range(8), codec, sound=None)
    with VideoReader(source) as reader:
        assert [picture.time for picture in reader.timed()] == [Fraction(i, RATE) for i in range(8)]
        assert reader.format.frame_rate == RATE
        assert not reader.notices


def test_a_rate_may_be_chosen_for_any_input(
    run: Command, tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    for source in (clips("mkv"), clips("mp4"), make_clip(tmp_path / "a.h264", range(8), sound=None)):
        assert run("encode", source, "-o", tmp_path / "a.bcv", "-y", "--fps", 24, *QUICKLY).status == 0
        with (tmp_path / "a.bcv").open("rb") as file:
            found = inspect(file)
        assert (found.average_rate, found.varies) == (24, False)
    with VideoWriter(tmp_path / "b.y4m", VideoFormat(64, 48, Fraction(25), Fraction(1, 25))) as writer:
        for frame in frames(3):
            writer.write(frame)
    with VideoReader(tmp_path / "b.y4m", frame_rate=Fraction(50)) as reader:
        assert reader.format.frame_rate == 50


def test_y4m_has_a_constant_rate_and_says_how_far_off_it_is(
    run: Command, tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    assert run("encode", clips("ts"), "-o", tmp_path / "a.bcv", "--no-audio", *QUICKLY).status == 0
    line = "pictures come at 30 fps, up to 1 s from their times; --fps 10 is their average"
    for ending in ("y4m", "yuv"):
        result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / f"b.{ending}")
        assert f"bcodec: {ending} has one frame rate: {line}\n" in result.err
    for options, head in [((), b"F30:1"), (("--fps", 10), b"F10:1")]:
        result = run("decode", tmp_path / "a.bcv", "-o", tmp_path / "b.y4m", "-y", *options)
        assert (tmp_path / "b.y4m").read_bytes().split()[3] == head
        assert ("one frame rate" in result.err) == (not options)
    source = make_clip(tmp_path / "steady.mkv", range(9), sound=None)
    assert run("encode", source, "-o", tmp_path / "c.bcv", *QUICKLY).status == 0
    assert run("decode", tmp_path / "c.bcv", "-o", tmp_path / "c.y4m").err.count("\n") == 1


def test_info_and_the_bitrate_know_how_long_it_really_is(
    run: Command, tmp_path: Path, clips: Callable[[str], Path]
) -> None:
    log = tmp_path / "log.json"
    result = run("encode", clips("ts"), "-o", tmp_path / "a.bcv", "--no-audio", "--log-json", log, *QUICKLY)
    assert result.status == 0
    summary = json.loads(log.read_text().splitlines()[-1])["summary"]
    assert summary["bitrate"] == pytest.approx(summary["bits"] / 1.5)
    text = run("info", tmp_path / "a.bcv").out.decode()
    assert "variable, 10 frames/s on average (30 where times cannot be kept)" in text
    assert "15 in 1.50 s" in text


def test_times_are_the_same_with_jobs_and_resumed_and_must_be(run: Command, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mkv", PAUSE, sound=None)
    other = make_clip(tmp_path / "other.mkv", [*PAUSE[:3], *(t + 7 for t in PAUSE[3:])], sound=None)
    assert run("encode", source, "-o", tmp_path / "a.bcv", *QUICKLY).status == 0
    assert run("encode", source, "-o", tmp_path / "b.bcv", *QUICKLY, "--jobs", 2).status == 0
    whole = (tmp_path / "a.bcv").read_bytes()
    assert (tmp_path / "b.bcv").read_bytes() == whole
    part = tmp_path / ".c.bcv.part"
    part.write_bytes(whole[: len(whole) * 3 // 4])
    refused = run("encode", other, "-o", tmp_path / "c.bcv", *QUICKLY, "--resume")
    assert (refused.status, "of another input" in refused.err) == (1, True)
    part.write_bytes(whole[: len(whole) * 3 // 4])
    assert run("encode", source, "-o", tmp_path / "c.bcv", *QUICKLY, "--resume").status == 0
    assert (tmp_path / "c.bcv").read_bytes() == whole


# ---------------------------------------------------------------- files written and read


def frames(count: int) -> list[Frame]:
    return [Frame(*(np.full(s, 50 + i, np.uint8) for s in plane_shapes(64, 48))) for i in range(count)]


def test_a_spool_keeps_times() -> None:
    pictures = [TimedFrame(frame, Fraction(i * i, 7)) for i, frame in enumerate(frames(4))]
    with Spool(VideoFormat(64, 48, Fraction(25), Fraction(1, 7)), pictures, Damage()) as spool:
        for _ in range(2):
            assert [picture.time for picture in spool.timed()] == [picture.time for picture in pictures]


def test_times_that_do_not_ascend_still_give_a_file(tmp_path: Path) -> None:
    format = VideoFormat(64, 48, Fraction(25), MS)
    for ending in ("mkv", "mp4"):
        with VideoWriter(tmp_path / f"a.{ending}", format) as writer:
            for frame, time in zip(frames(6), [0, 1, 1, -5, 0, 2], strict=True):
                writer.write(frame, Fraction(time))
        with VideoReader(tmp_path / f"a.{ending}") as reader:
            assert len([*reader]) == 6


@pytest.mark.parametrize("rate", [300, 1000, 12345, 48000, Fraction(90000)])
def test_mkv_has_right_times_at_any_rate(tmp_path: Path, rate: Fraction | int) -> None:
    rate = Fraction(rate)
    with VideoWriter(tmp_path / "a.mkv", VideoFormat(64, 48, rate, 1 / rate, Fraction(4, 3))) as writer:
        for frame in frames(40):
            writer.write(frame)
    expected = [i / rate for i in range(40)]
    assert largest_difference(times_of(tmp_path / "a.mkv"), expected) * rate <= Fraction(1, 20)
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert abs((container.duration or 0) * Fraction(1, av.time_base) - 40 / rate) <= 2 / rate
        assert container.streams.video[0].metadata["DURATION"].startswith("00:00:00.")
        assert abs(Fraction(container.streams.video[0].metadata["DURATION"][6:]) - 40 / rate) <= 2 / rate
    with VideoReader(tmp_path / "a.mkv") as reader:
        assert reader.format.sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("sound", ["aac", "libopus", "flac", "pcm_s16le"])
def test_sound_stays_in_step_where_mkv_needs_finer_times(tmp_path: Path, sound: str) -> None:
    source = make_clip(tmp_path / "a.mkv", range(200), sound=sound, rate=1000, seconds=0.2)
    with (
        VideoReader(source, keep=frozenset(StreamKind)) as reader,
        VideoWriter(tmp_path / "b.mkv", reader.format, side_data=reader.side_data) as writer,
    ):
        for frame, time in reader.timed():
            writer.write(frame, time)
    theirs, ours = ((times_of(path), times_of(path, "audio")) for path in (source, tmp_path / "b.mkv"))
    assert largest_difference(since(ours[0][0], ours[0]), since(theirs[0][0], theirs[0])) <= MS / 20
    assert largest_difference(since(ours[0][0], ours[1]), since(theirs[0][0], theirs[1])) <= MS


def test_a_first_picture_behind_the_sound_stays_there(tmp_path: Path) -> None:
    for ending in ("mkv", "mp4"):
        source = make_clip(tmp_path / f"late.{ending}", [t + 15 for t in PAUSE])
        with VideoReader(source, keep=frozenset(StreamKind)) as reader:
            assert abs(reader.side_data.file.start - Fraction(1, 2)) <= MS
            assert (
                largest_difference([p.time for p in reader.timed()], [Fraction(t, RATE) for t in PAUSE]) <= MS
            )
