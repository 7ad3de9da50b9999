"""What many frames inherit is coded again by what the decoder made of it, as long as that pays."""

from typing import Any

import pytest
from clips import moving

from bcodec.codec import FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder import trial
from bcodec.encoder.effort import PLAIN
from bcodec.encoder.motion.find import find_motion
from bcodec.encoder.trial import CodedFrame, Task, code_frame, rd_cost
from bcodec.gop import Slot, intra_anchor, window
from bcodec.networks import Networks

FRAMES = moving(5, 64, 48, grain=3)
MIDDLE, LEAF, _ = window(0, 4, 4)[1:]


def task(slot: Slot) -> Task:
    return Task(slot, FRAMES[slot.poc], FRAMES[slot.poc], 40)


def coded(slot: Slot, networks: Networks) -> CodedFrame:
    """A frame of a window between two anchors, or one of these."""
    codec = FrameCodec(networks, 64, 48)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    if not slot.intra:
        for poc in (0, 4):
            codec.keep(code_frame(codec, dpb, task(intra_anchor(poc, 4)), PLAIN)[1], dpb)
    return code_frame(codec, dpb, task(slot), PLAIN)[0]


def test_coding_again_never_costs_more(tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round is kept only where it saves."""
    slot, costs = intra_anchor(0, 4), []
    for rounds in range(4):
        monkeypatch.setattr(trial, "ROUNDS", rounds)
        costs.append(rd_cost(coded(slot, tiny_networks), task(slot)))
    assert costs == sorted(costs, reverse=True)
    assert costs[1] < costs[0]


@pytest.mark.parametrize("slot", [LEAF, intra_anchor(0, 1)])
def test_what_no_frame_refers_to_is_coded_once(
    slot: Slot, tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not slot.referenced
    codings: list[int] = []
    original = FrameCodec.code

    def code(self: FrameCodec, symbols: Any, header: Any, *more: Any) -> Any:
        codings.append(header.poc)
        return original(self, symbols, header, *more)

    monkeypatch.setattr(FrameCodec, "code", code)
    coded(slot, tiny_networks)
    assert codings.count(slot.poc) == 1


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
