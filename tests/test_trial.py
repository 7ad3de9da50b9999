"""What many frames inherit is coded again by what the decoder made of it, as long as that pays."""

from typing import Any

import pytest
from clips import moving

from bcodec.bitstream import PacketHeader
from bcodec.codec import FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.effort import PLAIN, Preset
from bcodec.encoder.encode import Settings, code_groups, split
from bcodec.encoder.motion.find import find_motion
from bcodec.encoder.trial import Task, Trial, code_again, code_frame
from bcodec.encoder.worth import sample_worth
from bcodec.entropy.coder import RangeReader
from bcodec.frame import picture_hash
from bcodec.gop import Slot, intra_anchor, window
from bcodec.networks import Networks
from bcodec.networks.intra import Begun

FRAMES = moving(5, 64, 48, grain=3)
MIDDLE, *_ = window(0, 4, 4)[1:]


def task(slot: Slot) -> Task:
    return Task(slot, FRAMES[slot.poc], FRAMES[slot.poc], 40)


def coded(slot: Slot, networks: Networks, rounds: int = 3) -> Trial:
    """A frame of a window between two anchors, or one of these."""
    codec = FrameCodec(networks, 64, 48)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    if not slot.intra:
        for poc in (0, 4):
            codec.keep(code_frame(codec, dpb, task(intra_anchor(poc, 4)), PLAIN).decoded, dpb)
    return code_again(codec, code_frame(codec, dpb, task(slot), PLAIN), rounds)


def test_coding_again_never_costs_more(tiny_networks: Networks) -> None:
    """Each round is kept only where it saves."""
    costs = [coded(intra_anchor(0, 4), tiny_networks, rounds).cost for rounds in range(4)]
    assert costs == sorted(costs, reverse=True)
    assert costs[1] < costs[0]


def test_motion_is_found_once(tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not depend on what is decoded: searched for again, it would be the same."""
    searches: list[None] = []
    original = find_motion

    def find(*arguments: Any) -> Any:
        searches.append(None)
        return original(*arguments)

    monkeypatch.setattr("bcodec.encoder.analyst.find_motion", find)
    coded(MIDDLE, tiny_networks)
    assert len(searches) == 1


def test_only_the_latent_is_coded_again(tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it gives can be decoded like any other frame."""
    begun: list[PacketHeader] = []
    original = FrameCodec.begin

    def begin(self: FrameCodec, symbols: Any, header: PacketHeader, *others: Any) -> Begun:
        begun.append(header)
        return original(self, symbols, header, *others)

    monkeypatch.setattr(FrameCodec, "begin", begin)
    trial = coded(intra_anchor(0, 4), tiny_networks)
    assert len(begun) == 1
    codec, packet = FrameCodec(tiny_networks, 64, 48), trial.coded.packet
    again = codec.code(RangeReader(codec.tables, packet.payload), packet.header, DecodedPictureBuffer())
    assert picture_hash(again.frame) == packet.picture_hash


@pytest.mark.parametrize(("qp", "header_qp"), [(-14, 0), (-1, 0), (0, 0), (63, 63), (70, 63)])
def test_errors_are_worth_what_they_are_at_the_qp_that_suits_a_frame(qp: int, header_qp: int) -> None:
    suited = task(MIDDLE)._replace(qp=qp)
    assert suited.header.qp == header_qp
    assert suited.worth == sample_worth(qp, suited.header.chroma_qp + qp - header_qp)


def test_a_qp_that_no_header_can_say_takes_fewer_bits(tiny_networks: Networks) -> None:
    codec, dpb = FrameCodec(tiny_networks, 64, 48), DecodedPictureBuffer[Reference]()
    one, other = (
        code_frame(codec, dpb, task(intra_anchor(0, 4))._replace(qp=qp), PLAIN).coded for qp in (-14, 0)
    )
    assert one.packet.header == other.packet.header
    assert len(one.packet.payload) < len(other.packet.payload)


@pytest.mark.parametrize(
    ("gop_size", "again", "expected"),
    [(4, (2,), [0, 4]), (4, (2, 1), [0, 4, 2]), (4, (2, 2, 2, 2), [0, 4, 2]), (1, (2,), [])],
)
def test_frames_of_some_layers_are_coded_again_where_others_refer_to_them(
    tiny_networks: Networks,
    monkeypatch: pytest.MonkeyPatch,
    gop_size: int,
    again: tuple[int, ...],
    expected: list[int],
) -> None:
    seen: list[int] = []

    def code_again(_: FrameCodec, trial: Trial, rounds: int) -> Trial:
        assert rounds in (0, 1, 2)
        if rounds:
            seen.append(trial.task.slot.poc)
        return trial

    monkeypatch.setattr("bcodec.encoder.group.code_again", code_again)
    groups = split(FRAMES, Settings(40, gop_size, gop_size, temporal_filter=False))
    preset = Preset(tuned=False, again=again)
    assert len(list(code_groups(groups, 40, tiny_networks, preset))) == len(FRAMES)
    assert seen == expected
