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
from bcodec.encoder.temporalfilter import Source, filtered
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
    `picture` is what it decodes to, where that is wanted. Of a frame that was coded in an earlier run only
    the packet is known.
    """

    packet: Packet
    quality: Quality | None = None
    motion_bits: int = 0
    seconds: float = 0.0
    picture: Frame | None = None


Dpb = DecodedPictureBuffer[Reference]
_Attempts = Attempt[tuple[CodedFrame, Decoded]]
_Tuning = Tuning[tuple[CodedFrame, Decoded]]


class Task(NamedTuple):
    """A frame to code: its place in the group, the picture, its qp, and the offset of its chroma's.

    `source` is the picture that the networks see; loop filters and quality are by the original, `frame`.
    """

    slot: Slot
    frame: Frame
    source: Frame
    qp: int
    chroma_offset: int = 0

    @property
    def header(self) -> PacketHeader:
        """The header of its packet."""
        slot = self.slot
        kind = FrameType.I if slot.intra else FrameType.B
        return PacketHeader(slot.poc, kind, slot.temporal_layer, self.qp, slot.referenced, self.chroma_offset)


class _Anchor(NamedTuple):
    """A decoded I frame, and the offset of its chroma's qp, which the frames around it share."""

    picture: HeldPicture[Reference]
    chroma_offset: int


class GroupCoder:
    """Codes groups in any order: if need be, the I frame before a group is coded again.

    `pictures`: the decoded pictures are wanted, too.
    """

    def __init__(self, networks: Networks, preset: Preset, *, pictures: bool = False) -> None:
        self.networks, self.preset, self.pictures = networks, preset, pictures
        self.codec: FrameCodec | None = None
        self.anchors: dict[tuple[int, int], _Anchor] = {}  # by poc and qp; the last two

    def code(self, group: Group, qp: float, past_qp: float | None = None) -> Iterator[CodedFrame]:
        """The frames of a group in coding order; `past_qp`, of the group before it, is `qp` if not given."""
        first = group.frames[0].frame
        codec = self.codec = self.codec or FrameCodec(self.networks, first.width, first.height)
        offset, dpb = 0, Dpb()
        tuning: _Tuning | None = Tuning(self.preset.effort) if self.preset.tuned else None
        if group.past and not all(slot.intra for slot in group.slots):
            own = layer_qp(qp if past_qp is None else past_qp, 0)
            anchor = self._anchor(codec, self._task(intra_anchor(group.start - 1, 2), group.past, own))
            offset = anchor.chroma_offset
            dpb.insert(anchor.picture)
        for slot in group.slots:
            task = self._task(slot, group.frame(slot), layer_qp(qp, slot.temporal_layer), offset)
            if slot.intra and slot.referenced:
                coded, anchor = self._code_anchor(codec, task)
                offset = anchor.chroma_offset
                dpb.insert(anchor.picture)
            elif slot.intra:
                coded, _ = code_frame(codec, dpb, task, self.preset.effort)
            else:
                coded = self._code_best(codec, dpb, task, tuning)
            yield coded if self.pictures else coded._replace(picture=None)

    def _task(self, slot: Slot, source: Source, qp: int, offset: int = 0) -> Task:
        """What to code in a slot: where others refer to it, the picture is filtered."""
        seen = source.frame
        if slot.referenced:
            luma, *_ = self.networks.level_steps(qp, qp, intra=slot.intra)
            seen = filtered(source, luma, slot.temporal_layer)
        return Task(slot, source.frame, seen, qp, offset)

    def _anchor(self, codec: FrameCodec, task: Task) -> _Anchor:
        """The I frame before a group, from memory or coded again: always the same."""
        key = task.slot.poc, task.qp
        if key not in self.anchors:
            self._code_anchor(codec, task)
        self.anchors[key] = self.anchors.pop(key)  # the last to be forgotten
        return self.anchors[key]

    def _code_anchor(self, codec: FrameCodec, task: Task) -> tuple[CodedFrame, _Anchor]:
        """Code an I frame to which others refer, and remember it."""
        began, dpb = perf_counter(), Dpb()
        task = task._replace(chroma_offset=0)
        coded, decoded = code_frame(codec, dpb, task, self.preset.effort)
        assert coded.quality
        offset = chroma_offset(coded.quality) if self.preset.chroma else 0
        if offset:
            task = task._replace(chroma_offset=offset)
            coded, decoded = code_frame(codec, dpb, task, self.preset.effort)
        codec.keep(decoded, dpb)
        picture, _ = dpb.references(task.slot.poc + 1)
        anchor = _Anchor(picture, offset)
        self.anchors = dict([*self.anchors.items(), ((task.slot.poc, task.qp), anchor)][-2:])
        return coded._replace(seconds=perf_counter() - began), anchor

    def _code_best(self, codec: FrameCodec, dpb: Dpb, task: Task, tuning: _Tuning | None) -> CodedFrame:
        """Code a B frame; of what is tried, that with the least bits and errors, by their worth, is kept."""
        began = perf_counter()

        def attempt(effort: Effort) -> _Attempts:
            attempts = []
            for price in self.preset.prices:
                priced = effort._replace(motion_price=effort.motion_price * price)
                coded, decoded = code_frame(codec, dpb, task, priced)
                motion = coded.motion_bits / max(1, 8 * len(coded.packet.payload))
                attempts.append(Attempt(effort, rd_cost(coded, task.frame), motion, (coded, decoded)))
            return min(attempts, key=lambda made: made.cost)

        if tuning:
            coarsest = int(usual_precision(torch.tensor([task.qp])))
            best = tuning.code(task.slot.temporal_layer, coarsest, attempt)
        else:
            best = attempt(self.preset.effort)
        coded, decoded = best.coded
        codec.keep(decoded, dpb)
        return coded._replace(seconds=perf_counter() - began)


def code_frame(codec: FrameCodec, dpb: Dpb, task: Task, effort: Effort) -> tuple[CodedFrame, Decoded]:
    """Code one frame with references from the DPB, which stays as it is."""
    began = perf_counter()
    networks, header, frame = codec.networks, task.header, task.frame
    worth = latent_worth(*codec.qps(header), networks.channels.y, referenced=header.referenced)
    symbols = ThriftyWriter(codec.tables, shown(codec.width, codec.height, networks.device), worth)
    analyst = Analyst(
        networks.intra if task.slot.intra else networks.bframe,
        to_tensor(task.source).to(networks.device),
        effort,
        frame if effort.loop_filter else None,
        # Where later frames refer to it, too: they inherit less of it than of symbols (measured: E243).
        sample_worth(header.qp, header.chroma_qp),
    )
    decoded = codec.code(symbols, header, dpb, analyst)
    packet = Packet(header, symbols.payload, picture_hash(decoded.frame))
    quality = Quality.of(frame.planes, decoded.frame.planes)
    seconds = perf_counter() - began
    return CodedFrame(packet, quality, symbols.motion_bits, seconds, decoded.frame), decoded


def rd_cost(coded: CodedFrame, frame: Frame) -> float:
    """Bits of a frame, and what its errors are worth in it: later frames' share is in its qp."""
    assert coded.quality
    worth = sample_worth(coded.packet.header.qp, coded.packet.header.chroma_qp)
    lost = (
        each * plane.size * mean_squared_error(psnr)
        for each, plane, psnr in zip(worth, frame.planes, coded.quality.planes, strict=True)
    )
    return 8 * len(coded.packet.payload) + sum(lost)
