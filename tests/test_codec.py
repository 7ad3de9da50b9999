"""Frames to packets and back: what is decoded is what the encoder saw, whatever the length of the clip."""

import io
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pytest
import torch
from clips import format_of, moving
from commands import dear_i_frames
from schedules import schedule

from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    MAX_QP,
    AuxiliaryPacket,
    BitstreamReader,
    BitstreamWriter,
    FrameType,
    Packet,
    SequenceHeader,
)
from bcodec.codec import pick_device
from bcodec.decoder import decode
from bcodec.encoder.effort import PRESETS, Effort, Preset
from bcodec.encoder.encode import Settings, code_groups, encode, split
from bcodec.encoder.importance import possible_qps
from bcodec.encoder.qp import chroma_offset, coded_qp, layer_qp
from bcodec.encoder.temporalfilter import REACH
from bcodec.encoder.trial import CodedFrame, Task, rd_cost
from bcodec.errors import CodecError
from bcodec.frame import Frame, picture_hash, plane_shapes
from bcodec.gop import window
from bcodec.metrics import Quality
from bcodec.networks import Networks

GOP = 4
T = TypeVar("T")


def header_for(frame: Frame, networks: Networks, gop_size: int = GOP) -> SequenceHeader:
    return SequenceHeader(format_of(frame), gop_size, ARITHMETIC_VERSION, networks.model_id)


def check_round_trip(
    frames: list[Frame],
    networks: Networks,
    gop_size: int = GOP,
    qp: int = 40,
    preset: str = "fast",
    *,
    filtering: bool = True,
) -> list[Packet]:
    """Through the bytes of a file, too: order, sizes and hashes; returns the packets."""
    settings = Settings(qp, gop_size, gop_size, scene_cut=False, preset=preset, temporal_filter=filtering)
    packets = list(encode(frames, settings, networks))
    slots = list(schedule(len(frames), gop_size))
    assert [packet.header.poc for packet in packets] == [slot.poc for slot in slots]
    assert [packet.header.frame_type is FrameType.I for packet in packets] == [slot.intra for slot in slots]
    hashes = {packet.header.poc: packet.picture_hash for packet in packets}

    file = io.BytesIO()
    header = header_for(frames[0], networks, gop_size)
    with BitstreamWriter(file, header) as writer:
        for packet in packets:
            writer.write(packet)
    file.seek(0)
    reader = BitstreamReader(file)
    assert reader.header == header
    decoded = list(decode(reader, reader.header, networks))
    assert [picture_hash(frame) for frame in decoded] == [hashes[poc] for poc in range(len(frames))]
    assert {(frame.width, frame.height) for frame in decoded} == {(frames[0].width, frames[0].height)}
    return packets


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return moving(2 * GOP + 1, 40, 24)


@pytest.fixture(scope="module")
def packets(frames: list[Frame], tiny_networks: Networks) -> list[Packet]:
    return list(encode(frames, Settings(40, GOP, GOP, scene_cut=False), tiny_networks))


@pytest.fixture(scope="module")
def header(frames: list[Frame], tiny_networks: Networks) -> SequenceHeader:
    return header_for(frames[0], tiny_networks)


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("length", range(1, 2 * GOP + 2))
def test_clips_of_every_length_round_trip(length: int, frames: list[Frame], tiny_networks: Networks) -> None:
    check_round_trip(frames[:length], tiny_networks)


@pytest.mark.parametrize("gop_size", [1, 2, 3, 5, 8])
def test_gops_of_every_size_round_trip(gop_size: int, frames: list[Frame], tiny_networks: Networks) -> None:
    check_round_trip(frames[: gop_size + 2], tiny_networks, gop_size)


@pytest.mark.parametrize(("width", "height"), [(16, 16), (17, 16), (70, 50), (65, 33), (33, 127)])
def test_pictures_of_every_size_round_trip(width: int, height: int, tiny_networks: Networks) -> None:
    check_round_trip(moving(3, width, height), tiny_networks, gop_size=2)


@pytest.mark.parametrize("qp", [0, 63])
def test_every_qp_round_trips(qp: int, frames: list[Frame], tiny_networks: Networks) -> None:
    packets = check_round_trip(frames[:3], tiny_networks, gop_size=2, qp=qp)
    for header in (packet.header for packet in packets):
        assert header.qp in possible_qps(layer_qp(qp, header.temporal_layer), referenced=header.referenced)
    still = check_round_trip(frames[:1] * 3, tiny_networks, gop_size=2, qp=qp)
    assert [p.header.qp for p in still] == [coded_qp(layer_qp(qp, p.header.temporal_layer)) for p in still]


def test_noise_and_extremes_round_trip(tiny_networks: Networks) -> None:
    rng = np.random.default_rng(0)
    pictures = [
        Frame(*(rng.choice(values, shape).astype(np.uint8) for shape in plane_shapes(40, 24)))
        for values in ([0, 255], [0], [255], range(256))
    ]
    check_round_trip(pictures, tiny_networks, gop_size=2, qp=63)


def test_encoding_twice_gives_the_same_packets(
    frames: list[Frame], packets: list[Packet], tiny_networks: Networks
) -> None:
    assert list(encode(frames, Settings(40, GOP, GOP, scene_cut=False), tiny_networks)) == packets


def test_encoding_draws_no_gradients_and_no_random_numbers(
    frames: list[Frame], tiny_networks: Networks
) -> None:
    state = torch.get_rng_state()
    list(encode(frames[:2], Settings(40, 2, 2, scene_cut=False), tiny_networks))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_clip_has_no_packets(tiny_networks: Networks) -> None:
    assert list(encode([], Settings(), tiny_networks)) == []


def test_a_frame_of_another_size_is_refused(frames: list[Frame], tiny_networks: Networks) -> None:
    with pytest.raises(ValueError, match="frame 1 is 48x24"):
        list(encode([frames[0], *moving(1, 48, 24)], Settings(), tiny_networks))


def test_decoding_loads_nothing_of_the_encoder(
    packets: list[Packet], header: SequenceHeader, tiny_weights: Path, tmp_path: Path
) -> None:
    with (tmp_path / "clip.bcv").open("wb") as file, BitstreamWriter(file, header) as writer:
        for packet in packets:
            writer.write(packet)
    script = (
        "import sys; from pathlib import Path; import bcodec\n"
        "networks = bcodec.load_networks(Path(sys.argv[1]))\n"
        "with open(sys.argv[2], 'rb') as file:\n"
        "    reader = bcodec.BitstreamReader(file)\n"
        "    frames = list(bcodec.decode(reader, reader.header, networks))\n"
        "print(len(frames), *(name for name in sys.modules if name.startswith('bcodec.encoder')))"
    )
    command = [sys.executable, "-c", script, str(tiny_weights), str(tmp_path / "clip.bcv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{len(packets)}\n", "")


# ---------------------------------------------------------------- random access


def test_decoding_from_a_later_i_frame_gives_the_same_frames(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    """The B frames that lead the I frame in display order are dropped."""
    whole = [frame.to_bytes() for frame in decode(packets, header, tiny_networks)]
    starts = [i for i, packet in enumerate(packets) if packet.header.frame_type is FrameType.I]
    assert len(starts) == 3
    for start in starts:
        poc = packets[start].header.poc
        part = [frame.to_bytes() for frame in decode(packets[start:], header, tiny_networks)]
        assert part == whole[poc:]


def test_auxiliary_packets_are_passed_over(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    sound = AuxiliaryPacket(1, 0, 0, 0, 0, b"sound")
    mixed = [part for packet in packets[:2] for part in (sound, packet)]
    (frame,) = decode(mixed[:2], header, tiny_networks)
    assert picture_hash(frame) == packets[0].picture_hash


# ---------------------------------------------------------------- memory


class Counting(Generic[T]):
    """Counts the items that have been taken."""

    def __init__(self, items: Iterable[T]) -> None:
        self.items, self.taken = iter(items), 0

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = next(self.items)
        self.taken += 1
        return item


@pytest.mark.parametrize("filtering", [False, True])
def test_encoder_reads_no_more_than_one_window_and_neighbours_ahead(
    frames: list[Frame], tiny_networks: Networks, filtering: bool
) -> None:
    source = Counting(frames)
    settings = Settings(40, GOP, GOP, scene_cut=False, preset="fast", temporal_filter=filtering)
    for count, _ in enumerate(encode(source, settings, tiny_networks)):
        windows = -(-count // GOP)
        assert source.taken == min(1 + GOP * windows + REACH, len(frames))


def test_decoder_shows_a_frame_as_soon_as_it_can(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    source = Counting(packets)
    decoded = decode(source, header, tiny_networks)
    taken = [source.taken for _ in decoded]
    assert taken == [1, 4, 4, 5, 5, 8, 8, 9, 9]


def test_generators_closed_early_end_quietly(
    frames: list[Frame], packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    encoder = encode(iter(frames), Settings(40, GOP, GOP, scene_cut=False), tiny_networks)
    decoder = decode(iter(packets), header, tiny_networks)
    for generator in (encoder, decoder):
        assert isinstance(generator, Generator)
        next(generator)
        generator.close()
        assert list(generator) == []


# ---------------------------------------------------------------- damage


def deliver(packets: Iterable[Packet], header: SequenceHeader, networks: Networks) -> tuple[list[int], str]:
    """Hashes of the frames delivered, and the message of the error that ended it."""
    hashes: list[int] = []
    with pytest.raises(CodecError) as error:
        hashes.extend(map(picture_hash, decode(packets, header, networks)))
    return hashes, str(error.value)


@pytest.mark.parametrize("arithmetic", [0, ARITHMETIC_VERSION + 1])
def test_another_arithmetic_is_refused(
    arithmetic: int, packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    _, message = deliver(packets, replace(header, arithmetic_version=arithmetic), tiny_networks)
    assert f"arithmetic version {arithmetic}, this bcodec has {ARITHMETIC_VERSION}" in message


def test_another_model_is_refused(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    _, message = deliver(packets, replace(header, model_id=b"\1" * 8), tiny_networks)
    assert "0101010101010101" in message
    assert tiny_networks.model_id.hex() in message


def test_pictures_of_ten_bits_round_trip_and_those_of_eight_are_the_same_rounded(
    frames: list[Frame], tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources of equal levels are coded alike at either depth, unless by how near the shown pictures are."""
    monkeypatch.setattr("bcodec.encoder.group.code_again", lambda codec, trial, rounds: trial)
    both = [frame.at_depth(10) for frame in frames[:5]], frames[:5]
    deep, plain = (check_round_trip(each, tiny_networks, filtering=False) for each in both)
    assert [packet.payload for packet in deep] == [packet.payload for packet in plain]
    headers = [header_for(frames[0].at_depth(bits), tiny_networks) for bits in (10, 8)]
    decoded = (decode(*each, tiny_networks) for each in zip((deep, plain), headers, strict=True))
    for ten, eight in zip(*decoded, strict=True):
        assert (ten.bit_depth, eight.bit_depth) == (10, 8)
        assert ten.at_depth(8).to_bytes() == eight.to_bytes()
        assert np.any(ten.y & 3)


def test_frames_of_different_depths_are_refused(frames: list[Frame], tiny_networks: Networks) -> None:
    with pytest.raises(ValueError, match="frame 1 is 40x24 of 10 bits, the first is not"):
        list(encode([frames[0], frames[1].at_depth(10)], Settings(), tiny_networks))


def shown_after(packets: list[Packet]) -> list[int]:
    """Hashes of the frames that can be shown once these packets are decoded."""
    hashes = {packet.header.poc: packet.picture_hash for packet in packets}
    ready = next(poc for poc in range(len(packets) + 1) if poc not in hashes)
    return [hashes[poc] for poc in range(ready)]


def flipped(packet: Packet, position: int) -> Packet:
    payload = bytearray(packet.payload)
    payload[position] ^= 0x10
    return replace(packet, payload=bytes(payload))


@pytest.mark.parametrize("index", range(2 * GOP + 1))
def test_a_flipped_bit_stops_at_its_frame_after_all_before_it(
    index: int, packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    packet = packets[index]
    damaged = [*packets[:index], flipped(packet, len(packet.payload) // 3), *packets[index + 1 :]]
    hashes, message = deliver(damaged, header, tiny_networks)
    assert message.startswith(f"frame {packet.header.poc}: ")
    assert hashes == shown_after(packets[:index])


@pytest.mark.parametrize("payload", [b"", b"\0", b"\xff" * 40, b"cut"])
def test_a_payload_that_is_no_payload_is_an_error_of_its_frame(
    payload: bytes, packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    for index in (0, 1, 2):
        damaged = [*packets[:index], replace(packets[index], payload=payload)]
        hashes, message = deliver(damaged, header, tiny_networks)
        assert message.startswith(f"frame {packets[index].header.poc}: ")
        assert hashes == shown_after(packets[:index])


def test_a_missing_packet_is_an_error(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    for index in range(1, GOP + 1):
        hashes, message = deliver(packets[:index] + packets[index + 1 :], header, tiny_networks)
        assert message.startswith("frame ")
        assert hashes == shown_after(packets[:index])[: len(hashes)]


def test_a_packet_that_comes_twice_is_an_error(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    hashes, message = deliver([packets[0], packets[0]], header, tiny_networks)
    assert "frame 0 came twice" in message
    assert hashes == [packets[0].picture_hash]


def test_a_stream_that_ends_early_delivers_what_can_be_shown(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    hashes, message = deliver(packets[:3], header, tiny_networks)
    assert hashes == shown_after(packets[:3])
    assert "the stream ends while 2 frames wait" in message


def test_a_stream_must_begin_with_an_i_frame(
    packets: list[Packet], header: SequenceHeader, tiny_networks: Networks
) -> None:
    assert packets[2].header.frame_type is FrameType.B
    hashes, message = deliver(packets[2:], header, tiny_networks)
    assert (hashes, message) == ([], "frame 2: the stream does not begin with an I frame")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("gop_size", [0, 65, -1])
def test_gop_sizes_out_of_range_are_refused(gop_size: int) -> None:
    with pytest.raises(ValueError, match=rf"GOP size is {gop_size}, outside 1\.\.64"):
        Settings(gop_size=gop_size)


@pytest.mark.parametrize("qp", [-1, MAX_QP + 1])
def test_qps_out_of_range_are_refused(qp: int) -> None:
    with pytest.raises(ValueError, match=rf"qp is {qp}, outside 0\.\.63"):
        Settings(qp=qp)


def test_settings_at_the_ends_of_their_ranges_are_taken() -> None:
    for qp, gop_size in ((0, 1), (MAX_QP, 64)):
        assert Settings(qp, gop_size, gop_size) == Settings(qp=qp, gop_size=gop_size, keyint=gop_size)


def test_an_i_frame_is_not_nearer_than_an_anchor() -> None:
    with pytest.raises(ValueError, match="keyint is 31, below the GOP size, which is 32"):
        Settings(keyint=31)


def test_frames_that_are_referred_to_more_get_no_less_quality() -> None:
    for qp in range(MAX_QP + 1):
        qps = [layer_qp(qp, layer) for layer in range(8)]
        assert qps == sorted(qps, reverse=True)
        assert all(0 <= coded_qp(value) <= MAX_QP for value in qps)


@pytest.mark.parametrize(
    ("u", "v", "offset"),
    [
        (36, 36, -4),
        (30, 38.5, -4),
        (36.5, 36.5, 0),
        (41.5, 41.5, 4),
        (39.5, 44.5, 4),
        (46.5, 46.5, 8),
        (100, 100, 8),
    ],
)
def test_chroma_that_is_easier_to_code_gets_a_higher_qp(u: float, v: float, offset: int) -> None:
    assert chroma_offset(Quality(30.0, u, v)) == offset


def test_frames_before_an_i_frame_share_the_offset_of_its_chroma(
    frames: list[Frame], tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = iter([-4, 8, 0])
    monkeypatch.setattr("bcodec.encoder.group.chroma_offset", lambda quality: next(chosen))
    packets = check_round_trip(frames[:5], tiny_networks, gop_size=2, preset="slow")
    assert [packet.header.chroma_offset for packet in packets] == [-4, 8, 8, 0, 0]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_round_trips(preset: str, frames: list[Frame], tiny_networks: Networks) -> None:
    packets = check_round_trip(frames[:4], tiny_networks, gop_size=2, preset=preset)
    assert [packet.header.poc for packet in packets] == [0, 2, 1, 3]  # I, I, B, and B* at the end


def test_of_an_i_frame_and_one_that_is_predicted_the_cheaper_closes_a_group(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = [moving(1, 64, 48)[0]] * 3
    changed = [*still[:2], moving(1, 64, 48, seed=3)[0]]
    settings = Settings(40, 2, scene_cut=False, preset="fast")
    types = [
        [packet.header.frame_type.name for packet in encode(frames, settings, tiny_networks)][1]
        for frames in (still, changed)
    ]
    assert types == ["B", "I"]


def test_predicted_anchors_in_a_chain_round_trip(
    frames: list[Frame], tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.encoder.group.rd_cost", dear_i_frames)
    packets = list(encode(frames[:9], Settings(40, 2, scene_cut=False, preset="fast"), tiny_networks))
    assert [packet.header.frame_type.name for packet in packets] == ["I", *8 * "B"]
    decoded = list(decode(packets, header_for(frames[0], tiny_networks, 2), tiny_networks))
    by_poc = {packet.header.poc: packet.picture_hash for packet in packets}
    assert [picture_hash(frame) for frame in decoded] == [by_poc[poc] for poc in range(9)]


def code_three(frames: list[Frame], networks: Networks, preset: Preset) -> list[CodedFrame]:
    return list(code_groups(split(frames[:3], Settings(40, 2, 2, scene_cut=False)), 40, networks, preset))


def test_of_several_prices_of_motion_the_best_is_kept(frames: list[Frame], tiny_networks: Networks) -> None:
    prices = 1.0, 0.2, 20.0
    presets = [Preset(tuned=False, prices=each) for each in (prices, *((p,) for p in prices))]
    (best,), *others = [code_three(frames, tiny_networks, preset)[2:] for preset in presets]
    alone = [coded for (coded,) in others]
    task = Task(window(0, 2, 2)[1], frames[1], frames[1], layer_qp(40, 1))
    costs = [rd_cost(coded, task) for coded in alone]
    assert len(set(costs)) > 1
    assert best.packet == alone[int(np.argmin(costs))].packet


def test_vectors_of_every_precision_decode(frames: list[Frame], tiny_networks: Networks) -> None:
    motion = []
    for coarser in (0, 1, 2, 3):
        preset = Preset(Effort(coarser=coarser), tuned=False)
        packets = [coded.packet for coded in code_three(frames, tiny_networks, preset)]
        assert len(list(decode(packets, header_for(frames[0], tiny_networks, 2), tiny_networks))) == 3
        motion.append(packets[2].payload)
    assert len(set(motion)) == 3  # usual here are quarter samples, coarsest are whole ones


def test_a_preset_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no preset 'best', but fast, medium, slow"):
        Settings(preset="best")


def test_devices_that_are_not_there_are_refused() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(CodecError, match="no CUDA device"):
            pick_device("cuda")
