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
from bcodec.encoder.effort import Preset
from bcodec.encoder.group import CodedFrame, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.encoder.qp import layer_qp
from bcodec.encoder.temporalfilter import Source
from bcodec.errors import BitstreamError, CodecError
from bcodec.gop import intra_anchor
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
    code: Callable[[Iterator[Group]], Iterator[CodedFrame]],
) -> Iterator[CodedFrame]:
    """What `code(groups)` gives; for whole groups at the beginning by the packets that are `kept`.

    The first and the last I frame that are kept and the first B frame are coded again: input, settings and
    weights must be the same. Raises CodecError if they are not.
    """
    coder, last = GroupCoder(networks, preset), None
    unchecked = {FrameType.I, FrameType.B}
    for group in groups:
        packets = list(islice(kept, len(group.slots)))
        if len(packets) < len(group.slots):
            break
        _check_headers(group, packets, qp)
        types = {packet.header.frame_type for packet in packets}
        if types & unchecked:
            _check_beginning(coder, group, packets, qp)
            unchecked -= types
        if packets[0].header.frame_type is FrameType.I:
            last = packets[0], group.frames[-1]
        yield from map(CodedFrame, packets)
    else:
        group = None
    if last:
        _check_picture(coder, *last, qp)
    if group:
        yield from code(chain([group], groups))


def _check_headers(group: Group, packets: list[Packet], qp: float) -> None:
    for slot, packet in zip(group.slots, packets, strict=True):
        kind = FrameType.I if slot.intra else FrameType.B
        level = layer_qp(qp, slot.temporal_layer)
        expected = PacketHeader(slot.poc, kind, slot.temporal_layer, level, slot.referenced)
        if replace(packet.header, chroma_offset=0) != expected:
            raise CodecError(OTHER)


def _check_beginning(coder: GroupCoder, group: Group, packets: list[Packet], qp: float) -> None:
    """Code a group again, up to its first B frame, and see that it is the same."""
    for coded, packet in zip(coder.code(group, qp), packets, strict=True):
        if coded.packet != packet:
            raise CodecError(OTHER)
        if packet.header.frame_type is FrameType.B:
            break


def _check_picture(coder: GroupCoder, packet: Packet, source: Source, qp: float) -> None:
    """Code an I frame again, and see that it is the same."""
    poc, gop_size = packet.header.poc, 2 if packet.header.referenced else 1
    _check_beginning(coder, Group(poc, [intra_anchor(poc, gop_size)], [source], None), [packet], qp)
