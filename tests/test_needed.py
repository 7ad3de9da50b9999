"""Only what some frames need is decoded, and shows the pictures that a decode of all shows."""

import pytest
from chain import chained, header_of, slots
from clips import moving

from bcodec.bitstream import FrameType, Packet, PacketHeader
from bcodec.decoder import decode, decode_part
from bcodec.frame import picture_hash
from bcodec.needed import needed
from bcodec.networks import Networks


def made_up(count: int, gop_size: int, intra_period: int) -> list[Packet]:
    """Packets that hold nothing, with anchors in a chain."""
    kinds = FrameType.B, FrameType.I
    headers = [
        PacketHeader(slot.poc, kinds[slot.intra], slot.temporal_layer, 30, slot.referenced)
        for slot in slots(count, gop_size, intra_period)
    ]
    return [Packet(header, b"", 0) for header in headers]


def pocs(packets: list[Packet], start: int, count: int | None) -> list[int]:
    return [packet.header.poc for packet in needed(packets, start, count) if isinstance(packet, Packet)]


@pytest.mark.parametrize(
    ("start", "count", "expected"),
    [
        (0, 1, [0]),
        (11, 1, [0, 8, 16, 12, 10, 11]),
        (11, 3, [0, 8, 16, 12, 10, 11, 14, 13]),
        (16, 1, [0, 8, 16]),
        (36, 1, [32, 40, 36]),
        (31, 1, [0, 8, 16, 24, 32, 28, 30, 31]),
        (30, 4, [0, 8, 16, 24, 32, 28, 30, 31, 40, 36, 34, 33]),
        (41, None, [32, 40, 44, 42, 41, 43]),
    ],
)
def test_a_frame_needs_its_anchors_and_those_between_which_it_is(
    start: int, count: int | None, expected: list[int]
) -> None:
    assert pocs(made_up(45, 8, 32), start, count) == expected


def test_all_need_all() -> None:
    packets = made_up(45, 8, 32)
    assert list(needed(packets, 0, None)) == packets


@pytest.mark.parametrize("lost", [8, 12, 11])
def test_where_a_wanted_frame_is_missing_no_more_than_two_anchors_are_read(lost: int) -> None:
    source = iter([packet for packet in made_up(100, 8, 32) if packet.header.poc != lost])
    list(needed(source, 9, 3 if lost > 8 else 4))
    assert next(source).header.poc < 32


def test_every_part_shows_the_pictures_of_the_whole(tiny_networks: Networks) -> None:
    frames = moving(10, 40, 24)
    packets, header = chained(frames, 4, 8, tiny_networks), header_of(frames[0], 4, tiny_networks)
    whole = [picture_hash(frame) for frame in decode(packets, header, tiny_networks)]
    assert len(whole) == 10
    for start, count in [(1, 1), (3, 2), (5, 2), (6, None), (8, 1), (9, None)]:
        part = decode_part(packets, header, tiny_networks, start=start, count=count)
        found = {picture.poc: picture_hash(picture.frame) for picture in part}
        assert found == {poc: whole[poc] for poc in range(10)[start:][:count]}
