"""Video files read by FFmpeg: the pictures of a container decoded, and the side data put aside."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain

import av
from av.filter import Graph
from av.packet import Packet as AnyPacket
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.sidecar import FileHeader, SideData, StreamHeader, StreamKind, TimeRange
from bcodec.errors import VideoError
from bcodec.frame import Frame
from bcodec.video.base import FALLBACK_RATE, INTERLACED, NO_RATE, Selection
from bcodec.video.convert import Converter
from bcodec.video.tracks import find_tracks, from_container, kept_tags

UNKNOWN_CODEC = "is coded in a way that FFmpeg does not know"
UNKNOWN_COLOUR = 2  # in numbers of H.273
BROADCAST = ("mpegts", "mpeg")  # containers whose times begin anywhere
LATEST = Fraction(1)  # second by which sound may come behind its picture in a file, where a part is read


class ContainerInput:
    """An open input that FFmpeg reads: the first video stream of a container, and its side data.

    name: of the file, for errors. missing: the bytes by which the file is shorter than it says. numbered: the
    rate in Hz of numbered pictures, whose names the path is a pattern of.
    """

    def __init__(
        self, path: str, name: str, missing: int, wanted: Selection, numbered: Fraction | None = None
    ) -> None:
        self.name, self.missing, self.notices = name, missing, list[str]()
        self.start, self.last = wanted.start, 0
        self.early: list[AuxiliaryPacket] = []  # until the first picture says when the wanted ones are shown
        try:  # file: so that a colon in the path is no protocol
            options = {"framerate": str(numbered)} if numbered else {}
            kind = "image2" if numbered else None
            self.container = av.open(f"file:{path}", format=kind, options=options, metadata_errors="ignore")
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({error.strerror})") from error
        try:
            self.stream = self._choose_stream()
            self.tracks = self._choose_tracks(wanted.keep)
            others = [s for s in self.container.streams if s.index in self.tracks]
            self.packets = self.container.demux(self.stream, *others)
            self.pictures = self._deinterlaced() if wanted.deinterlace else self._progressive()
            first = next(self.pictures, None)
            if first is None:
                raise VideoError(f"{name}: has no frames")
            self.first = first
            context = self.stream.codec_context
            self.converter = Converter(first, int(context.color_range), int(context.colorspace))
            self.format = self._describe()
            self.side_data = self._describe_side_data(wanted)
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
        if self.stream.codec_context is None:  # PyAV's types do not say so
            raise VideoError(f"{self.name}: {UNKNOWN_CODEC}")
        count = 0
        try:
            for picture in self._undamaged():
                yield picture
                count += 1
        except (av.FFmpegError, EOFError) as error:
            why, done = getattr(error, "strerror", None) or error, f"{count} frame{'s' * (count != 1)}"
            if isinstance(error, av.PatchWelcomeError | av.NotImplementedError):
                raise VideoError(f"{self.name}: {UNKNOWN_CODEC} ({why}), after {done}") from error
            raise VideoError(f"{self.name}: is damaged or cut short after {done} ({why})") from error
        if self.missing:
            done = f"{count} frame{'s' * (count != 1)}"
            raise VideoError(f"{self.name}: is cut short by {self.missing} bytes, after {done}")

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
        end = self.side_data.time_range.end
        with suppress(av.FFmpegError):
            for packet in self.packets if self.tracks and end is not None else ():
                if packet.stream.index in self.tracks:
                    self._put_aside(packet)
                elif end is not None and packet.dts and packet.dts * packet.time_base > end + LATEST:
                    break
        self._settle(self.last + 1)

    def _settle(self, picture: int) -> None:
        """Give away what was put aside before this picture, counted from the first wanted one."""
        self.last = picture
        for packet in self.early:
            self.side_data.add(packet, picture)
        self.early.clear()

    def _describe_side_data(self, wanted: Selection) -> SideData:
        """Note tags, streams and times; where times begin anywhere, as in broadcasts, let them begin at 0."""
        first, zero = self.first, Fraction(0)
        shown = first.pts * first.time_base if first.pts is not None and first.time_base else zero
        if self.container.format.name in BROADCAST and self.container.start_time:
            zero = Fraction(self.container.start_time, av.time_base)
        time_range = TimeRange.of_frames(shown, self.format.time_base, wanted.start, wanted.frames)
        time_range = replace(time_range, back=time_range.back + zero)
        file = FileHeader(shown - zero, kept_tags(self.container.metadata))
        return SideData(file, {track.index: track for track in self.tracks.values()}, time_range)

    def _describe(self) -> VideoFormat:
        """Find the format, and say what is lost."""
        context, rate = self.stream.codec_context, self._rate()
        if self.converter.notice:
            self.notices.append(self.converter.notice)
        return VideoFormat(
            self.first.width,
            self.first.height,
            rate,
            1 / rate,
            self.stream.sample_aspect_ratio or Fraction(0),
            colour_range=self.converter.colour_range,
            colour_primaries=_known(context.color_primaries),
            colour_transfer=_known(context.color_trc),
            colour_matrix=_known(self.converter.colour_matrix),
            rotation=self.first.rotation % 360,
        )

    def _rate(self) -> Fraction:
        average, guessed = self.stream.average_rate, self.stream.guessed_rate
        if not average and not guessed:
            self.notices.append(NO_RATE)
            return FALLBACK_RATE
        rate = average or guessed or FALLBACK_RATE
        if guessed and abs(rate / guessed - 1) < Fraction(1, 200):
            return guessed  # the average is off by the rounding of timestamps
        self._tell_variable(rate)
        return rate

    def _tell_variable(self, rate: Fraction) -> None:
        notice = (
            f"variable frame rate: frames are coded in order at the average rate {float(rate):.5g} fps;"
            " timestamps are not kept"
        )
        if notice not in self.notices:
            self.notices.append(notice)

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration and self.stream.time_base:
            return round(self.stream.duration * self.stream.time_base * self.format.frame_rate)
        if self.container.duration:
            return round(Fraction(self.container.duration, av.time_base) * self.format.frame_rate)
        return None

    def _frames(self) -> Iterator[Frame]:
        kind, width, height = self.first.format.name, self.first.width, self.first.height
        shown = None  # seconds
        for count, picture in enumerate(chain([self.first], self.pictures), start=-self.start):
            if (picture.format.name, picture.width, picture.height) != (kind, width, height):
                raise VideoError(
                    f"{self.name}: changes from {width}x{height} {kind} to"
                    f" {picture.width}x{picture.height} {picture.format.name}, which is not supported"
                )
            shown = self._watch_time(picture, shown)
            self._settle(count)
            yield self.converter.convert(picture)

    def _watch_time(self, picture: VideoFrame, before: Fraction | None) -> Fraction | None:
        """Tell once if the time since the picture before is not the frame period."""
        if picture.pts is None or picture.time_base is None:
            return None
        now, period = picture.pts * picture.time_base, self.format.time_base
        if before is not None and abs(now - before - period) > period / 2 + picture.time_base:
            self._tell_variable(self.format.frame_rate)
        return now


def _known(code: int) -> int:
    """A code of H.273, less FFmpeg's additions beyond its 8 bits."""
    return int(code) if code <= 255 else UNKNOWN_COLOUR
