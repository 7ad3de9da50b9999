"""The codec core: the one path that encoder and decoder share, and packets to pictures by it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from bcodec.bitstream import FrameType, Packet, PacketHeader
from bcodec.coding import LATENT_PITCH, CollocatedMotion, Encoder, Reference, SymbolCoder
from bcodec.dpb import DecodedPictureBuffer, HeldPicture, LostPicture
from bcodec.entropy.coder import RangeReader
from bcodec.entropy.tables import Tables
from bcodec.errors import (
    BcodecError,
    BitstreamError,
    CodecError,
    EntropyError,
    InexactDevice,
    MissingReference,
)
from bcodec.fixedpoint import exact_precision
from bcodec.frame import Frame, aligned, picture_hash
from bcodec.networks import Networks
from bcodec.networks.intra import Begun
from bcodec.networks.loopfilter import loop_filter
from bcodec.samples import finish, to_frame, to_tensor


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
    """Codes frames of one size and depth, either way: the one path that encoder and decoder share.

    `shown_depth`: bits of a sample that a decoder shows (None: those that are coded).
    """

    def __init__(
        self,
        networks: Networks,
        width: int,
        height: int,
        bit_depth: int = 8,
        shown_depth: int | None = None,
    ) -> None:
        self.networks, self.tables = networks, Tables(networks.tables)
        self.width, self.height = width, height
        self.bit_depth, self.shown_depth = bit_depth, shown_depth or bit_depth
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
        return self.complete(symbols, header, self.begin(symbols, header, dpb, encoder), encoder)

    @torch.no_grad()
    def begin(
        self,
        symbols: SymbolCoder,
        header: PacketHeader,
        dpb: DecodedPictureBuffer[Reference],
        encoder: Encoder | None = None,
    ) -> Begun:
        """Code what comes before the latent; raises MissingReference."""
        networks, (qp, _) = self.networks, self.qps(header)
        if header.frame_type is FrameType.I:
            return networks.intra.begin(symbols, qp, self.latent_size, encoder)
        past, future = dpb.references(header.poc)
        distances = (header.poc - past.poc, future.poc - header.poc)
        return networks.bframe.begin(symbols, past.picture, future.picture, distances, qp, encoder)

    @torch.no_grad()
    def complete(
        self, symbols: SymbolCoder, header: PacketHeader, begun: Begun, encoder: Encoder | None = None
    ) -> Decoded:
        """Code the rest: the latent, and the filters of what comes of it."""
        intra, (qp, chroma_qp) = header.frame_type is FrameType.I, self.qps(header)
        network = self.networks.intra if intra else self.networks.bframe
        x_hat, y_hat = network.complete(symbols, begun, qp, encoder, chroma_qp=chroma_qp)
        picture = to_frame(finish(x_hat), self.width, self.height)
        steps = self.networks.level_steps(header.qp, header.chroma_qp, intra=intra)
        filtered = Frame(*loop_filter(symbols, picture.planes, steps, encoder))
        return Decoded(header, filtered.at_depth(self.bit_depth), filtered, y_hat, begun.motion)

    @torch.no_grad()
    def keep(self, decoded: Decoded, dpb: DecodedPictureBuffer[Reference]) -> None:
        """Hold a decoded picture for later frames, if any refers to it."""
        header, _, picture, y_hat, motion = decoded
        if header.referenced:
            # A reference is padded anew, as sources are: what was decoded there got no bits.
            padded, (qp, _) = to_tensor(picture).to(self.networks.device), self.qps(header)
            reference = self.networks.reference(padded, y_hat, qp, motion)
            dpb.insert(HeldPicture(header.poc, header.temporal_layer, reference))


class Lost(NamedTuple):
    """A frame that cannot be decoded, and why; without header, something that is no packet."""

    header: PacketHeader | None
    error: BcodecError


class FrameDecoder:
    """Decodes packets in coding order, from an I frame on."""

    def __init__(self, codec: FrameCodec) -> None:
        self._codec = codec
        self._dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()

    def decode(self, packet: Packet) -> Decoded | Lost:
        """The picture of a packet, if it is the one that was encoded; nothing refers to it yet."""
        try:
            decoded = self._codec.code(
                RangeReader(self._codec.tables, packet.payload), packet.header, self._dpb
            )
            if picture_hash(decoded.frame) != packet.picture_hash:
                raise EntropyError("the decoded picture is not the one that was encoded (hash differs)")
        except (EntropyError, MissingReference, BitstreamError) as error:
            return Lost(packet.header, CodecError(f"frame {packet.header.poc}: {error}"))
        if self._codec.shown_depth != self._codec.bit_depth:
            return decoded._replace(frame=decoded.picture.at_depth(self._codec.shown_depth))
        return decoded

    def keep(self, outcome: Decoded | Lost) -> None:
        """Hold a picture for later packets, if any refers to it, or its place where it is lost."""
        header = outcome.header
        if isinstance(outcome, Decoded):
            self._codec.keep(outcome, self._dpb)
        elif header and header.referenced:
            self._dpb.insert(LostPicture(header.poc, header.temporal_layer))

    def run(self, coded: Iterable[Packet | Decoded | Lost]) -> Iterator[Decoded | Lost]:
        """What becomes of packets, each as soon as it is decoded; what they became already is kept only."""
        for each in coded:
            outcome = self.decode(each) if isinstance(each, Packet) else each
            self.keep(outcome)
            yield outcome
