"""The decoder: packets to pictures in display order, by one process or a crew, with damage or without."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias

from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    FORMAT_VERSION,
    MAX_FRAMES,
    AuxiliaryPacket,
    FrameType,
    Packet,
    SequenceHeader,
    with_damage,
)
from bcodec.bitstream.versions import decoder_of
from bcodec.codec import FrameCodec, Lost
from bcodec.crew import Crew
from bcodec.dpb import DisplayOrder
from bcodec.errors import BcodecError, BitstreamError, CodecError, MissingPicture, Truncated
from bcodec.frame import Frame
from bcodec.needed import needed
from bcodec.networks import Networks
from bcodec.windows import DecodedFrame, Outcome, decode_alone, decode_in_parallel

_Read: TypeAlias = Packet | AuxiliaryPacket | BitstreamError


class Gap(NamedTuple):
    """Frames from poc `first` to `last` (None: to the end) that are lost, and why."""

    first: int
    last: int | None
    error: BcodecError | None


def decode(
    packets: Iterable[Packet | AuxiliaryPacket],
    header: SequenceHeader,
    networks: Networks,
    *,
    bit_depth: int | None = None,
) -> Iterator[Frame]:
    """Frames in display order, from the first I frame on; B frames that lead it in display order are dropped.

    `bit_depth`: 8 or 10 (None: that of the header); all files are decoded in ten bits. Auxiliary packets are
    passed over. Raises CodecError, which names the frame, after everything before the damage has been
    yielded; a BitstreamError of `packets` passes through in the same way.
    """
    return (picture.frame for picture in decode_part(packets, header, networks, bit_depth=bit_depth))


def decode_part(
    packets: Iterable[_Read],
    header: SequenceHeader,
    networks: Networks,
    *,
    start: int = 0,
    count: int | None = None,
    crew: Crew | None = None,
    bit_depth: int | None = None,
) -> Generator[DecodedFrame, None, None]:
    """What `decode` gives, of `count` frames (None: all) from poc `start` on, each with its poc.

    No more is decoded than these need, by a crew or, without, here; close it to end its work. Raises what
    `decode` raises, in the same places, and ProcessKilled.
    """
    with closing(_in_coding_order(packets, header, networks, start, count, crew, bit_depth)) as outcomes:
        yield from strictly_in_display_order(outcomes, header, _wanted(start, count))


def decode_around_damage(
    packets: Iterable[_Read],
    header: SequenceHeader,
    networks: Networks,
    *,
    start: int = 0,
    count: int | None = None,
    crew: Crew | None = None,
    bit_depth: int | None = None,
) -> Generator[DecodedFrame | Gap, None, None]:
    """What `decode_part` gives, and where frames are lost a Gap, and those behind it.

    `packets` may raise BitstreamError and go on, or give such errors. Raises CodecError for a header that
    cannot be decoded, and ProcessKilled.
    """
    with closing(_in_coding_order(packets, header, networks, start, count, crew, bit_depth)) as outcomes:
        yield from in_display_order(outcomes, header, _wanted(start, count))


def _in_coding_order(
    packets: Iterable[_Read],
    header: SequenceHeader,
    networks: Networks,
    start: int,
    count: int | None,
    crew: Crew | None,
    bit_depth: int | None,
) -> Generator[Outcome, None, None]:
    check_header(header, networks)
    video = header.video
    open_codec = partial(FrameCodec, networks, video.width, video.height, video.bit_depth, bit_depth)
    wanted = needed(from_first_i_frame(with_damage(packets)), start, count)
    if crew is None:
        yield from decode_alone(wanted, open_codec())
    else:
        yield from decode_in_parallel(wanted, open_codec, crew)


def from_first_i_frame(packets: Iterable[_Read]) -> Iterator[Packet | Lost]:
    """The frame packets from the first I frame on, without the B frames that lead it in display order.

    Damage is a Lost, and so is a stream that begins with a B frame.
    """
    first: int | None = None
    complained = False
    for packet in packets:
        if isinstance(packet, BitstreamError):
            yield Lost(None, packet)
        if not isinstance(packet, Packet):
            continue
        poc = packet.header.poc
        if first is None and packet.header.frame_type is FrameType.I:
            first = poc
        if first is None and not complained:
            complained = True
            yield Lost(None, CodecError(f"frame {poc}: the stream does not begin with an I frame"))
        if first is not None and poc >= first:
            yield packet


def strictly_in_display_order(
    outcomes: Iterable[Outcome], header: SequenceHeader, wanted: range
) -> Iterator[DecodedFrame]:
    """The `wanted` pictures, by poc, each as soon as it is next. Raises what was lost, and CodecError."""
    shown: DisplayOrder[DecodedFrame] | None = None
    for outcome in outcomes:
        if isinstance(outcome, Lost):
            raise outcome.error
        if shown is None:
            shown = DisplayOrder(max(wanted.start, outcome.poc), capacity=_capacity(header))
        if outcome.poc not in wanted:  # only others refer to it
            continue
        try:
            ready = shown.push(outcome.poc, outcome)
        except MissingPicture as error:
            raise CodecError(f"frame {outcome.poc}: {error}") from error
        yield from ready
    if shown is not None and len(shown):
        raise CodecError(f"the stream ends while {len(shown)} frames wait for an earlier one")


def in_display_order(
    outcomes: Iterable[Outcome], header: SequenceHeader, wanted: range
) -> Iterator[DecodedFrame | Gap]:
    """The `wanted` pictures, by poc, each as soon as it is next, or what is missing before it cannot come.

    Before a picture, and at the end, stands a Gap where some are lost.
    """
    order: DisplayOrder[DecodedFrame | Lost] | None = None
    gaps = _Gaps(wanted.start)
    for outcome in outcomes:
        if isinstance(outcome, Lost):
            gaps.losses.append(outcome)
        poc = _poc(outcome)
        if poc is None:
            continue
        if order is None:
            first = max(wanted.start, poc)
            order, gaps.next = DisplayOrder(first), wanted.start if gaps.losses else first
        if poc not in wanted:
            continue
        try:
            ready = order.push(poc, outcome)
        except MissingPicture:  # it came twice, or too late
            continue
        while len(order) > _capacity(header):
            ready += order.pass_over()
        yield from gaps.around(ready)
    is_cut = bool(gaps.losses) and outcome is gaps.losses[-1] and isinstance(outcome.error, Truncated)
    if order is not None and not is_cut:  # what waits behind a cut is a part of what is lost
        yield from gaps.around(order.flush())
    if gaps.losses:
        yield Gap(gaps.next, None, gaps.losses[0].error)


@dataclass
class _Gaps:
    """Finds what is missing between pictures in display order; `next` is the poc of the next one.

    losses: what is lost and not told yet, in coding order.
    """

    next: int
    losses: list[Lost] = field(default_factory=list)

    def around(self, pictures: Iterable[DecodedFrame | Lost]) -> Iterator[DecodedFrame | Gap]:
        for picture in pictures:
            if isinstance(picture, DecodedFrame):
                if picture.poc > self.next:
                    yield Gap(self.next, picture.poc - 1, self._reason(picture.poc))
                self.next = picture.poc + 1
                yield picture

    def _reason(self, end: int) -> BcodecError | None:
        """Why frames before `end` are lost: the first loss that can be why. All that can are forgotten."""
        pocs = [_poc(loss) for loss in self.losses]
        first = next((place for place, poc in enumerate(pocs) if poc is None or poc < end), None)
        if first is None:
            return None
        error = self.losses[first].error
        later = enumerate(zip(self.losses, pocs, strict=True))
        self.losses = [loss for place, (loss, poc) in later if place != first and (poc is None or poc >= end)]
        return error


def _wanted(start: int, count: int | None) -> range:
    return range(start, MAX_FRAMES if count is None else start + count)


def _poc(outcome: Outcome) -> int | None:
    if isinstance(outcome, DecodedFrame):
        return outcome.poc
    return outcome.header.poc if outcome.header else None


def _capacity(header: SequenceHeader) -> int:
    """How many pictures wait for an earlier one at most, where none is missing."""
    return header.gop_size.bit_length() + 1


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
