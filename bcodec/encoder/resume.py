"""Going on with an encode that was killed: whole groups of the unfinished file are kept, the rest is coded.

What is kept is written again over itself, so that at any moment the file is the beginning of the result.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import BinaryIO

from bcodec.bitstream import BitstreamReader, FrameType, Packet, PacketHeader, SequenceHeader
from bcodec.codec import FrameCodec, FrameDecoder, Lost
from bcodec.encoder.effort import Preset
from bcodec.encoder.group import Anchor, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.encoder.importance import possible_qps
from bcodec.encoder.qp import layer_qp
from bcodec.encoder.trial import CodedFrame
from bcodec.errors import BitstreamError, CodecError
from bcodec.gop import Closing
from bcodec.networks import Networks

OTHER = "the unfinished file is of another input or other settings; remove it to begin anew"


def kept_packets(path: str, header: SequenceHeader, delays: Sequence[int]) -> Iterator[Packet]:
    """The whole frame packets of an unfinished file, their delays taken off; none if it does not get so far.

    They come from a copy, made at once: the file may be written meanwhile. `delays`, by poc, may grow until a
    packet is asked for. Raises CodecError, at once, if the file is of another video, model or GOP size, and
    later where pictures have other times.
    """
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the packets are)
    with open(path, "rb") as file:
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    try:
        reader = BitstreamReader(copy)
    except BitstreamError:
        copy.close()
        return iter(())
    if reader.header != header:
        copy.close()
        raise CodecError(OTHER)
    return _whole_packets(copy, reader, delays)


def _whole_packets(file: BinaryIO, reader: BitstreamReader, delays: Sequence[int]) -> Iterator[Packet]:
    with file, suppress(BitstreamError):
        for packet in reader.frames():
            poc = packet.header.poc
            if poc >= len(delays) or packet.delay != delays[poc]:
                raise CodecError(OTHER)
            yield replace(packet, delay=0)


def go_on(
    groups: Iterator[Group],
    kept: Iterator[Packet],
    qp: float,
    networks: Networks,
    preset: Preset,
    code: Callable[..., Iterator[CodedFrame]],
) -> Iterator[CodedFrame]:
    """What `code(groups)` gives; for whole groups at the beginning by the packets that are `kept`.

    Of these the anchors are decoded: `code(groups, past=anchor)` goes on from the last one. The first and the
    last anchor that are kept and the first B frame are coded again: input, settings and weights must be the
    same. Raises CodecError if they are not.
    """
    coder, past = GroupCoder(networks, preset), None
    last: tuple[Group, Anchor | None, Packet] | None = None
    unchecked = {FrameType.I, FrameType.B}
    for group in groups:
        packets = list(islice(kept, len(group.frames)))
        if len(packets) < len(group.frames):
            break
        _check_headers(group, packets, qp)
        types = {packet.header.frame_type for packet in packets}
        if types & unchecked:
            _check_beginning(coder, group, packets, qp, past)
            unchecked -= types
        last = group, past, packets[0]
        past = _anchor(coder.codec_for(group.frames[0].frame), packets[0], past)
        yield from map(CodedFrame, packets)
    else:
        group = None
    if last:
        again, before, packet = last
        if coder.close(again, qp, before).coded.packet != packet:
            raise CodecError(OTHER)
    if group:
        yield from code(chain([group], groups), past=past)


def _check_headers(group: Group, packets: list[Packet], qp: float) -> None:
    closing = Closing.INTRA if packets[0].header.frame_type is FrameType.I else Closing.TAIL
    if closing not in group.closings:
        raise CodecError(OTHER)
    for slot, packet in zip(group.slots(closing), packets, strict=True):
        kind = FrameType.I if slot.intra else FrameType.B
        own = packet.header.qp
        expected = PacketHeader(slot.poc, kind, slot.temporal_layer, own, slot.referenced)
        possible = possible_qps(layer_qp(qp, slot.temporal_layer), referenced=slot.referenced)
        if replace(packet.header, chroma_offset=0) != expected or own not in possible:
            raise CodecError(OTHER)


def _check_beginning(
    coder: GroupCoder, group: Group, packets: list[Packet], qp: float, past: Anchor | None
) -> None:
    """Code the anchor of a group again, and the first B frame, and see that they are the same."""
    closed = coder.close(group, qp, past)
    again = [closed.coded, *islice(coder.rest(closed), 1)]
    if any(coded.packet != packet for coded, packet in zip(again, packets, strict=False)):
        raise CodecError(OTHER)


def _anchor(codec: FrameCodec, packet: Packet, past: Anchor | None) -> Anchor | None:
    """Decode the anchor that closes a group behind `past`; None where no frame refers to it."""
    if not packet.header.referenced:
        return None
    decoder = FrameDecoder(codec)
    if past:
        decoder.keep(past.decoded)
    decoded = decoder.decode(packet)
    if isinstance(decoded, Lost):
        raise CodecError(OTHER) from decoded.error
    return Anchor(decoded, packet.header.chroma_offset)
