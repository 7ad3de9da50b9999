"""The codec core: frames to packets and back through the one path that encoder and decoder share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from bcodec.bitstream import (
    AuxiliaryPacket,
    BitstreamError,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
)
from bcodec.dpb import DecodedPictureBuffer, DisplayOrder, MissingPicture, MissingReference, Reference
from bcodec.entropy import EntropyError, RangeReader, RangeWriter, Tables
from bcodec.fixedpoint import InexactDevice, exact_precision
from bcodec.frame import ALIGNMENT, Frame, finish, picture_hash, to_frame, to_tensor
from bcodec.gop import Slot, intra_anchor, window
from bcodec.networks import Networks, ReferencePicture, SymbolCoder

ARITHMETIC_VERSION = 1
HIGHEST_QP = 63
# Frames that are referred to more deserve more: offsets to qp for temporal layers 0, 1, 2, ...
LAYER_QP = (6, 0, -3, -6, -8, -10, -11, -12)
LATENT_PITCH = 16  # luma samples


class CodecError(Exception):
    """Packets that cannot be decoded, or a device that cannot be used; the message is one clear line."""


@dataclass(frozen=True)
class Settings:
    """What an encoder may choose: qp 0..63 (higher is better and bigger) and GOP size 1..64.

    Raises ValueError outside these ranges.
    """

    qp: int = 32
    gop_size: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.qp <= HIGHEST_QP:
            raise ValueError(f"qp is {self.qp}, outside 0..{HIGHEST_QP}")
        if not 1 <= self.gop_size <= 64:
            raise ValueError(f"GOP size is {self.gop_size}, outside 1..64")


def layer_qp(qp: int, temporal_layer: int) -> int:
    """The qp of a frame: the user's, moved by the temporal layer's offset, in 0..63."""
    return min(max(qp + LAYER_QP[temporal_layer], 0), HIGHEST_QP)


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


class FrameCodec:
    """Codes one frame after the other, either way, with the decoded picture buffer between them."""

    def __init__(self, networks: Networks, width: int, height: int) -> None:
        self.networks, self.tables = networks, Tables(networks.tables)
        rows, columns = (-(-side // ALIGNMENT) * ALIGNMENT // LATENT_PITCH for side in (height, width))
        self.latent_size = rows, columns
        # Of the padded picture only what is shown deserves bits.
        self.shown = torch.zeros(1, 1, rows, columns, dtype=torch.bool, device=networks.device)
        self.shown[:, :, : -(-height // LATENT_PITCH), : -(-width // LATENT_PITCH)] = True
        self.dpb: DecodedPictureBuffer[ReferencePicture] = DecodedPictureBuffer()

    @torch.no_grad()
    def code(self, symbols: SymbolCoder, header: PacketHeader, source: Tensor | None = None) -> Tensor:
        """The one path: the decoded picture [1, 6, H/2, W/2]; `source`, of the same shape, when encoding.

        Raises MissingReference.
        """
        networks = self.networks
        qp = torch.tensor([header.qp], device=networks.device)
        if header.frame_type is FrameType.I:
            x_hat, y_hat = networks.intra(symbols, qp, self.latent_size, source)
        else:
            past, future = self.dpb.references(header.poc)
            distances = (header.poc - past.poc, future.poc - header.poc)
            x_hat, y_hat = networks.bframe(symbols, past.picture, future.picture, distances, qp, source)
        x_hat = finish(x_hat)
        if header.referenced:
            picture = networks.reference(x_hat, y_hat, qp)
            self.dpb.insert(Reference(header.poc, header.temporal_layer, picture))
        return x_hat


def encode(frames: Iterable[Frame], settings: Settings, networks: Networks) -> Iterator[Packet]:
    """Packets in coding order for frames in display order; holds one GOP window of frames.

    All frames must be of one size; raises ValueError otherwise.
    """
    source = iter(frames)
    first = next(source, None)
    if first is None:
        return
    codec = FrameCodec(networks, first.width, first.height)
    yield _encode_frame(codec, intra_anchor(0, settings.gop_size), first, settings)
    anchor = 0
    while pictures := list(islice(source, settings.gop_size)):
        for slot in window(anchor, len(pictures), settings.gop_size):
            frame = pictures[slot.poc - anchor - 1]
            if (frame.width, frame.height) != (first.width, first.height):
                raise ValueError(f"frame {slot.poc} is {frame.width}x{frame.height}, the first is not")
            yield _encode_frame(codec, slot, frame, settings)
        anchor += len(pictures)


def _encode_frame(codec: FrameCodec, slot: Slot, frame: Frame, settings: Settings) -> Packet:
    kind = FrameType.I if slot.intra else FrameType.B
    qp = layer_qp(settings.qp, slot.temporal_layer)
    header = PacketHeader(slot.poc, kind, slot.temporal_layer, qp, slot.referenced)
    symbols = RangeWriter(codec.tables, codec.shown)
    x_hat = codec.code(symbols, header, to_tensor(frame).to(codec.networks.device))
    return Packet(header, symbols.payload, picture_hash(to_frame(x_hat, frame.width, frame.height)))


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
            frame = _decode_frame(codec, packet, width, height)
            ready = shown.push(poc, frame)
        except (EntropyError, MissingReference, MissingPicture, BitstreamError) as error:
            raise CodecError(f"frame {poc}: {error}") from error
        yield from ready
    if shown is not None and len(shown):
        raise CodecError(f"the stream ends while {len(shown)} frames wait for an earlier one")


def _decode_frame(codec: FrameCodec, packet: Packet, width: int, height: int) -> Frame:
    symbols = RangeReader(codec.tables, packet.payload)
    frame = to_frame(codec.code(symbols, packet.header), width, height)
    if picture_hash(frame) != packet.picture_hash:
        raise EntropyError("the decoded picture is not the one that was encoded (hash differs)")
    return frame


def check_header(header: SequenceHeader, networks: Networks) -> None:
    """Refuse what these weights and this arithmetic cannot decode; raises CodecError naming both sides."""
    if header.arithmetic_version != ARITHMETIC_VERSION:
        raise CodecError(
            f"coded with arithmetic version {header.arithmetic_version}, this bcodec has {ARITHMETIC_VERSION}"
        )
    if header.model_id != networks.model_id:
        raise CodecError(f"coded with model {header.model_id.hex()}, the weights here are {networks.model_id.hex()}")
    if header.bit_depth != 8:
        raise CodecError(f"{header.bit_depth}-bit pictures are not supported")
