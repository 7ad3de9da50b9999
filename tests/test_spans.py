"""Several processes decode to the frames of one, and end as one does."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from clips import moving

from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    AuxiliaryPacket,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
    VideoFormat,
)
from bcodec.codec import decode
from bcodec.encoder.encode import Settings, encode
from bcodec.errors import BitstreamError, CodecError, Truncated
from bcodec.frame import Frame, picture_hash
from bcodec.networks import Networks
from bcodec.spans import decode_in_parallel, spans

WIDTH, HEIGHT, GOP = 40, 24, 2
SOUND = AuxiliaryPacket(1, 0, 0, 0, 0, b"sound")
AnyPacket = Packet | AuxiliaryPacket


@pytest.fixture(scope="module")
def header(tiny_networks: Networks) -> SequenceHeader:
    video = VideoFormat(WIDTH, HEIGHT, Fraction(25), Fraction(1, 25))
    return SequenceHeader(video, GOP, ARITHMETIC_VERSION, tiny_networks.model_id)


@pytest.fixture(scope="module")
def packets(tiny_networks: Networks) -> list[Packet]:
    """Three scenes, each of which ends with a B* frame: I0 I2 B1 B*3 | I4 I6 B5 B*7 | I8 I10 B9 B*11."""
    frames = [frame for seed in range(3) for frame in moving(4, WIDTH, HEIGHT, seed=seed)]
    return list(encode(frames, Settings(40, GOP, scene_cut=True, preset="fast"), tiny_networks))


def outcome(frames: Iterator[Frame]) -> tuple[list[int], str]:
    """Hashes of the frames delivered, and the error that ended it, in words."""
    hashes: list[int] = []
    try:
        for frame in frames:
            hashes.append(picture_hash(frame))
    except (BitstreamError, CodecError) as error:
        return hashes, f"{type(error).__name__}: {error}"
    return hashes, ""


def cut_short(packets: list[Packet], count: int) -> Iterator[Packet]:
    """Some packets, and then what the reader of a file says that is cut short."""
    yield from packets[:count]
    raise Truncated("the file is cut short")


def spoilt(packets: list[Packet], index: int) -> list[Packet]:
    """Packets of which one does not decode to the picture that was encoded."""
    bad = replace(packets[index], picture_hash=packets[index].picture_hash ^ 1)
    return [*packets[:index], bad, *packets[index + 1 :]]


def test_the_clip_is_what_it_should_be(packets: list[Packet]) -> None:
    assert "".join(packet.header.frame_type.name for packet in packets) == "IIBB" * 3
    assert [packet.header.poc for packet in packets] == [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_processes_give_the_frames_of_one(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks, jobs: int
) -> None:
    mixed: list[AnyPacket] = [part for packet in packets for part in (SOUND, packet)]
    together = outcome(decode_in_parallel(iter(mixed), header, tiny_networks, jobs))
    assert together == outcome(decode(packets, header, tiny_networks))
    assert (len(together[0]), together[1]) == (len(packets), "")
    assert multiprocessing.active_children() == []


# ---------------------------------------------------------------- the work, without its sharing


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process do what others would: it is quicker."""

    def in_turn(make: Callable[[], Callable[[Any], Any]], tasks: Iterable[Any], _: int) -> Iterator[Any]:
        work = make()
        for task in tasks:
            yield work(task)

    monkeypatch.setattr("bcodec.spans.in_processes", in_turn)


def streams(packets: list[Packet]) -> Iterator[Iterable[Packet]]:
    """What may happen to a stream: cuts, damage, later beginnings, packets that are lost or come twice."""
    for index in (1, 6):
        yield cut_short(packets, index)
        yield packets[:index]
        yield packets[index:]
        yield spoilt(packets, index)
        yield [*packets[:index], *packets[index + 1 :]]
        yield [*packets[: index + 1], *packets[index:]]
        yield [*packets[: index + 1], *packets[:index], *packets[index + 1 :]]


@pytest.mark.usefixtures("alone")
def test_whatever_happens_to_a_stream_the_end_is_the_same(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    for ours, theirs in zip(streams(packets), streams(packets), strict=True):
        expected = outcome(decode(theirs, header, tiny_networks))
        assert outcome(decode_in_parallel(ours, header, tiny_networks, 2)) == expected


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("gop_size", [1, 2, 4])
@pytest.mark.parametrize("cuts", [False, True])
def test_every_order_of_packets_is_split_well(tiny_networks: Networks, gop_size: int, cuts: bool) -> None:
    frames = [frame for seed in range(2) for frame in moving(7, WIDTH, HEIGHT, seed=seed)]
    settings = Settings(40, gop_size, scene_cut=cuts, preset="fast")
    coded = list(encode(frames, settings, tiny_networks))
    video = VideoFormat(WIDTH, HEIGHT, Fraction(25), Fraction(1, 25))
    header = SequenceHeader(video, gop_size, ARITHMETIC_VERSION, tiny_networks.model_id)
    expected = outcome(decode(coded, header, tiny_networks))
    assert len(expected[0]) == len(frames)
    assert outcome(decode_in_parallel(coded, header, tiny_networks, 2)) == expected
    parts = list(spans(coded, gop_size))
    assert [packet for span in parts for packet in span.packets] == coded
    assert len(parts) > 1
    assert all(len(span.packets) <= 2 * gop_size for span in parts)


def made_up(frames: str) -> list[Packet]:
    """Packets of the frames that are named: I0 is an anchor, B*3 one that is a B frame, B1 no reference."""
    found = []
    for frame in frames.split():
        kind, poc = FrameType[frame[0]], int(frame.strip("IB*"))
        anchor = frame[0] == "I" or "*" in frame
        found.append(Packet(PacketHeader(poc, kind, 0 if anchor else 1, 30, anchor), b"", 0))
    return found


def names(packets: Iterable[Packet]) -> str:
    return " ".join(f"{packet.header.frame_type.name}{packet.header.poc}" for packet in packets)


@pytest.mark.parametrize(
    ("coded", "split"),
    [
        # the first I frame goes with its window, if it is short; the past of a span is the I frame before it
        ("I0 I2 B1 I4 B3 I6 B5", [("I0 I2 B1", ""), ("I4 B3", "I2"), ("I6 B5", "I4")]),
        # a scene needs nothing of the one before
        ("I0 I2 B1 B*3 I4 I6 B5", [("I0", ""), ("I2 B1 B3", "I0"), ("I4 I6 B5", "")]),
        # no encoder writes B frames between B* and I: these stay together
        ("I0 I2 B1 B*4 B3 I6 B5 I8 B7", [("I0", ""), ("I2 B1 B4 B3 I6 B5", "I0"), ("I8 B7", "I6")]),
        ("I0 I2 B1 B*9 I6 B7", [("I0", ""), ("I2 B1 B9 I6 B7", "I0")]),
    ],
)
def test_a_span_has_what_it_needs(coded: str, split: list[tuple[str, str]]) -> None:
    found = [(names(s.packets), names([s.past] if s.past else [])) for s in spans(made_up(coded), 2)]
    assert found == split


@pytest.mark.parametrize(("count", "read"), [(1, 2), (2, 4), (3, 4), (4, 6), (None, 7)])
def test_little_more_is_read_than_is_wanted(count: int | None, read: int) -> None:
    source = iter(made_up("I0 I2 B1 I4 B3 I6 B5"))
    assert sum(len(span.packets) for span in spans(source, 2, count)) >= (count or 7)
    assert 7 - len(list(source)) == read


# ---------------------------------------------------------------- several processes


@pytest.mark.parametrize("where", ["cut", "spoilt"])
def test_all_before_damage_in_a_later_span_comes_from_processes(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks, where: str
) -> None:
    def stream() -> Iterator[Packet]:
        return cut_short(packets, 6) if where == "cut" else iter(spoilt(packets, 6))

    hashes, error = outcome(decode(stream(), header, tiny_networks))
    assert (len(hashes), bool(error)) == (5, True)
    assert outcome(decode_in_parallel(stream(), header, tiny_networks, 2)) == (hashes, error)
    assert multiprocessing.active_children() == []


def test_processes_end_at_once(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    def interrupted() -> Iterator[Packet]:
        yield from packets
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(decode_in_parallel(interrupted(), header, tiny_networks, 2))
    assert multiprocessing.active_children() == []
    frames = decode_in_parallel(iter(packets), header, tiny_networks, 2)
    next(frames)
    frames.close()
    assert multiprocessing.active_children() == []
