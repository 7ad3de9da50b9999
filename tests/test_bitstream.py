import io
import os
import struct
import threading
from contextlib import suppress
from fractions import Fraction
from typing import BinaryIO
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packets import HEADER, HEADER_SIZE, VIDEO, AnyPacket, open_bytes, raw_packet, written

from bcodec import bitstream
from bcodec.bitstream import (
    AuxiliaryPacket,
    BitstreamReader,
    BitstreamWriter,
    FrameType,
    IndexEntry,
    Packet,
    PacketHeader,
    SequenceHeader,
    VideoFormat,
    with_damage,
)
from bcodec.errors import BitstreamError, Corrupt, NotBcv, Truncated, UnsupportedVersion


def frame(
    poc: int,
    layer: int,
    payload: bytes = b"",
    kind: FrameType = FrameType.B,
    chroma_offset: int = 0,
    delay: int = 0,
) -> Packet:
    header = PacketHeader(poc, kind, layer, 37, layer < 2, chroma_offset)
    return Packet(header, payload, 0xEE00 + poc & 0xFFFF, delay)


SOUND = AuxiliaryPacket(1, 2, -3, 4, 1024, b"opus")
PACKETS: list[AnyPacket] = [
    frame(0, 0, b"intra", FrameType.I),
    SOUND,
    frame(4, 0, b"next intra", FrameType.I),
    frame(2, 1, b"middle", delay=-900),
    frame(1, 2),
    frame(3, 2, b"\xbc\x05"),
    frame(6, 0, b"tail" * 50),
    frame(5, 1, b"last"),
]


class Pipe(io.RawIOBase):
    """A stream that cannot seek, and gives at most three bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 3))


def read_until_error(file: BinaryIO) -> tuple[list[AnyPacket], BitstreamError | None]:
    packets: list[AnyPacket] = []
    try:
        for packet in BitstreamReader(file):
            packets.append(packet)
    except BitstreamError as error:
        return packets, error
    return packets, None


def boundaries(packets: list[AnyPacket]) -> list[int]:
    """Byte offsets at which the packets begin, and the trailer."""
    writer = BitstreamWriter(io.BytesIO(), HEADER)
    offsets = [HEADER_SIZE]
    for packet in packets:
        offsets.append(offsets[-1] + writer.write(packet))
    return offsets


def test_golden_bytes_of_the_sequence_header() -> None:
    assert written([])[:HEADER_SIZE].hex(" ") == (
        "89 42 43 56 06 00 07 00 01 23 45 67 89 ab cd ef 61 01 21 01 08 01 20 01 01 0d 06 01 0e 01 "
        "30 75 00 00 e9 03 00 00 01 00 00 00 90 5f 01 00 0c 00 00 00 0b 00 00 00 72 d1 80 fa"
    )


def test_golden_bytes_of_packets_and_trailer() -> None:
    packets: list[AnyPacket] = [
        frame(0, 0, b"intra", FrameType.I),
        frame(300, 2, b"b", chroma_offset=8, delay=-65),
        frame(301, 2, delay=64),
        SOUND,
    ]
    data = written(packets)[HEADER_SIZE:]
    assert data.hex(" ") == (
        "bc 0a 00 62 25 00 ee 69 6e 74 72 61 56 2a "
        "bc 09 ac 02 a9 65 2c ef 81 01 62 5a db "
        "bc 08 ad 02 69 65 2d ef 80 01 a1 ac "
        "bd 1e 01 02 fd ff ff ff ff ff ff ff 04 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 "
        "6f 70 75 73 2c af "
        "be 04 03 01 01 3a 4c 58 08 00 00 00 42 43 56 45"
    )


def test_smallest_frame_packet_costs_nine_bytes() -> None:
    assert len(written([frame(1, 1)])) - len(written([])) == 9


def test_sizes_are_the_same_written_and_read_and_make_up_the_file() -> None:
    data = written(PACKETS)
    writer = BitstreamWriter(io.BytesIO(), HEADER)
    reader = BitstreamReader(Pipe(data))  # type: ignore[arg-type]
    sizes = [reader.last_size]
    assert sizes == [HEADER_SIZE]
    for packet in reader:
        assert reader.last_size == writer.write(packet)
        sizes.append(reader.last_size)
    sizes.append(reader.last_size)  # of the trailer
    assert len(sizes) == len(PACKETS) + 2
    assert sum(sizes) == len(data)


def test_writing_and_reading_need_no_seek() -> None:
    receiving, sending = os.pipe()

    def write() -> None:
        with open(sending, "wb") as file, BitstreamWriter(file, HEADER) as writer:
            for packet in PACKETS:
                writer.write(packet)

    thread = threading.Thread(target=write)
    thread.start()
    with open(receiving, "rb") as file:
        reader = BitstreamReader(file)
        assert (reader.header, list(reader)) == (HEADER, PACKETS)
        with pytest.raises(io.UnsupportedOperation):
            reader.seek(0)
    thread.join()


def test_a_source_that_gives_few_bytes_at_a_time_is_read_whole() -> None:
    assert read_until_error(Pipe(written(PACKETS))) == (PACKETS, None)  # type: ignore[arg-type]


def test_frames_are_the_packets_without_the_auxiliary_ones() -> None:
    assert list(open_bytes(written(PACKETS)).frames()) == [
        packet for packet in PACKETS if packet is not SOUND
    ]


rationals = st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=100_000)
bytes_of_any_length = st.binary(max_size=300)
videos = st.builds(
    VideoFormat,
    width=st.integers(16, 4320),
    height=st.integers(16, 8192),
    frame_rate=rationals,
    time_base=rationals,
    sample_aspect_ratio=rationals | st.just(Fraction(0)),
    colour_range=st.integers(0, 2),
    colour_primaries=st.integers(0, 255),
    colour_transfer=st.integers(0, 255),
    colour_matrix=st.integers(0, 255),
    chroma_location=st.integers(0, 6),
    rotation=st.integers(0, 359),
    bit_depth=st.sampled_from([8, 10]),
)
sequence_headers = st.builds(
    SequenceHeader,
    video=videos,
    gop_size=st.integers(1, 64),
    arithmetic_version=st.integers(0, 2**16 - 1),
    model_id=st.binary(min_size=8, max_size=8),
)
b_frames = st.builds(
    Packet,
    header=st.builds(
        PacketHeader,
        poc=st.integers(0, 2**24 - 1),
        frame_type=st.just(FrameType.B),
        temporal_layer=st.integers(0, 7),
        qp=st.integers(0, 63),
        referenced=st.booleans(),
    ),
    payload=bytes_of_any_length,
    picture_hash=st.integers(0, 2**16 - 1),
    delay=st.integers(-(2**40), 2**40),
)
stamps = st.integers(-(2**63), 2**63 - 1)
auxiliaries = st.builds(
    AuxiliaryPacket,
    stream=st.integers(0, 255),
    flags=st.integers(0, 255),
    pts=stamps,
    dts=stamps,
    duration=st.integers(0, 2**63 - 1),
    payload=bytes_of_any_length,
)


@settings(max_examples=50, deadline=None)
@given(
    sequence_headers,
    st.lists(b_frames | auxiliaries, max_size=4),
    st.sets(st.integers(0, 2**24 - 1), max_size=3),
)
def test_what_is_written_is_read(header: SequenceHeader, packets: list[AnyPacket], intra: set[int]) -> None:
    packets = [*(frame(poc, 0, b"i", FrameType.I) for poc in sorted(intra)), *packets]
    data = written(packets, header)
    reader = open_bytes(data)
    assert (reader.header, list(reader), list(reader)) == (header, packets, [])
    assert [entry.poc for entry in reader.index.entries] == sorted(intra)
    assert written(packets, reader.header) == data


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_other_origin_give_errors_of_the_module(noise: bytes) -> None:
    assert read_until_error(io.BytesIO(noise))[1] is not None
    assert read_until_error(io.BytesIO(written([])[:HEADER_SIZE] + noise))[1] is not None
    assert read_until_error(io.BytesIO(written([])[:HEADER_SIZE] + b"\xbc" + noise))[1] is not None


def test_every_truncation_gives_the_whole_packets_then_truncated() -> None:
    data = written(PACKETS)
    ends = boundaries(PACKETS)[1:]
    for size in range(len(data)):
        packets, error = read_until_error(io.BytesIO(data[:size]))
        assert packets == PACKETS[: sum(end <= size for end in ends)]
        assert type(error) is Truncated
        assert "cut short" in str(error)
        assert "\n" not in str(error)


def test_every_flipped_byte_gives_the_packets_before_it_then_an_error() -> None:
    data = written(PACKETS)
    ends = boundaries(PACKETS)[1:]
    for place in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= mask
            packets, error = read_until_error(io.BytesIO(damaged))
            assert packets == PACKETS[: sum(end <= place for end in ends)]
            assert isinstance(error, BitstreamError)
            assert "\n" not in str(error)


def test_every_flipped_byte_leaves_seeking_right_or_an_error() -> None:
    data = written(PACKETS)
    for place in range(HEADER_SIZE, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x81
        reader = open_bytes(bytes(damaged))
        try:
            reader.seek(5)
            first = next(reader)
        except BitstreamError:
            continue
        assert first == PACKETS[2] if place >= boundaries(PACKETS)[3] else first in (PACKETS[0], PACKETS[2])


def test_a_file_of_another_kind_is_told_apart() -> None:
    with pytest.raises(NotBcv, match=r"not a \.bcv file"):
        open_bytes(b"\x1a\x45\xdf\xa3 a Matroska file")
    with pytest.raises(Truncated, match="sequence header"):
        open_bytes(b"")


def test_an_unknown_format_version_is_refused_naming_both() -> None:
    data = bytearray(written(PACKETS))
    data[4] = 9
    with pytest.raises(UnsupportedVersion, match=r"version 9.*version 6"):
        open_bytes(bytes(data))


@pytest.mark.parametrize(
    ("offset", "code", "value", "message"),
    [
        (16, "<H", 15, "width is 15"),
        (18, "<H", 8193, "height is 8193"),
        (16, "<HH", (8192, 8192), "width times height"),
        (20, "<B", 9, "bit_depth is 9"),
        (21, "<B", 2, "chroma format is 2"),
        (22, "<B", 65, "gop_size is 65"),
        (28, "<H", 360, "rotation is 360"),
        (30, "<I", 0, "frame_rate numerator is 0"),
        (42, "<I", 0, "denominator is 0"),
    ],
)
def test_a_header_with_a_false_value_and_a_true_checksum_is_corrupt(
    offset: int, code: str, value: int | tuple[int, ...], message: str
) -> None:
    data = bytearray(written([])[: HEADER_SIZE - 4])
    struct.pack_into(code, data, offset, *(value if isinstance(value, tuple) else (value,)))
    with pytest.raises(Corrupt, match=message):
        open_bytes(bytes(data) + struct.pack("<I", crc32(data)))


FRAME_BODY = bytes.fromhex("05 09 25 01 02")


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (raw_packet(0, b"", bytes.fromhex("81 80 80 40")), "length of packet is 134217729"),
        (raw_packet(0, b"", b"\xff" * 12), "varint does not end"),
        (raw_packet(0, FRAME_BODY, b"\x85\x00"), "longer than needed"),
        (raw_packet(3, FRAME_BODY), "kind of packet is 191"),
        (raw_packet(0, FRAME_BODY[:-1]), "too short"),
        (raw_packet(0, b"\x80\x80\x80\x08" + FRAME_BODY[1:]), "poc is 16777216"),
        (raw_packet(0, FRAME_BODY.replace(b"\x25", b"\x80")), "qp is 128"),
        (
            raw_packet(0, FRAME_BODY.replace(b"\x25", b"\x65") + b"\x82\x80\x80\x80\x80\x40"),
            "delay is 1099511627777",
        ),
        (raw_packet(1, bytes(18) + b"\xff" * 8), "duration"),
        (raw_packet(1, bytes(25)), "too short"),
        (raw_packet(0, FRAME_BODY)[:-1] + b"?", "wrong checksum"),
        (b"BC" + raw_packet(0, FRAME_BODY), "kind of packet is 66"),
        (written([])[HEADER_SIZE:] + b"?", "behind the end"),
        (written(PACKETS)[boundaries(PACKETS)[-1] :], "does not name the frames"),
    ],
)
def test_a_hostile_packet_is_corrupt(packet: bytes, message: str) -> None:
    data = written([])[:HEADER_SIZE] + packet
    _, error = read_until_error(io.BytesIO(data))
    assert type(error) is Corrupt
    assert message in str(error)
    assert f"at byte {HEADER_SIZE}:" in str(error)


@pytest.mark.parametrize("piped", [False, True])
def test_behind_a_damaged_byte_all_other_packets_are_read(piped: bool) -> None:
    data, offsets = written(PACKETS), boundaries(PACKETS)
    for place in range(HEADER_SIZE, offsets[-1]):
        for mask in (1, 0x80, 0xFF):
            bad = data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
            reader = BitstreamReader(Pipe(bad) if piped else io.BytesIO(bad))  # type: ignore[arg-type]
            hit = sum(offset <= place for offset in offsets) - 1
            *found, error = sorted(with_damage(reader), key=lambda item: isinstance(item, BitstreamError))
            assert found == [*PACKETS[:hit], *PACKETS[hit + 1 :]], (place, mask)
            assert f"at byte {offsets[hit]}" in str(error)


def test_a_length_beyond_the_file_allocates_no_more_than_a_chunk() -> None:
    asked: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    data = written([])[:HEADER_SIZE] + b"\xbc" + bytes.fromhex("80 80 80 40") + b"little"
    assert type(read_until_error(Watched(data))[1]) is Truncated
    assert max(asked) <= 1 << 20


@pytest.mark.parametrize("poc", range(9))
@pytest.mark.parametrize("trailer", [True, False])
def test_seek_goes_to_the_last_intra_frame_at_or_before(poc: int, trailer: bool) -> None:
    offsets = boundaries(PACKETS)
    reader = open_bytes(written(PACKETS)[: None if trailer else offsets[-1]])
    next(reader)
    place = 0 if poc < 4 else 2
    intra = 0 if poc < 4 else 4
    assert reader.seek(poc) == IndexEntry(intra, offsets[place])
    assert [next(reader) for _ in PACKETS[place:]] == PACKETS[place:]
    if trailer:
        assert list(reader) == []
    else:
        with pytest.raises(Truncated):
            next(reader)


def test_index_names_every_intra_frame_and_moves_nothing() -> None:
    offsets = boundaries(PACKETS)
    for data in (written(PACKETS), written(PACKETS)[: offsets[-1]]):
        reader = open_bytes(data)
        packets = [next(reader), next(reader)]
        assert reader.index.frame_count == 7
        assert reader.index.entries == [IndexEntry(0, offsets[0]), IndexEntry(4, offsets[2])]
        assert packets + [next(reader) for _ in PACKETS[2:]] == PACKETS


def test_a_trailer_is_read_without_the_packets_before_it() -> None:
    data = bytearray(written(PACKETS))
    data[boundaries(PACKETS)[3]] ^= 1
    assert open_bytes(bytes(data)).seek(6).poc == 4
    assert open_bytes(bytes(data)).index.frame_count == 7


@pytest.mark.parametrize(
    "body",
    [
        bytes.fromhex("ff ff ff 07 ff ff ff 07"),  # entries that are not there
        bytes.fromhex("01 02 01 3a 01 3a"),  # more I frames than frames
        bytes.fromhex("02 02 01 3a 00 3a"),  # poc does not ascend
        bytes.fromhex("02 02 01 3a 01 00"),  # offset does not ascend
        bytes.fromhex("02 01 01 ff ff 7f"),  # offset behind the end
        bytes.fromhex("02 01 01 3a 00"),  # something behind the last entry
    ],
)
def test_a_hostile_index_is_replaced_by_a_scan(body: bytes) -> None:
    offsets = boundaries(PACKETS)
    trailer = raw_packet(2, body)
    data = written(PACKETS)[: offsets[-1]] + trailer + struct.pack("<I4s", len(trailer), b"BCVE")
    assert [entry.poc for entry in open_bytes(data).index.entries] == [0, 4]


def test_an_index_that_lies_is_found_out() -> None:
    offsets = boundaries(PACKETS)
    trailer = raw_packet(2, bytes([7, 1, 1, offsets[1]]))
    data = written(PACKETS)[: offsets[-1]] + trailer + struct.pack("<I4s", len(trailer), b"BCVE")
    with pytest.raises(Corrupt, match="I frame 0 is at byte"):
        open_bytes(data).seek(3)


def test_seek_before_the_first_intra_frame_is_an_error() -> None:
    with pytest.raises(BitstreamError, match="no I frame"):
        open_bytes(written(PACKETS)).seek(-1)
    with pytest.raises(BitstreamError, match="no I frame"):
        open_bytes(written([])).seek(0)


def test_writer_leaves_no_trailer_after_an_exception_and_takes_nothing_after_close() -> None:
    file = io.BytesIO()
    with suppress(KeyboardInterrupt), BitstreamWriter(file, HEADER) as writer:
        writer.write(PACKETS[0])
        raise KeyboardInterrupt
    packets, error = read_until_error(io.BytesIO(file.getvalue()))
    assert packets == PACKETS[:1]
    assert type(error) is Truncated

    writer = BitstreamWriter(file, HEADER)
    writer.close()
    writer.close()
    with pytest.raises(BitstreamError, match="closed"):
        writer.write(SOUND)


def test_writer_refuses_what_the_reader_would() -> None:
    with pytest.raises(BitstreamError, match="width is 8"):
        VideoFormat(8, 16, Fraction(30), Fraction(1, 30))
    with pytest.raises(BitstreamError, match="length of model_id is 7"):
        SequenceHeader(VIDEO, 8, 1, b"too few")
    with pytest.raises(BitstreamError, match=r"chroma_offset is 6, not one of \[-12, -8, .*16\]"):
        frame(0, 0, chroma_offset=6)
    with pytest.raises(BitstreamError, match="picture_hash"):
        Packet(PacketHeader(0, FrameType.I, 0, 0, True), b"", -1)
    with pytest.raises(BitstreamError, match="length of payload"):
        AuxiliaryPacket(0, 0, 0, 0, 0, bytes(bitstream.MAX_PAYLOAD + 1))
    writer = BitstreamWriter(io.BytesIO(), HEADER)
    writer.write(frame(4, 0, b"", FrameType.I))
    with pytest.raises(BitstreamError, match="I frame 4 comes after I frame 4"):
        writer.write(frame(4, 0, b"", FrameType.I))
