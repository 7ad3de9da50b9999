"""Decoding the spans of one video in several processes: the same frames as in one, in the same order.

A span begins with an I frame. The B frames of its first window refer to the I frame before it as well, which
is then decoded twice: once at its place, and once as the past of the span:

    coding order    I0 I4 B2 B1 B3 | I8 B6 B5 B7 I12 B10 B9 B11 | B*14 ...
    its past                         I4
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import NamedTuple

from bcodec.bitstream import AuxiliaryPacket, FrameType, Packet, SequenceHeader
from bcodec.codec import (
    DecodedFrame,
    FrameCodec,
    check_header,
    decode_in_coding_order,
    from_first_i_frame,
    in_display_order,
)
from bcodec.errors import BitstreamError, CodecError
from bcodec.frame import Frame
from bcodec.networks import Networks
from bcodec.processes import in_processes


class Span(NamedTuple):
    """Packets in coding order, from an I frame on, and the packet of the I frame before it, if it matters."""

    packets: list[Packet]
    past: Packet | None


class DecodedSpan(NamedTuple):
    """The frames of a span in coding order, and the damage that ended it too early, None if nothing did."""

    frames: list[DecodedFrame]
    damage: CodecError | None


def decode_in_parallel(
    packets: Iterable[Packet | AuxiliaryPacket],
    header: SequenceHeader,
    networks: Networks,
    jobs: int,
    *,
    count: int | None = None,
) -> Generator[Frame, None, None]:
    """What `decode` gives, computed by `jobs` processes; holds `jobs` + 1 spans of frames and one of packets.

    `count`: how many frames are wanted (None: all); little more is decoded. Raises what `decode` raises, in
    the same places, and ProcessKilled where a process dies. Close it to end the processes at once.
    """
    check_header(header, networks)
    with closing(_in_coding_order(packets, header, networks, jobs, count)) as frames:
        yield from in_display_order(frames, header)


def _in_coding_order(
    packets: Iterable[Packet | AuxiliaryPacket],
    header: SequenceHeader,
    networks: Networks,
    jobs: int,
    count: int | None,
) -> Generator[DecodedFrame, None, None]:
    damage: list[BitstreamError] = []

    def whole() -> Iterator[Packet]:
        try:
            yield from from_first_i_frame(packets)
        except BitstreamError as error:  # what stands before it comes first
            damage.append(error)

    decoder = partial(_decoder, networks, header.video.width, header.video.height, header.video.bit_depth)
    with closing(in_processes(decoder, spans(whole(), header.gop_size, count), jobs)) as decoded:
        for span in decoded:
            yield from span.frames
            if span.damage:
                raise span.damage
    if damage:
        raise damage[0]


def spans(packets: Iterable[Packet], gop_size: int, count: int | None = None) -> Iterator[Span]:
    """Split packets where decoding can begin; parts shorter than a GOP are put together.

    `count`: how many frames in display order are wanted, from the first packet on (None: all).
    """
    span: Span | None = None
    anchor: Packet | None = None  # the last one: in the DPB it stays beside the next I frame
    for part in _parts(packets, count):
        if span is None:
            span = Span(part, None)
        elif len(span.packets) + len(part) <= gop_size + 1 or _looks_back(part, anchor):
            span.packets.extend(part)
        else:
            yield span
            span = Span(part, anchor if anchor and anchor.header.frame_type is FrameType.I else None)
        anchors = (packet for packet in reversed(part) if _is_anchor(packet))
        anchor = next(anchors, anchor)
    if span:
        yield span


def _parts(packets: Iterable[Packet], count: int | None) -> Iterator[list[Packet]]:
    """From each I frame that is an anchor to the next, until the wanted frames have come.

    Where all are I frames, none is an anchor: then from each to the next.
    """
    part: list[Packet] = []
    inherited = False  # a frame was there to which others may refer
    end: int | None = None  # poc behind the last frame that is wanted
    for packet in packets:
        header = packet.header
        if part and header.frame_type is FrameType.I and (_is_anchor(packet) or not inherited):
            yield part
            if end is not None and part[0].header.poc >= end - 1:
                return
            part = []
        if end is None and count is not None:
            end = header.poc + count
        inherited = inherited or header.referenced
        part.append(packet)
    if part:
        yield part


def _is_anchor(packet: Packet) -> bool:
    return packet.header.referenced and packet.header.temporal_layer == 0


def _looks_back(part: list[Packet], anchor: Packet | None) -> bool:
    """Whether a frame of the part may refer to a B* frame before it: no encoder here lets it do so."""
    if anchor is None or anchor.header.frame_type is FrameType.I:
        return False
    first, *others = (packet.header.poc for packet in part)
    return anchor.header.poc >= first or any(poc <= first for poc in others)


def _decoder(networks: Networks, width: int, height: int, bit_depth: int) -> Callable[[Span], DecodedSpan]:
    return partial(_decode_span, FrameCodec(networks, width, height, bit_depth))


def _decode_span(codec: FrameCodec, span: Span) -> DecodedSpan:
    past = [span.past] if span.past else []
    frames: list[DecodedFrame] = []
    damage = None
    try:
        for frame in decode_in_coding_order(codec, [*past, *span.packets]):
            frames.append(frame)
    except CodecError as error:
        damage = CodecError(str(error))  # its cause may not go to another process
    return DecodedSpan(frames[len(past) :], damage)
