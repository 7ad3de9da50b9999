"""The codec core: the one path that encoder and decoder share, and packets to frames by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    FORMAT_VERSION,
    AuxiliaryPacket,
    FrameType,
    Packet,
    PacketHeader,
    SequenceHeader,
)
from bcodec.bitstream.versions import decoder_of
from bcodec.coding import LATENT_PITCH, CollocatedMotion, Encoder, Reference, SymbolCoder
from bcodec.dpb import DecodedPictureBuffer, DisplayOrder, HeldPicture
from bcodec.entropy.coder import RangeReader
from bcodec.entropy.tables import Tables
from bcodec.errors import (
    BitstreamError,
    CodecError,
    EntropyError,
    InexactDevice,
    MissingPicture,
    MissingReference,
)
from bcodec.fixedpoint import exact_precision
from bcodec.frame import Frame, aligned, finish, picture_hash, to_frame, to_tensor
from bcodec.networks import Networks
from bcodec.networks.loopfilter import loop_filter


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
    """A decoded frame as it is shown, and what its reference is made of.

    That is the picture in all its ten bits, its latent and, of a B frame, its motion.
    """

    header: PacketHeader
    frame: Frame
    picture: Frame
    y_hat: Tensor
    motion: CollocatedMotion | None


class FrameCodec:
    """Codes frames of one size and depth, either way: the one path that encoder and decoder share."""

    def __init__(self, networks: Networks, width: int, height: int, bit_depth: int = 8) -> None:
        self.networks, self.tables = networks, Tables(networks.tables)
        self.width, self.height, self.bit_depth = width, height, bit_depth
        rows, columns = (aligned(side) // LATENT_PITCH for side in (height, width))
        self.latent_size = rows, columns

    def qps(self, header: PacketHeader) -> tuple[Tensor, Tensor]:
        """The qp of a frame and of its chroma, each [1]."""
        qp, chroma_qp = torch.tensor([[header.qp], [header.chroma_qp]], device=self.networks.device)
        return qp, chroma_qp

    @torch.no_grad()
    def code(
        self,
        symbols: SymbolCoder,
        header: PacketHeader,
        dpb: DecodedPictureBuffer[Reference],
        encoder: Encoder | None = None,
    ) -> Decoded:
        """The decoded picture, with references from the DPB; later frames can refer to it once it is kept.

        Raises MissingReference.
        """
        networks = self.networks
        qp, chroma_qp = self.qps(header)
        motion = None
        if header.frame_type is FrameType.I:
            x_hat, y_hat = networks.intra(symbols, qp, self.latent_size, encoder, chroma_qp=chroma_qp)
        else:
            past, future = dpb.references(header.poc)
            distances = (header.poc - past.poc, future.poc - header.poc)
            x_hat, y_hat, motion = networks.bframe(
                symbols, past.picture, future.picture, distances, qp, encoder, chroma_qp=chroma_qp
            )
        picture = to_frame(finish(x_hat), self.width, self.height)
        steps = networks.level_steps(header.qp, header.chroma_qp, intra=header.frame_type is FrameType.I)
        filtered = Frame(*loop_filter(symbols, picture.planes, steps, encoder))
        return Decoded(header, filtered.at_depth(self.bit_depth), filtered, y_hat, motion)

    @torch.no_grad()
    def keep(self, decoded: Decoded, dpb: DecodedPictureBuffer[Reference]) -> None:
        """Hold a decoded picture for later frames, if any refers to it."""
        header, _, picture, y_hat, motion = decoded
        if header.referenced:
            # A reference is padded anew, as sources are: what was decoded there got no bits.
            padded, (qp, _) = to_tensor(picture).to(self.networks.device), self.qps(header)
            reference = self.networks.reference(padded, y_hat, qp, motion)
            dpb.insert(HeldPicture(header.poc, header.temporal_layer, reference))


class DecodedFrame(NamedTuple):
    """A picture as it comes out of the decoder: in coding order, with its display index."""

    poc: int
    frame: Frame


def decode(
    packets: Iterable[Packet | AuxiliaryPacket], header: SequenceHeader, networks: Networks
) -> Iterator[Frame]:
    """Frames in display order, from the first I frame on; B frames that lead it in display order are dropped.

    Auxiliary packets are passed over. Raises CodecError, which names the frame, after everything before the
    damage has been yielded; a BitstreamError of `packets` passes through in the same way.
    """
    check_header(header, networks)
    video = header.video
    codec = FrameCodec(networks, video.width, video.height, video.bit_depth)
    frames = decode_in_coding_order(codec, from_first_i_frame(packets))
    yield from in_display_order(frames, header)


def from_first_i_frame(packets: Iterable[Packet | AuxiliaryPacket]) -> Iterator[Packet]:
    """The frame packets, without the B frames that lead the first I frame in display order.

    Raises CodecError where the first is no I frame.
    """
    first: int | None = None
    for packet in packets:
        if not isinstance(packet, Packet):
            continue
        poc = packet.header.poc
        if first is None:
            if packet.header.frame_type is not FrameType.I:
                raise CodecError(f"frame {poc}: the stream does not begin with an I frame")
            first = poc
        if poc >= first:
            yield packet


def decode_in_coding_order(codec: FrameCodec, packets: Iterable[Packet]) -> Iterator[DecodedFrame]:
    """Each frame as soon as it is decoded, from an I frame on. Raises CodecError, which names the frame."""
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    for packet in packets:
        try:
            frame = _decode_frame(codec, packet, dpb)
        except (EntropyError, MissingReference, BitstreamError) as error:
            raise CodecError(f"frame {packet.header.poc}: {error}") from error
        yield DecodedFrame(packet.header.poc, frame)


def in_display_order(frames: Iterable[DecodedFrame], header: SequenceHeader) -> Iterator[Frame]:
    """The pictures, each as soon as it is next; the first is the first to show. Raises CodecError."""
    shown: DisplayOrder[Frame] | None = None
    for poc, frame in frames:
        if shown is None:
            shown = DisplayOrder(poc, capacity=header.gop_size.bit_length() + 1)
        try:
            ready = shown.push(poc, frame)
        except MissingPicture as error:
            raise CodecError(f"frame {poc}: {error}") from error
        yield from ready
    if shown is not None and len(shown):
        raise CodecError(f"the stream ends while {len(shown)} frames wait for an earlier one")


def _decode_frame(codec: FrameCodec, packet: Packet, dpb: DecodedPictureBuffer[Reference]) -> Frame:
    symbols = RangeReader(codec.tables, packet.payload)
    decoded = codec.code(symbols, packet.header, dpb)
    if picture_hash(decoded.frame) != packet.picture_hash:
        raise EntropyError("the decoded picture is not the one that was encoded (hash differs)")
    codec.keep(decoded, dpb)
    return decoded.frame


def check_header(header: SequenceHeader, networks: Networks) -> None:
    """Refuse what these weights and this arithmetic cannot decode; raises CodecError naming both sides."""
    arithmetic, model = header.arithmetic_version, header.model_id.hex()
    decoder = decoder_of(FORMAT_VERSION, arithmetic, model)
    if arithmetic != ARITHMETIC_VERSION:
        raise CodecError(
            f"coded with arithmetic version {arithmetic}, this bcodec has {ARITHMETIC_VERSION}; {decoder}"
        )
    if header.model_id != networks.model_id:
        raise CodecError(
            f"coded with model {model}, the weights here are {networks.model_id.hex()}; {decoder}"
        )
