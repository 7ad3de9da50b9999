"""The codec core: frames to packets and back through the one path that encoder and decoder share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    AuxiliaryPacket,
    BitstreamError,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
)
from bcodec.chroma import chroma_offset
from bcodec.dpb import DecodedPictureBuffer, DisplayOrder, MissingPicture, MissingReference, Reference
from bcodec.entropy import EntropyError, RangeReader, RangeWriter, Tables
from bcodec.fixedpoint import InexactDevice, exact_precision
from bcodec.frame import ALIGNMENT, Frame, finish, picture_hash, to_frame, to_tensor
from bcodec.gop import Slot, intra_anchor
from bcodec.groups import Group, groups
from bcodec.metrics import Quality, mean_squared_error
from bcodec.networks import (
    Networks,
    ReferencePicture,
    SymbolCoder,
    Track,
    loop_filter,
    sample_worth,
    usual_precision,
)
from bcodec.presets import PLAIN, PRESETS, Effort, Preset
from bcodec.tuning import Trial, Tuning

HIGHEST_QP = 63
# Frames that are referred to more deserve more: offsets to qp for temporal layers 0, 1, 2, ...
LAYER_QP = (8, 2, -3, -8, -12, -14, -15, -16)
# A qp between two integers raises some layers: layer L from a fraction of 1 - LAYER_STEP[L] on.
LAYER_STEP = (4 / 8, 2 / 8, 3 / 8, 5 / 8, 6 / 8, 7 / 8, 1 / 8, 1 / 8)
CONTENT_CALLS = 8  # to the symbol coder: hyper-latent, block sizes (3), the latent (4); motion comes before
FILTER_CALLS = 2  # behind them: which filters there are, and their shares
LATENT_PITCH = 16  # luma samples


class CodecError(Exception):
    """Packets that cannot be decoded, or a device that cannot be used; the message is one clear line."""


@dataclass(frozen=True)
class Settings:
    """What an encoder may choose: qp 0..63 (higher is better and bigger) and GOP size 1..64.

    A qp may lie between two integers, by eighths. `scene_cut`: begin each scene with an I frame.
    `preset`: "fast", "medium" or "slow", how much is tried. Raises ValueError for anything else.
    """

    qp: float = 32
    gop_size: int = 32
    scene_cut: bool = False
    preset: str = "medium"

    def __post_init__(self) -> None:
        if not 0 <= self.qp <= HIGHEST_QP:
            raise ValueError(f"qp is {self.qp}, outside 0..{HIGHEST_QP}")
        if not 1 <= self.gop_size <= 64:
            raise ValueError(f"GOP size is {self.gop_size}, outside 1..64")
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}, but {', '.join(PRESETS)}")


def layer_qp(qp: float, temporal_layer: int) -> int:
    """The qp of a frame: the user's, moved by the temporal layer's offset, in 0..63."""
    moved = math.floor(qp + LAYER_STEP[temporal_layer])
    return min(max(moved + LAYER_QP[temporal_layer], 0), HIGHEST_QP)


def pick_device(name: str) -> str:
    """A device that computes exactly: "auto" (CUDA if present), "cpu" or "cuda". Raises CodecError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise CodecError("no CUDA device is available")
    try:
        exact_precision(name)
    except InexactDevice as error:
        raise CodecError(str(error)) from error
    return name


class Decoded(NamedTuple):
    """A decoded picture, and what else its reference is made of: its latent and, of a B frame, its motion."""

    header: PacketHeader
    frame: Frame
    y_hat: Tensor
    track: Track | None


class FrameCodec:
    """Codes one frame after the other, either way, with the decoded picture buffer between them."""

    def __init__(self, networks: Networks, width: int, height: int) -> None:
        self.networks, self.tables = networks, Tables(networks.tables)
        self.width, self.height = width, height
        rows, columns = (-(-side // ALIGNMENT) * ALIGNMENT // LATENT_PITCH for side in (height, width))
        self.latent_size = rows, columns
        # Of the padded picture only what is shown deserves bits.
        self.shown = torch.zeros(1, 1, rows, columns, dtype=torch.bool, device=networks.device)
        self.shown[:, :, : -(-height // LATENT_PITCH), : -(-width // LATENT_PITCH)] = True
        self.dpb: DecodedPictureBuffer[ReferencePicture] = DecodedPictureBuffer()

    def qps(self, header: PacketHeader) -> tuple[Tensor, Tensor]:
        """The qp of a frame and of its chroma, each [1]."""
        qp, chroma_qp = torch.tensor([[header.qp], [header.chroma_qp]], device=self.networks.device)
        return qp, chroma_qp

    @torch.no_grad()
    def code(
        self,
        symbols: SymbolCoder,
        header: PacketHeader,
        source: Tensor | None = None,
        effort: Effort = PLAIN,
    ) -> Decoded:
        """The one path: the decoded picture; `source` [1, 6, H/2, W/2], padded, when encoding, with `effort`.

        Later frames can refer to it once it is kept. Raises MissingReference.
        """
        networks = self.networks
        qp, chroma_qp = self.qps(header)
        track = None
        if header.frame_type is FrameType.I:
            x_hat, y_hat = networks.intra(symbols, qp, self.latent_size, source, chroma_qp=chroma_qp)
        else:
            past, future = self.dpb.references(header.poc)
            distances = (header.poc - past.poc, future.poc - header.poc)
            x_hat, y_hat, track = networks.bframe(
                symbols,
                past.picture,
                future.picture,
                distances,
                qp,
                source,
                chroma_qp=chroma_qp,
                effort=effort,
            )
        frame = to_frame(finish(x_hat), self.width, self.height)
        frame = self._filter(symbols, header, frame, source, fit=effort.loop_filter)
        return Decoded(header, frame, y_hat, track)

    @torch.no_grad()
    def keep(self, decoded: Decoded) -> None:
        """Hold a decoded picture for later frames, if any refers to it."""
        header, frame, y_hat, track = decoded
        if header.referenced:
            # A reference is padded anew, as sources are: what was decoded there got no bits.
            padded, (qp, _) = to_tensor(frame).to(self.networks.device), self.qps(header)
            picture = self.networks.reference(padded, y_hat, qp, track)
            self.dpb.insert(Reference(header.poc, header.temporal_layer, picture))

    def _filter(
        self, symbols: SymbolCoder, header: PacketHeader, frame: Frame, source: Tensor | None, *, fit: bool
    ) -> Frame:
        """The decoded frame with its loop filter applied, which is coded here."""
        qps = header.qp, header.chroma_qp
        steps = self.networks.level_steps(*qps, intra=header.frame_type is FrameType.I)
        original = None if source is None else to_frame(source, self.width, self.height).planes
        # Where later frames refer to it, too: what they inherit of it is less than of symbols (measured).
        worth = sample_worth(*qps) if fit else (0.0, 0.0, 0.0)
        return Frame(*loop_filter(symbols, frame.planes, steps, original, worth))


class CodedFrame(NamedTuple):
    """A frame as it was coded: its packet, how near the decoded picture is, what motion took of the payload.

    `motion_bits` are whole 32-bit words, as far as the range coder had come; `seconds` is time spent on it.
    Of a frame that was coded in an earlier run only the packet is known.
    """

    packet: Packet
    quality: Quality | None = None
    motion_bits: int = 0
    seconds: float = 0.0


def encode(frames: Iterable[Frame], settings: Settings, networks: Networks) -> Iterator[Packet]:
    """Packets in coding order for frames in display order; holds one GOP window of frames.

    All frames must be of one size; raises ValueError otherwise.
    """
    return (coded.packet for coded in code_frames(frames, settings, networks))


def code_frames(frames: Iterable[Frame], settings: Settings, networks: Networks) -> Iterator[CodedFrame]:
    """What `encode` does, with all that is known of each frame."""
    return code_groups(split(frames, settings), settings.qp, networks, PRESETS[settings.preset])


def split(frames: Iterable[Frame], settings: Settings) -> Iterator[Group]:
    """The groups that are coded one after the other, or in several processes at once."""
    return groups(frames, settings.gop_size, scene_cut=settings.scene_cut)


def code_groups(
    parts: Iterable[Group], qp: float, networks: Networks, preset: Preset
) -> Iterator[CodedFrame]:
    """The frames of consecutive groups, in coding order."""
    coder = GroupCoder(networks, preset)
    for group in parts:
        yield from coder.code(group, qp)


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
        offset = 0
        tuning: _Tuning | None = Tuning(self.preset.effort) if self.preset.tuned else None
        if group.past and not all(slot.intra for slot in group.slots):
            anchor = self._anchor(codec, group, layer_qp(qp if past_qp is None else past_qp, 0))
            offset = anchor.chroma_offset
            codec.dpb = DecodedPictureBuffer()
            codec.dpb.insert(anchor.reference)
        for slot in group.slots:
            own, frame = layer_qp(qp, slot.temporal_layer), group.frame(slot)
            if slot.intra and slot.referenced:
                coded = self._code_anchor(codec, slot, frame, own)
                offset = coded.packet.header.chroma_offset
            elif slot.intra:
                coded, _ = _code_frame(codec, slot, frame, own, offset, self.preset.effort)
            else:
                coded = self._code_best(codec, slot, frame, own, offset, tuning)
            yield coded

    def _anchor(self, codec: FrameCodec, group: Group, qp: int) -> _Anchor:
        """The I frame before a group, from memory or coded again: always the same."""
        poc = group.start - 1
        if (poc, qp) not in self.anchors:
            assert group.past
            self._code_anchor(codec, intra_anchor(poc, 2), group.past, qp)
        self.anchors[poc, qp] = self.anchors.pop((poc, qp))  # the last to be forgotten
        return self.anchors[poc, qp]

    def _code_anchor(self, codec: FrameCodec, slot: Slot, frame: Frame, qp: int) -> CodedFrame:
        """Code an I frame to which others refer, and remember it."""
        began = perf_counter()
        coded, decoded = _code_frame(codec, slot, frame, qp, 0, self.preset.effort)
        assert coded.quality
        offset = chroma_offset(coded.quality) if self.preset.chroma else 0
        if offset:
            coded, decoded = _code_frame(codec, slot, frame, qp, offset, self.preset.effort)
        codec.keep(decoded)
        reference, _ = codec.dpb.references(slot.poc + 1)
        anchor = _Anchor(reference, offset)
        self.anchors = dict([*self.anchors.items(), ((slot.poc, qp), anchor)][-2:])
        return coded._replace(seconds=perf_counter() - began)

    def _code_best(  # noqa: PLR0917
        self, codec: FrameCodec, slot: Slot, frame: Frame, qp: int, offset: int, tuning: _Tuning | None
    ) -> CodedFrame:
        """Code a B frame; of what is tried, that with the least bits and errors, by their worth, is kept."""
        began = perf_counter()

        def attempt(effort: Effort) -> Trial[tuple[CodedFrame, Decoded]]:
            trials = []
            for price in self.preset.prices:
                priced = effort._replace(motion_price=effort.motion_price * price)
                coded, decoded = _code_frame(codec, slot, frame, qp, offset, priced)
                motion = coded.motion_bits / max(1, 8 * len(coded.packet.payload))
                trials.append(Trial(effort, _cost(coded, frame), motion, (coded, decoded)))
            return min(trials, key=lambda trial: trial.cost)

        if tuning:
            coarsest = int(usual_precision(torch.tensor([qp])))
            best = tuning.code(slot.temporal_layer, coarsest, attempt)
        else:
            best = attempt(self.preset.effort)
        coded, decoded = best.coded
        codec.keep(decoded)
        return coded._replace(seconds=perf_counter() - began)


class _Anchor(NamedTuple):
    """A decoded I frame, and the offset of its chroma's qp, which the frames around it share."""

    reference: Reference[ReferencePicture]
    chroma_offset: int


def _cost(coded: CodedFrame, frame: Frame) -> float:
    """Bits of a frame, and what its errors are worth in it: later frames' share is in its qp (measured)."""
    assert coded.quality
    worth = sample_worth(coded.packet.header.qp, coded.packet.header.chroma_qp)
    lost = (
        each * plane.size * mean_squared_error(psnr)
        for each, plane, psnr in zip(worth, frame.planes, coded.quality.planes, strict=True)
    )
    return 8 * len(coded.packet.payload) + sum(lost)


def _code_frame(  # noqa: PLR0917
    codec: FrameCodec, slot: Slot, frame: Frame, qp: int, offset: int, effort: Effort
) -> tuple[CodedFrame, Decoded]:
    """Code a frame with an offset to the qp of chroma."""
    began = perf_counter()
    kind = FrameType.I if slot.intra else FrameType.B
    header = PacketHeader(slot.poc, kind, slot.temporal_layer, qp, slot.referenced, offset)
    worth = codec.networks.worth(*codec.qps(header), referenced=slot.referenced)
    symbols = _MeasuringWriter(codec.tables, codec.shown, worth)
    decoded = codec.code(symbols, header, to_tensor(frame).to(codec.networks.device), effort)
    packet = Packet(header, symbols.payload, picture_hash(decoded.frame))
    quality = Quality.of(frame.planes, decoded.frame.planes)
    return CodedFrame(packet, quality, symbols.motion_bits, perf_counter() - began), decoded


class _MeasuringWriter(RangeWriter):
    """A writer that knows how long the payload was before the content of the frame."""

    def __init__(self, tables: Tables, shown: Tensor, worth: Tensor) -> None:
        super().__init__(tables, shown, worth)
        self.lengths = [0]  # bits before each call

    def code(
        self,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
    ) -> Tensor:
        value = super().code(y, mean, scale, step, mask, heavy=heavy)
        self.lengths.append(self.encoder.num_bits())
        return value

    @property
    def motion_bits(self) -> int:
        return self.lengths[-1 - CONTENT_CALLS - FILTER_CALLS]


def decode(
    packets: Iterable[Packet | AuxiliaryPacket], header: SequenceHeader, networks: Networks
) -> Iterator[Frame]:
    """Frames in display order, from the first I frame on; B frames that lead it in display order are dropped.

    Auxiliary packets are passed over. Raises CodecError, which names the frame, after everything before the
    damage has been yielded; a BitstreamError of `packets` passes through in the same way.
    """
    check_header(header, networks)
    width, height = header.video.width, header.video.height
    codec = FrameCodec(networks, width, height)
    shown: DisplayOrder[Frame] | None = None
    first = 0
    for packet in packets:
        if not isinstance(packet, Packet):
            continue
        poc = packet.header.poc
        if shown is None:
            if packet.header.frame_type is not FrameType.I:
                raise CodecError(f"frame {poc}: the stream does not begin with an I frame")
            first, shown = poc, DisplayOrder(poc, capacity=header.gop_size.bit_length() + 1)
        if poc < first:
            continue
        try:
            frame = _decode_frame(codec, packet)
            ready = shown.push(poc, frame)
        except (EntropyError, MissingReference, MissingPicture, BitstreamError) as error:
            raise CodecError(f"frame {poc}: {error}") from error
        yield from ready
    if shown is not None and len(shown):
        raise CodecError(f"the stream ends while {len(shown)} frames wait for an earlier one")


def _decode_frame(codec: FrameCodec, packet: Packet) -> Frame:
    symbols = RangeReader(codec.tables, packet.payload)
    decoded = codec.code(symbols, packet.header)
    if picture_hash(decoded.frame) != packet.picture_hash:
        raise EntropyError("the decoded picture is not the one that was encoded (hash differs)")
    codec.keep(decoded)
    return decoded.frame


def check_header(header: SequenceHeader, networks: Networks) -> None:
    """Refuse what these weights and this arithmetic cannot decode; raises CodecError naming both sides."""
    if header.arithmetic_version != ARITHMETIC_VERSION:
        raise CodecError(
            f"coded with arithmetic version {header.arithmetic_version}, this bcodec has {ARITHMETIC_VERSION}"
        )
    if header.model_id != networks.model_id:
        raise CodecError(
            f"coded with model {header.model_id.hex()}, the weights here are {networks.model_id.hex()}"
        )
    if header.bit_depth != 8:
        raise CodecError(f"{header.bit_depth}-bit pictures are not supported")
