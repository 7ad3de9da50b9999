"""A frame is coded part by part, always in one order, and the bits of each part are told."""

from itertools import groupby
from typing import Any

import pytest
from clips import moving
from torch import Tensor

from bcodec.bitstream import FrameType, PacketHeader
from bcodec.codec import FrameCodec
from bcodec.coding import OF_MOTION, Part, Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.rdoq import ThriftyWriter
from bcodec.entropy.tables import Tables
from bcodec.networks import Networks
from bcodec.samples import to_tensor

CONTENT = [part for part in Part if part not in OF_MOTION]


class Recorder(ThriftyWriter):
    """A writer that remembers what each call coded, and how far the range coder had come after it."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.calls: list[tuple[Part, int]] = []

    def code(self, part: Part, *arguments: Any, **more: Any) -> Tensor:
        value = super().code(part, *arguments, **more)
        self.calls.append((part, self.encoder.num_bits()))
        return value

    @property
    def parts(self) -> list[Part]:
        return [part for part, _ in self.calls]


@pytest.fixture(scope="module")
def written(tiny_networks: Networks) -> tuple[Recorder, Recorder]:
    """An I frame as it was written, and a B frame behind it."""
    codec, dpb = FrameCodec(tiny_networks, 64, 48), DecodedPictureBuffer[Reference]()
    first, second = moving(2, 64, 48)
    intra, b = Recorder(codec.tables), Recorder(codec.tables)
    analysts = (
        Analyst(tiny_networks.intra, to_tensor(first)),
        Analyst(tiny_networks.bframe, to_tensor(second)),
    )
    codec.keep(codec.code(intra, PacketHeader(0, FrameType.I, 0, 40, True), dpb, analysts[0]), dpb)
    codec.code(b, PacketHeader(1, FrameType.B, 0, 40, False), dpb, analysts[1])
    return intra, b


def test_parts_are_coded_in_the_order_in_which_they_are_listed(written: tuple[Recorder, Recorder]) -> None:
    intra, b = ([part for part, _ in groupby(writer.parts)] for writer in written)
    assert intra == CONTENT
    assert b == list(Part)


def test_an_i_frame_is_coded_in_four_turns_and_else_as_the_content_of_a_b_frame(
    written: tuple[Recorder, Recorder],
) -> None:
    intra, b = (writer.parts for writer in written)
    assert (len(intra), len(b)) == (23, 25)  # two of each for the loop filter
    assert intra.count(Part.CONTENT) == 4 * b.count(Part.CONTENT)
    once, other = ([part for part in parts if part is not Part.CONTENT] for parts in (intra, b[14:]))
    assert once == other


def test_bits_of_the_parts_add_up_and_those_of_motion_come_first(written: tuple[Recorder, Recorder]) -> None:
    for writer in written:
        assert writer.bits.total() == writer.encoder.num_bits()
        motion = [bits for part, bits in writer.calls if part in OF_MOTION]
        assert writer.motion_bits == (motion[-1] if motion else 0)
    assert 0 < written[1].motion_bits < written[1].encoder.num_bits()
