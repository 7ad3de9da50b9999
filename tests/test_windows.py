"""Several processes decode to the frames of one, and end as one does."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from chain import chained, header_of
from clips import moving

from bcodec.bitstream import AuxiliaryPacket, FrameType, Packet, SequenceHeader
from bcodec.codec import FrameCodec
from bcodec.coding import Reference
from bcodec.decoder import Gap, decode, decode_around_damage, decode_part
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.effort import PRESETS
from bcodec.encoder.encode import Settings, encode
from bcodec.encoder.trial import Task, code_frame
from bcodec.errors import BitstreamError, CodecError, Truncated
from bcodec.frame import Frame, picture_hash
from bcodec.gop import Slot
from bcodec.networks import Networks
from bcodec.processes import Processes
from bcodec.windows import DecodedFrame, Windows

WIDTH, HEIGHT, GOP = 40, 24, 2
SOUND = AuxiliaryPacket(1, 0, 0, 0, 0, b"sound")
AnyPacket = Packet | AuxiliaryPacket


@pytest.fixture(scope="module")
def header(tiny_networks: Networks) -> SequenceHeader:
    return header_of(moving(1, WIDTH, HEIGHT)[0], GOP, tiny_networks)


@pytest.fixture(scope="module")
def packets(tiny_networks: Networks) -> list[Packet]:
    """Three scenes, each of which ends with a B* frame: I0 A2 B1 B*3 | I4 A6 B5 B*7 | I8 A10 B9 B*11."""
    frames = [frame for seed in range(3) for frame in moving(4, WIDTH, HEIGHT, seed=seed)]
    return list(encode(frames, Settings(40, GOP, scene_cut=True, preset="fast"), tiny_networks))


def outcome(frames: Iterator[Frame] | Iterator[DecodedFrame]) -> tuple[list[int], str]:
    """Hashes of the frames delivered, and the error that ended it, in words."""
    hashes: list[int] = []
    try:
        for frame in frames:
            hashes.append(picture_hash(frame if isinstance(frame, Frame) else frame.frame))
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
    types = "".join(packet.header.frame_type.name for packet in packets)
    assert types[::4] == "III"  # of anchors within a scene the encoder decides
    assert types[2::4] == types[3::4] == "BBB"
    assert [packet.header.poc for packet in packets] == [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_processes_give_the_frames_of_one(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks, size: int
) -> None:
    mixed: list[AnyPacket] = [part for packet in packets for part in (SOUND, packet)]
    together = outcome(decode_part(iter(mixed), header, tiny_networks, crew=Processes(size)))
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

    monkeypatch.setattr("bcodec.processes.in_processes", in_turn)


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
        assert outcome(decode_part(ours, header, tiny_networks, crew=Processes(2))) == expected


def tasks(packets: Iterable[Packet], networks: Networks) -> list[list[Packet]]:
    """The packets of each task, and then those of the rest, if there is one."""
    split = Windows(packets, FrameCodec(networks, WIDTH, HEIGHT))
    return [[item for item in task if isinstance(item, Packet)] for task in split.tasks()]


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("gop_size", [1, 2, 4])
@pytest.mark.parametrize("cuts", [False, True])
def test_every_order_of_packets_is_split_well(tiny_networks: Networks, gop_size: int, cuts: bool) -> None:
    frames = [frame for seed in range(2) for frame in moving(7, WIDTH, HEIGHT, seed=seed)]
    settings = Settings(40, gop_size, scene_cut=cuts, preset="fast")
    coded = list(encode(frames, settings, tiny_networks))
    header = header_of(frames[0], gop_size, tiny_networks)
    expected = outcome(decode(coded, header, tiny_networks))
    assert len(expected[0]) == len(frames)
    assert outcome(decode_part(coded, header, tiny_networks, crew=Processes(2))) == expected
    parts = tasks(coded, tiny_networks)
    anchors = [p for p in coded if p.header.referenced and p.header.temporal_layer == 0]
    assert [p for part in parts for p in part] == [p for p in coded if p not in anchors]
    assert len(parts) > 1
    assert all(len(part) <= 2 * gop_size for part in parts)


@pytest.fixture(scope="module")
def long(tiny_networks: Networks) -> list[Packet]:
    """I0 B*4 B2 B1 B3 I8 B6 B5 B7 B*12 B10 B9 B11 B*13."""
    return chained(moving(14, WIDTH, HEIGHT), 4, 8, tiny_networks)


@pytest.mark.usefixtures("alone")
def test_windows_of_a_chain_of_anchors_are_decoded_apart(long: list[Packet], tiny_networks: Networks) -> None:
    header = header_of(moving(1, WIDTH, HEIGHT)[0], 4, tiny_networks)
    assert [p.header.poc for p in long if p.header.frame_type is FrameType.I] == [0, 8]
    expected = outcome(decode(long, header, tiny_networks))
    assert (len(expected[0]), expected[1]) == (14, "")
    assert outcome(decode_part(long, header, tiny_networks, crew=Processes(2))) == expected
    assert [names(part) for part in tasks(long, tiny_networks)] == [
        *("B2 B1 B3", "B6 B5 B7", "B10 B9 B11", "B13")
    ]


@pytest.mark.usefixtures("alone")
def test_long_windows_are_split_in_their_middle(tiny_networks: Networks) -> None:
    frames = moving(17, WIDTH, HEIGHT)
    coded = list(encode(frames, Settings(40, 16, 16, preset="fast"), tiny_networks))
    header = header_of(frames[0], 16, tiny_networks)
    expected = outcome(decode(coded, header, tiny_networks))
    assert (len(expected[0]), expected[1]) == (17, "")
    assert outcome(decode_part(coded, header, tiny_networks, crew=Processes(2))) == expected
    halves = ["B4 B2 B1 B3 B6 B5 B7", "B12 B10 B9 B11 B14 B13 B15"]
    assert [names(part) for part in tasks(coded, tiny_networks)] == halves


def names(packets: Iterable[Packet]) -> str:
    return " ".join(f"{packet.header.frame_type.name}{packet.header.poc}" for packet in packets)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("bound", [256, 2])
def test_what_no_encoder_writes_is_decoded_all_the_same(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    """An anchor refers to a frame within the window; windows have no end."""
    monkeypatch.setattr(Windows, "MOST", bound)
    frames = moving(8, WIDTH, HEIGHT)
    header = header_of(frames[0], 2, tiny_networks)
    for layers in ([0, 1, 0, 1, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1]):
        coded = behind_each_other(frames, layers, tiny_networks)
        expected = outcome(decode(coded, header, tiny_networks))
        assert (len(expected[0]), expected[1]) == (8, "")
        assert outcome(decode_part(coded, header, tiny_networks, crew=Processes(2))) == expected


def behind_each_other(frames: list[Frame], layers: list[int], networks: Networks) -> list[Packet]:
    """An I frame, and B frames that each refer to the one before."""
    codec = FrameCodec(networks, WIDTH, HEIGHT)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    packets = []
    for poc, (frame, layer) in enumerate(zip(frames, layers, strict=True)):
        task = Task(Slot(poc, layer, intra=poc == 0, referenced=True), frame, frame, 40)
        trial = code_frame(codec, dpb, task, PRESETS["fast"].effort)
        codec.keep(trial.decoded, dpb)
        packets.append(trial.coded.packet)
    return packets


def salvage(parts: Iterator[DecodedFrame | Gap]) -> list[tuple[Any, ...]]:
    """Pocs and hashes of the pictures, and the gaps in words."""
    return [
        (part.first, part.last, str(part.error))
        if isinstance(part, Gap)
        else (part.poc, picture_hash(part.frame))
        for part in parts
    ]


@pytest.mark.usefixtures("alone")
def test_processes_lose_the_frames_that_one_loses(long: list[Packet], tiny_networks: Networks) -> None:
    """Of a leaf, and of anchors of the chain before an I frame and before the end."""
    header = header_of(moving(1, WIDTH, HEIGHT)[0], 4, tiny_networks)
    whole = dict(salvage(decode_around_damage(long, header, tiny_networks)))
    for lost, gap in ((1, (1, 1)), (4, (1, 7)), (12, (9, 13))):
        bad = spoilt(long, [packet.header.poc for packet in long].index(lost))
        alone, together = (
            salvage(decode_around_damage(bad, header, tiny_networks, crew=crew))
            for crew in (None, Processes(2))
        )
        assert together == alone
        first, last = gap
        assert [part for part in alone if len(part) == 2] == [
            (poc, found) for poc, found in whole.items() if not first <= poc <= last
        ]
        assert sum(len(part) == 3 for part in alone) == 1


# ---------------------------------------------------------------- several processes


@pytest.mark.parametrize("where", ["cut", "spoilt"])
def test_all_before_damage_in_a_later_span_comes_from_processes(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks, where: str
) -> None:
    def stream() -> Iterator[Packet]:
        return cut_short(packets, 6) if where == "cut" else iter(spoilt(packets, 6))

    hashes, error = outcome(decode(stream(), header, tiny_networks))
    assert (len(hashes), bool(error)) == (5, True)
    assert outcome(decode_part(stream(), header, tiny_networks, crew=Processes(2))) == (hashes, error)
    assert multiprocessing.active_children() == []


def test_processes_end_at_once(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    def interrupted() -> Iterator[Packet]:
        yield from packets
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(decode_part(interrupted(), header, tiny_networks, crew=Processes(2)))
    assert multiprocessing.active_children() == []
    frames = decode_part(iter(packets), header, tiny_networks, crew=Processes(2))
    next(frames)
    frames.close()
    assert multiprocessing.active_children() == []
