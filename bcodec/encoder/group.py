"""One group of frames coded, in coding order: each frame by the one path, perhaps several times.

A frame may be coded more than once: to find the qp of chroma, and how precise and how dear motion should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import NamedTuple

import torch

from bcodec.bitstream import FrameType, Packet, PacketHeader
from bcodec.codec import Decoded, FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.effort import Effort, Preset
from bcodec.encoder.groups import Group
from bcodec.encoder.qp import chroma_offset, layer_qp
from bcodec.encoder.rdoq import ThriftyWriter, shown
from bcodec.encoder.tuning import Attempt, Tuning
from bcodec.encoder.worth import latent_worth, sample_worth
from bcodec.frame import Frame, picture_hash, to_tensor
from bcodec.gop import Slot, intra_anchor
from bcodec.metrics import Quality, mean_squared_error
from bcodec.networks import Networks
from bcodec.networks.motion.vectors import usual_precision


class CodedFrame(NamedTuple):
    """A frame as it was coded: its packet, how near the decoded picture is, what motion took of the payload.

    `motion_bits` are whole 32-bit words, as far as the range coder had come; `seconds` is time spent on it.
    Of a frame that was coded in an earlier run only the packet is known.
    """

    packet: Packet
    quality: Quality | None = None
    motion_bits: int = 0
    seconds: float = 0.0


Dpb = DecodedPictureBuffer[Reference]
_Tuning = Tuning[tuple[CodedFrame, Decoded]]


class GroupCoder:
    """Codes groups in any order: if need be, the I frame before a group is coded again."""

    def __init__(self, networks: Networks, preset: Preset) -> None:
        self.networks, self.preset = networks, preset
        self.codec: FrameCodec | None = None
        self.anchors: dict[tuple[int, int], _Anchor] = {}  # by poc and qp; the last two

    def code(self, group: Group, qp: float, past_qp: float | None = None) -> Iterator[CodedFrame]:
        """The frames of a group in coding order; `past_qp`, of the group before it, is `qp` if not given."""
        first = group.frames[0]
        codec = self.codec = self.codec or FrameCodec(self.networks, first.width, first.height)
        offset, dpb = 0, Dpb()
        tuning: _Tuning | None = Tuning(self.preset.effort) if self.preset.tuned else None
        if group.past and not all(slot.intra for slot in group.slots):
            anchor = self._anchor(codec, group, layer_qp(qp if past_qp is None else past_qp, 0))
            offset = anchor.chroma_offset
            dpb.insert(anchor.picture)
        for slot in group.slots:
            own, frame = layer_qp(qp, slot.temporal_layer), group.frame(slot)
            if slot.intra and slot.referenced:
                coded, anchor = self._code_anchor(codec, slot, frame, own)
                offset = anchor.chroma_offset
                dpb.insert(anchor.picture)
            elif slot.intra:
                coded, _ = _code_frame(codec, dpb, slot, frame, own, offset, self.preset.effort)
            else:
                coded = self._code_best(codec, dpb, slot, frame, own, offset, tuning)
            yield coded

    def _anchor(self, codec: FrameCodec, group: Group, qp: int) -> _Anchor:
        """The I frame before a group, from memory or coded again: always the same."""
        poc = group.start - 1
        if (poc, qp) not in self.anchors:
            assert group.past
            self._code_anchor(codec, intra_anchor(poc, 2), group.past, qp)
        self.anchors[poc, qp] = self.anchors.pop((poc, qp))  # the last to be forgotten
        return self.anchors[poc, qp]

    def _code_anchor(
        self, codec: FrameCodec, slot: Slot, frame: Frame, qp: int
    ) -> tuple[CodedFrame, _Anchor]:
        """Code an I frame to which others refer, and remember it."""
        began, dpb = perf_counter(), Dpb()
        coded, decoded = _code_frame(codec, dpb, slot, frame, qp, 0, self.preset.effort)
        assert coded.quality
        offset = chroma_offset(coded.quality) if self.preset.chroma else 0
        if offset:
            coded, decoded = _code_frame(codec, dpb, slot, frame, qp, offset, self.preset.effort)
        codec.keep(decoded, dpb)
        picture, _ = dpb.references(slot.poc + 1)
        anchor = _Anchor(picture, offset)
        self.anchors = dict([*self.anchors.items(), ((slot.poc, qp), anchor)][-2:])
        return coded._replace(seconds=perf_counter() - began), anchor

    def _code_best(
        self,
        codec: FrameCodec,
        dpb: Dpb,
        slot: Slot,
        frame: Frame,
        qp: int,
        offset: int,
        tuning: _Tuning | None,
    ) -> CodedFrame:
        """Code a B frame; of what is tried, that with the least bits and errors, by their worth, is kept."""
        began = perf_counter()

        def attempt(effort: Effort) -> Attempt[tuple[CodedFrame, Decoded]]:
            trials = []
            for price in self.preset.prices:
                priced = effort._replace(motion_price=effort.motion_price * price)
                coded, decoded = _code_frame(codec, dpb, slot, frame, qp, offset, priced)
                motion = coded.motion_bits / max(1, 8 * len(coded.packet.payload))
                trials.append(Attempt(effort, rd_cost(coded, frame), motion, (coded, decoded)))
            return min(trials, key=lambda trial: trial.cost)

        if tuning:
            coarsest = int(usual_precision(torch.tensor([qp])))
            best = tuning.code(slot.temporal_layer, coarsest, attempt)
        else:
            best = attempt(self.preset.effort)
        coded, decoded = best.coded
        codec.keep(decoded, dpb)
        return coded._replace(seconds=perf_counter() - began)


class _Anchor(NamedTuple):
    """A decoded I frame, and the offset of its chroma's qp, which the frames around it share."""

    picture: HeldPicture[Reference]
    chroma_offset: int


def rd_cost(coded: CodedFrame, frame: Frame) -> float:
    """Bits of a frame, and what its errors are worth in it: later frames' share is in its qp."""
    assert coded.quality
    worth = sample_worth(coded.packet.header.qp, coded.packet.header.chroma_qp)
    lost = (
        each * plane.size * mean_squared_error(psnr)
        for each, plane, psnr in zip(worth, frame.planes, coded.quality.planes, strict=True)
    )
    return 8 * len(coded.packet.payload) + sum(lost)


def _code_frame(
    codec: FrameCodec, dpb: Dpb, slot: Slot, frame: Frame, qp: int, offset: int, effort: Effort
) -> tuple[CodedFrame, Decoded]:
    """Code a frame with an offset to the qp of chroma."""
    began = perf_counter()
    kind = FrameType.I if slot.intra else FrameType.B
    header = PacketHeader(slot.poc, kind, slot.temporal_layer, qp, slot.referenced, offset)
    networks, qps = codec.networks, codec.qps(header)
    worth = latent_worth(*qps, networks.channels.y, referenced=slot.referenced)
    symbols = ThriftyWriter(codec.tables, shown(codec.width, codec.height, networks.device), worth)
    analyst = Analyst(
        networks.intra if slot.intra else networks.bframe,
        to_tensor(frame).to(networks.device),
        effort,
        frame if effort.loop_filter else None,
        # Where later frames refer to it, too: they inherit less of it than of symbols (measured: E243).
        sample_worth(header.qp, header.chroma_qp),
    )
    decoded = codec.code(symbols, header, dpb, analyst)
    packet = Packet(header, symbols.payload, picture_hash(decoded.frame))
    quality = Quality.of(frame.planes, decoded.frame.planes)
    return CodedFrame(packet, quality, symbols.motion_bits, perf_counter() - began), decoded
