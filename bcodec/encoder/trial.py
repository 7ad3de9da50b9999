"""One frame coded by the one path, as a trial: what it takes, and how near the decoded picture comes."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from bcodec.bitstream import FrameType, Packet, PacketHeader
from bcodec.codec import Decoded, FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.effort import Effort
from bcodec.encoder.qp import coded_qp
from bcodec.encoder.rdoq import ThriftyWriter, shown
from bcodec.encoder.worth import frame_worth, growth, sample_worth
from bcodec.frame import Frame, picture_hash
from bcodec.gop import Slot
from bcodec.metrics import Quality, mean_squared_error
from bcodec.networks.intra import Begun
from bcodec.samples import to_tensor

Dpb: TypeAlias = DecodedPictureBuffer[Reference]


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


class Task(NamedTuple):
    """A frame to code: its place in the group, the picture, its qp, and the offset of its chroma's.

    Where the qp lies beyond 0..63, the frame is coded with the nearest, and errors are worth what they would
    be (-1.0, luma -0.9 % at qps 3 to 18: E884, E885).
    `source` is the picture that the networks see; loop filters and quality are by the original, `frame`.
    `share` [1, 1, H/16, W/16] is what errors in each block are worth, times what they usually are.
    """

    slot: Slot
    frame: Frame
    source: Frame
    qp: int
    chroma_offset: int = 0
    share: Tensor | None = None

    @property
    def header(self) -> PacketHeader:
        """The header of its packet."""
        slot = self.slot
        kind = FrameType.I if slot.intra else FrameType.B
        qp = coded_qp(self.qp)
        return PacketHeader(slot.poc, kind, slot.temporal_layer, qp, slot.referenced, self.chroma_offset)

    @property
    def beyond(self) -> int:
        """By how much the qp that suits it lies beyond that of its header."""
        return self.qp - coded_qp(self.qp)

    @property
    def worth(self) -> tuple[float, float, float]:
        """See `sample_worth`; later frames' share of errors is in the qp."""
        return sample_worth(self.qp, self.header.chroma_qp + self.beyond)


@dataclass(frozen=True, eq=False)
class Trial:
    """A frame as it was coded, the analyst who decided how, and where its latent begins: what was written."""

    task: Task
    analyst: Analyst
    written: ThriftyWriter
    begun: Begun
    coded: CodedFrame
    decoded: Decoded

    @property
    def cost(self) -> float:
        """See `rd_cost`."""
        return rd_cost(self.coded, self.task)


def code_frame(codec: FrameCodec, dpb: Dpb, task: Task, effort: Effort) -> Trial:
    """Code one frame with references from the DPB, which stays as it is."""
    began, header = perf_counter(), task.header
    analyst = Analyst(
        codec.networks.intra if task.slot.intra else codec.networks.bframe,
        to_tensor(task.source).to(codec.networks.device),
        # Errors of motion are absolute differences, worth the root of what squared ones are.
        effort.at_price(float(growth(torch.tensor(-task.beyond / 2)))),
        task.frame,
        # Where later frames refer to it, too: they inherit less of it than of symbols (measured: E243).
        task.worth,
    )
    worth = frame_worth(codec, header, task.beyond)
    if task.share is not None:
        worth = worth * task.share.to(codec.networks.device)
    symbols = ThriftyWriter(codec.tables, shown(codec.width, codec.height, codec.networks.device), worth)
    begun = codec.begin(symbols, header, dpb, analyst)
    return _complete(codec, task, analyst, symbols, begun, began)


def code_again(codec: FrameCodec, trial: Trial, rounds: int) -> Trial:
    """Code a frame by what the decoder made of it, so many times at most, as long as that costs less."""
    for _ in range(rounds):
        began = perf_counter()
        picture = to_tensor(trial.decoded.picture).to(codec.networks.device)
        trial.analyst.correct(trial.decoded.y_hat, picture)
        other = _complete(codec, trial.task, trial.analyst, trial.written, trial.begun, began)
        if other.cost >= trial.cost:
            break
        trial = other
    return trial


def _complete(
    codec: FrameCodec, task: Task, analyst: Analyst, written: ThriftyWriter, begun: Begun, began: float
) -> Trial:
    """Code the latent behind what is written, which stays as it is."""
    symbols, header, frame = written.fork(), task.header, task.frame
    decoded = codec.complete(symbols, header, begun, analyst)
    packet = Packet(header, symbols.payload, picture_hash(decoded.frame))
    quality = Quality.of(frame.planes, decoded.frame.planes)
    seconds = perf_counter() - began
    coded = CodedFrame(packet, quality, symbols.motion_bits, seconds, decoded.frame)
    return Trial(task, analyst, written, begun, coded, decoded)


def rd_cost(coded: CodedFrame, task: Task) -> float:
    """Bits of a frame, and what its errors are worth in it to who coded it as `task` or otherwise."""
    assert coded.quality
    lost = (
        each * plane.size * mean_squared_error(psnr)
        for each, plane, psnr in zip(task.worth, task.frame.planes, coded.quality.planes, strict=True)
    )
    return 8 * len(coded.packet.payload) + sum(lost)
