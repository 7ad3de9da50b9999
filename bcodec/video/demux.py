"""Video files read by FFmpeg: the pictures of a container decoded, and the side data put aside."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain

import av
from av.filter import Graph
from av.format import Flags
from av.packet import Packet as AnyPacket
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.sidecar import FileHeader, SideData, StreamHeader, StreamKind, TimeRange
from bcodec.errors import VideoError
from bcodec.video.base import FALLBACK_RATE, INTERLACED, NO_RATE, Selection, TimedFrame
from bcodec.video.convert import Converter
from bcodec.video.timeline import Timeline
from bcodec.video.tracks import find_tracks, from_container, kept_tags

UNKNOWN_COLOUR = 2  # in numbers of H.273
BROADCAST = ("mpegts", "mpeg")  # containers whose times begin anywhere
EDITED = (
    "mov,mp4,m4a,3gp,3g2,mj2"  # FFmpeg's name: edit lists repeat pictures that are not shown, times and all
)
LATEST = Fraction(1)  # second by which sound may come behind its picture in a file, where a part is read


class ContainerInput:
    """An open input that FFmpeg reads: the first video stream of a container, and its side data.

    name: of the file, for errors. missing: the bytes by which the file is shorter than it says.
    """

    def __init__(self, path: str, name: str, missing: int, wanted: Selection) -> None:
        self.name, self.missing, self.notices = name, missing, list[str]()
        self.wanted, self.last = wanted, 0
        self.shown: Fraction | None = None  # when the last picture was, in seconds
        self.early: list[AuxiliaryPacket] = []  # until the next picture
        try:  # file: so that a colon in the path is no protocol
            self.container = av.open(f"file:{path}", metadata_errors="ignore")
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({error.strerror})") from error
        try:
            self.stream = self._choose_stream()
            self.tracks = self._choose_tracks(wanted.keep)
            others = [s for s in self.container.streams if s.index in self.tracks]
            self.zero = self._find_zero()
            self.timeline = Timeline(closes_gaps=self.container.format.name in BROADCAST)
            self.packets = self.container.demux(self.stream, *others)
            if self.container.format.name != EDITED:
                self.packets = self._straightened(self.packets)
            self.pictures = self._deinterlaced() if wanted.deinterlace else self._progressive()
            first = next(self.pictures, None)
            if first is None:
                raise VideoError(f"{name}: has no frames")
            self.first = first
            context = self.stream.codec_context
            self.converter = Converter(first, int(context.color_range), int(context.colorspace))
            self.format = self._describe()
            self.origin = self._time(first)
            self.side_data = self._describe_side_data()
            self.frames, self.frame_count = self._frames(), self._count()
        except BaseException:
            self.container.close()
            raise

    def close(self) -> None:
        """Let the file go."""
        self.container.close()

    def _choose_stream(self) -> VideoStream:
        moving = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not moving:
            what = "only audio" if self.container.streams.audio else "nothing to show"
            raise VideoError(f"{self.name}: has no video in it, {what}")
        return moving[0]

    def _choose_tracks(self, keep: Collection[StreamKind] | None) -> dict[int, StreamHeader]:
        tracks, notices = find_tracks(self.container, keep or ())
        by_choice = [] if keep is None else [kind.name.lower() for kind in StreamKind]
        others = [s.type for s in self.container.streams if s is not self.stream and s.type not in by_choice]
        if others:
            notices.append(f"only the first video stream is coded, left out: {', '.join(others)}")
        self.notices += notices
        return tracks

    def _straightened(self, packets: Iterator[AnyPacket[Stream]]) -> Iterator[AnyPacket[Stream]]:
        """Close the jumps in time, and tell of the first."""
        for packet in packets:
            before = len(self.timeline.jumps)
            kept = self.timeline.straighten(packet)
            if before == 0 and self.timeline.jumps:
                at = float(self.timeline.jumps[0] - self.zero)
                self.notices.append(f"the times of the input jump at {at:.2f} s: what follows goes on there")
            if kept:
                yield packet

    def _progressive(self) -> Iterator[VideoFrame]:
        for picture in self._decode():
            if picture.interlaced_frame:
                raise VideoError(f"{self.name}: {INTERLACED}")
            yield picture

    def _deinterlaced(self) -> Iterator[VideoFrame]:
        """Give one frame for each that is decoded, made of whole pictures."""
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(template=self.stream),
            graph.add("bwdif", "mode=send_frame"),
            graph.add("buffersink"),
        ).configure()
        for picture in chain(self._decode(), [None]):
            graph.vpush(picture)
            with suppress(av.BlockingIOError, av.EOFError):
                while True:
                    yield graph.vpull()

    def _decode(self) -> Iterator[VideoFrame]:
        """Give the undamaged pictures; then VideoError if that is not all of them."""
        count = 0
        try:
            for picture in self._undamaged():
                yield picture
                count += 1
        except (av.FFmpegError, EOFError) as error:
            why = getattr(error, "strerror", None) or error
            raise VideoError(f"{self.name}: is damaged or cut short after {count} frames ({why})") from error
        if self.missing:
            raise VideoError(f"{self.name}: is cut short by {self.missing} bytes, after {count} frames")

    def _undamaged(self) -> Iterator[VideoFrame]:
        """Decode up to what FFmpeg marks as damaged, then EOFError; side data is put aside."""
        for packet in self.packets:
            if packet.stream.index in self.tracks:
                self._put_aside(packet)
                continue
            if packet.is_corrupt:
                yield from self.stream.codec_context.decode(None)  # held back by reordering
                raise EOFError("incomplete packet")
            for picture in self.stream.codec_context.decode(packet):
                if picture.is_corrupt:
                    raise EOFError("decoding errors")
                yield picture

    def _put_aside(self, packet: AnyPacket[Stream]) -> None:
        if packet.size and not packet.is_corrupt:
            self.early.append(from_container(packet, self.tracks[packet.stream.index]))

    def read_on(self) -> None:
        """Behind the last wanted picture, read the side data of the wanted ones that comes later."""
        if self.tracks and self.wanted.frames is not None:
            with suppress(VideoError, av.FFmpegError):
                following = next(self.pictures, None)  # says how long the last one is shown
                if following:
                    self._read_until(self._time(following))
        self._settle(self.last + 1)

    def _read_until(self, end: Fraction) -> None:
        self.side_data.end_at(end)
        for packet in self.packets:
            if packet.stream.index in self.tracks:
                self._put_aside(packet)
            elif packet.dts and packet.dts * packet.time_base > end + LATEST:
                break

    def _settle(self, picture: int) -> None:
        """Give away what was put aside before this picture, counted from the first wanted one."""
        self.last = picture
        for packet in self.early:
            self.side_data.add(packet, picture)
        self.early.clear()

    def _find_zero(self) -> Fraction:
        """Where times begin, in seconds: anywhere in broadcasts."""
        if self.container.format.name in BROADCAST and self.container.start_time:
            unit = self.stream.time_base or Fraction(1, av.time_base)
            return round(Fraction(self.container.start_time, av.time_base) / unit) * unit
        return Fraction(0)

    def _describe_side_data(self) -> SideData:
        """Note tags, streams and when the first picture is shown."""
        file = FileHeader(self.origin - self.zero, kept_tags(self.container.metadata))
        streams = {track.index: track for track in self.tracks.values()}
        return SideData(file, streams, TimeRange(back=self.zero))

    def _describe(self) -> VideoFormat:
        """Find the format, and say what is lost."""
        context, rate = self.stream.codec_context, self.wanted.frame_rate or self._rate()
        if self.converter.notice:
            self.notices.append(self.converter.notice)
        return VideoFormat(
            self.first.width,
            self.first.height,
            rate,
            1 / rate if self.is_steady else self.first.time_base or 1 / rate,
            self.stream.sample_aspect_ratio or Fraction(0),
            colour_range=self.converter.colour_range,
            colour_primaries=_known(context.color_primaries),
            colour_transfer=_known(context.color_trc),
            colour_matrix=_known(self.converter.colour_matrix),
            rotation=self.first.rotation % 360,
        )

    @property
    def has_times(self) -> bool:
        """Whether the file has times: an elementary stream has none, and FFmpeg makes some up."""
        return not Flags(self.container.format.flags) & Flags.no_timestamps

    @property
    def is_steady(self) -> bool:
        """Whether the pictures come at a constant rate: the file has no times, or others are wanted."""
        return bool(self.wanted.frame_rate) or not self.has_times

    def _rate(self) -> Fraction:
        average, guessed = self.stream.average_rate, self.stream.guessed_rate
        if not self.has_times:  # the rates are made up, too; those of the parameter sets are not
            average = guessed = self.stream.codec_context.framerate
        if not average and not guessed:
            self.notices.append(NO_RATE)
            return FALLBACK_RATE
        rate = average or guessed or FALLBACK_RATE
        if guessed and abs(rate / guessed - 1) < Fraction(1, 200):
            return guessed  # the average is off by the rounding of timestamps
        return rate

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration and self.stream.time_base:
            return round(self.stream.duration * self.stream.time_base * self.format.frame_rate)
        if self.container.duration:
            return round(Fraction(self.container.duration, av.time_base) * self.format.frame_rate)
        return None

    def _frames(self) -> Iterator[TimedFrame]:
        kind, width, height = self.first.format.name, self.first.width, self.first.height
        for count, picture in enumerate(chain([self.first], self.pictures), start=-self.wanted.start):
            if (picture.format.name, picture.width, picture.height) != (kind, width, height):
                raise VideoError(
                    f"{self.name}: changes from {width}x{height} {kind} to"
                    f" {picture.width}x{picture.height} {picture.format.name}, which is not supported"
                )
            time = self.origin if picture is self.first else self._time(picture)
            if self.wanted.start and count <= 0:
                self.side_data.begin_at(time, time - self.origin + self.zero)
            self._settle(count)
            yield TimedFrame(self.converter.convert(picture), time - self.origin)

    def _time(self, picture: VideoFrame) -> Fraction:
        """When a picture is shown, in seconds: always later than the one before."""
        time, unit, before = picture.pts, picture.time_base, self.shown
        said = None if time is None or unit is None or not self.has_times else time * unit
        if before is None:
            self.shown = said or Fraction(0)
        elif said is None or unit is None or self.is_steady:
            self.shown = before + 1 / self.format.frame_rate
        else:
            self.shown = max(said, before + unit)
        return self.shown


def _known(code: int) -> int:
    """A code of H.273, less FFmpeg's additions beyond its 8 bits."""
    return int(code) if code <= 255 else UNKNOWN_COLOUR
