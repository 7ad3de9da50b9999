"""Video files read by FFmpeg: the pictures of a container decoded, and the side data put aside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from itertools import chain, groupby

import av
from av.filter import Graph
from av.format import Flags
from av.packet import Packet as AnyPacket
from av.stream import Discard, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.extras import Extras, PictureWords
from bcodec.bitstream.sidecar import FileHeader, SideData, StreamKind, TimeRange
from bcodec.errors import VideoError
from bcodec.video.base import (
    FALLBACK_RATE,
    INTERLACED,
    NO_RATE,
    UNKNOWN_COLOUR,
    Damage,
    Selection,
    TimedFrame,
)
from bcodec.video.breaks import Break, breaks
from bcodec.video.choice import Choice, choose, read_packets
from bcodec.video.convert import Converter, shape_of
from bcodec.video.extras import attachments_of, chapters_of
from bcodec.video.light import light_of
from bcodec.video.pipe import Pipe
from bcodec.video.said import chroma_location_of, not_kept, said_beside
from bcodec.video.seek import LEADS, PacketClock
from bcodec.video.sizes import first_change
from bcodec.video.timeline import BROADCAST, EDITED, WHOLE, Timeline, whole_at_jumps
from bcodec.video.tracks import Track, find_tracks, kept_tags, of_kinds

UNKNOWN_CODEC = "is coded in a way that FFmpeg does not know"
MATROSKA = "matroska,webm"
LATEST = Fraction(1)  # second by which sound may come behind its picture in a file, where a part is read


class ContainerInput:
    """An open input that FFmpeg reads: the film in a container, and its side data.

    name: of the file, for errors. missing: the bytes by which the file is shorter than it says. numbered: the
    rate in Hz of numbered pictures, whose names the path is a pattern of. pipe: what is read instead of the
    path, once.
    """

    def __init__(
        self,
        path: str,
        name: str,
        wanted: Selection,
        *,
        missing: int = 0,
        numbered: Fraction | None = None,
        pipe: Pipe | None = None,
    ) -> None:
        self.path, self.name, self.pipe, self.notices = path, name, pipe, list[str]()
        self.missing = missing
        self.damage, self.strict = Damage(), wanted.strict
        self.passed, self.begin = 0, Fraction(-1 << 62)  # seconds; before it nobody asks for damage
        self.wanted, self.last, self.scaled, self.has_ended = wanted, 0, False, False
        self.early: list[AuxiliaryPacket] = []  # until the next picture
        self.lost = set[str]()  # what is said beside pictures, is not kept, and has been told
        try:  # file: so that a colon in the path is no protocol
            options = {"framerate": str(numbered)} if numbered else {}
            kind = "image2" if numbered else None
            file = pipe or f"file:{path}"
            self.container = av.open(file, "r", format=kind, options=options, metadata_errors="ignore")
        except av.FFmpegError as error:
            raise VideoError(f"{name}: is not a video that can be read ({error.strerror})") from error
        try:
            self.choice = self._choose(wanted)
            self.stream, self.zero = self.choice.film, self._find_zero(self.choice.film)
            self.tracks = self._find_tracks(wanted.keep)
            self.packets = self._straightened(self.choice.packets)
            self.extras = self._find_extras(wanted.keep)
            self._tell_what_is_left(wanted.keep)
            self.pictures = self._deinterlaced() if wanted.deinterlace else self._progressive()
            first = next(self.pictures, None)
            if first is None:
                raise VideoError(f"{name}: has no frames")
            self.first = first
            self.origin = self.shown = _said(first) if self.has_times else Fraction(0)
            if wanted.start and not self.is_steady:
                self._seek(wanted)
                first = self.first
            context = self.stream.codec_context
            self.converter = Converter(
                first, int(context.color_range), int(context.colorspace), wanted.bit_depth
            )
            self.format = self._describe()
            self.side_data = self._describe_side_data()
            self.frames, self.frame_count = self._frames(), self._count()
        except BaseException:
            self.container.close()
            raise

    def check_ahead(self) -> None:
        """See what can be known of the wanted pictures before they are decoded; raises VideoError."""
        if self.pipe:  # which cannot be read ahead
            return
        expected = self._expected()
        if broken := self._broken(expected.begin, expected.end):
            if self.strict:
                raise VideoError(f"{self.name}: {broken}")
            self.notices.append(f"the input {broken}: that is passed over (--strict stops at damage)")
        if not self.wanted.autoscale:
            self._check_size(expected)

    def _check_size(self, expected: TimeRange) -> None:
        """See by the key frames that all wanted pictures have the size of the first."""
        size = self.first.width, self.first.height
        change = first_change(self.path, self.stream.index, size, expected)
        if change:
            sizes = f"from {size[0]}x{size[1]} to {change.width}x{change.height}"
            at = float(change.time - self.zero)
            hint = "--autoscale scales what follows, --frames encodes what is before"
            raise VideoError(f"{self.name}: changes {sizes} at {at:.2f} s; {hint}")

    @cached_property
    def _breaks(self) -> list[Break]:
        is_matroska = self.container.format.name == MATROSKA and not self.pipe
        return breaks(self.path) if is_matroska else []

    def _broken(self, begin: Fraction | None, end: Fraction | None) -> str:
        """Where the file is broken from `begin` to `end` (None: no bound), in words."""
        found = [
            each
            for each in self._breaks
            if (end is None or (each.end is not None and each.end < end))
            and (begin is None or each.end is None or each.end > begin)
        ]
        if not found:
            return ""
        places = "" if len(found) == 1 else f"in {len(found)} places, first "
        return f"is broken {places}behind {float(found[0].begin):.2f} s"

    def close(self) -> None:
        """Let the file go."""
        self.container.close()
        if self.pipe:
            self.pipe.close()

    def _choose(self, wanted: Selection) -> Choice:
        try:
            others = of_kinds(self.container, wanted.keep or ())
            return choose(self.container, wanted.video, others, None if self.strict else self.damage)
        except VideoError as error:
            raise VideoError(f"{self.name}: {error}") from None

    def _find_tracks(self, keep: Collection[StreamKind] | None) -> dict[int, Track]:
        tracks, lines = find_tracks(of_kinds(self.container, keep or ()), self.choice.heads)
        self.notices += lines
        return tracks

    def _find_extras(self, keep: Collection[StreamKind] | None) -> Extras:
        """Chapters and attachments, and what is said of the film, where anything is kept."""
        if keep is None:
            return Extras()
        attachments, lines = attachments_of(self.container, self.choice.covers)
        self.notices += lines
        tags = {key: value for key, value in kept_tags(self.stream.metadata).items() if value != "und"}
        words = PictureWords(int(self.stream.disposition) & 0xFFFFFFFF, tags)
        return Extras(chapters_of(self.container), attachments, words)

    def _tell_what_is_left(self, keep: Collection[StreamKind] | None) -> None:
        """Name each stream that nobody asked to leave out, and that is not kept."""
        streams = self.container.streams
        by_choice = {"attachment"} | {kind.name.lower() for kind in StreamKind} if keep is not None else set()
        left = [
            _in_words(stream, streams.video)
            for stream in streams
            if stream is not self.stream
            and stream.type not in by_choice
            and not (keep is not None and stream.index in self.choice.covers)
            and not _is_of_chapters(stream)
        ]
        if left:
            self.notices.append(f"one video stream is coded, left out: {', '.join(left)}")

    def _straightened(self, packets: Iterator[AnyPacket[Stream]]) -> Iterator[AnyPacket[Stream]]:
        """Close the jumps in time, tell of the first, and mark what is whole though it says otherwise."""
        if self.container.format.name == EDITED:
            return packets
        return whole_at_jumps(self._with_jumps(packets), self.stream.index)

    def _with_jumps(self, packets: Iterator[AnyPacket[Stream]]) -> Iterator[tuple[AnyPacket[Stream], bool]]:
        """The packets that are wanted, and whether their streams jump there."""
        timeline = Timeline(closes_gaps=self.container.format.name in BROADCAST)
        for packet in packets:
            index = packet.stream.index
            if index != self.stream.index and index not in self.tracks:
                continue
            before, part = len(timeline.jumps), timeline.parts.get(index)
            kept = timeline.straighten(packet)
            if before == 0 and timeline.jumps:
                at = float(timeline.jumps[0] - self.zero)
                self.notices.append(f"the times of the input jump at {at:.2f} s: what follows goes on there")
            if kept:
                yield packet, part not in (None, timeline.parts[index])

    def _progressive(self) -> Iterator[VideoFrame]:
        for picture in self._decode():
            if picture.interlaced_frame:
                raise VideoError(f"{self.name}: {INTERLACED}")
            yield picture

    def _deinterlaced(self) -> Iterator[VideoFrame]:
        """Give one frame for each that is decoded, made of whole pictures."""
        for _, pictures in groupby(self._decode(), shape_of):
            yield from self._woven(pictures)

    def _woven(self, pictures: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
        """Deinterlace pictures of one shape."""
        first, unit = next(pictures), self.stream.time_base
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=unit),
            graph.add("bwdif", "mode=send_frame"),
            graph.add("buffersink"),
        ).configure()
        for picture in chain([first], pictures, [None]):
            graph.vpush(picture)
            with suppress(av.BlockingIOError, av.EOFError):
                while True:
                    yield graph.vpull()

    def _decode(self) -> Iterator[VideoFrame]:
        """Give the pictures; where damage is met, VideoError behind those before it, or tell and go on."""
        if self.stream.codec_context is None:  # PyAV's types do not say so
            raise VideoError(f"{self.name}: {UNKNOWN_CODEC}")
        count = self.passed
        try:
            for picture in self._pictures():
                yield picture
                count += _said(picture) >= self.begin
        except (av.FFmpegError, EOFError) as error:
            why, done = getattr(error, "strerror", None) or error, f"{count} frame{'s' * (count != 1)}"
            if isinstance(error, av.PatchWelcomeError | av.NotImplementedError):
                raise VideoError(f"{self.name}: {UNKNOWN_CODEC} ({why}), after {done}") from error
            raise VideoError(f"{self.name}: is damaged or cut short after {done} ({why})") from error
        self.has_ended = True
        missing = self.pipe.missing() if self.pipe else self.missing
        if missing:
            self.damage.cut = f"is cut short by {missing} bytes"
            if self.strict:
                done = f"{count} frame{'s' * (count != 1)}"
                raise VideoError(f"{self.name}: {self.damage.cut}, after {done}")

    def _pictures(self) -> Iterator[VideoFrame]:
        """Decode; side data is put aside. Where damage ends it, EOFError or what FFmpeg raises."""
        for packet in self.packets:
            if packet.stream.index == self.stream.index:
                yield from self._decode_packet(packet)
            elif packet.stream.index in self.tracks and not self._put_aside(packet):
                yield from self._stop_or_count(packet, "damaged sound or subtitles")
        yield from self._held_back()

    def _held_back(self) -> list[VideoFrame]:
        """The pictures that the decoder keeps for reordering; nothing more can be decoded then."""
        end: AnyPacket[Stream] = AnyPacket()
        assert self.stream.time_base
        end.time_base = self.stream.time_base  # of the times of these pictures
        with suppress(av.FFmpegError):
            return self.stream.codec_context.decode(end)
        return []

    def _decode_packet(self, packet: AnyPacket[Stream]) -> Iterator[VideoFrame]:
        """What FFmpeg makes of a packet, mended by it where that is damaged, unless that ends it."""
        why = "incomplete packet" if packet.is_corrupt and packet.opaque != WHOLE else ""
        if why and self.strict:
            yield from self._stop_or_count(packet, why)
        pictures: list[VideoFrame] = []
        try:
            pictures = self.stream.codec_context.decode(packet)
        except av.FFmpegError as error:
            why = str(error.strerror)
        for picture in pictures:
            if picture.is_corrupt:
                why = "decoding errors"
                if self.strict and _said(picture) >= self.begin:
                    raise EOFError(why)
            yield picture
        if why:
            yield from self._stop_or_count(packet, why)

    def _stop_or_count(self, packet: AnyPacket[Stream], why: str) -> Iterator[VideoFrame]:
        """Of a damaged packet: where that ends it, the pictures held back by reordering, then EOFError."""
        time = packet.pts * packet.time_base if packet.pts is not None else None
        if time is not None and time < self.begin:
            return
        time = None if time is None else time - self.zero
        if self.strict:
            yield from self._held_back()
            raise EOFError(why)
        if not self.damage.packets:
            where = "" if time is None else f" at {float(time):.2f} s"
            self.notices.append(f"damage{where} is passed over (--strict stops at damage)")
        self.damage.count(time)

    def _put_aside(self, packet: AnyPacket[Stream]) -> bool:
        """Keep a packet of side data until the next picture comes; False where it is damaged."""
        taken = self.tracks[packet.stream.index].take(packet)
        self.early += [taken] if taken else []
        return bool(taken)

    def read_on(self) -> None:
        """Behind the last wanted picture, see what was missed, and read the side data that comes later."""
        last = None if self.has_ended else self.shown
        self.damage.broken = self._broken(self.side_data.time_range.begin, last)
        if self.strict and self.damage.broken:
            raise VideoError(f"{self.name}: {self.damage.broken}")
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

    def _find_zero(self, film: VideoStream) -> Fraction:
        """Where times begin, in seconds: anywhere in broadcasts."""
        if self.container.format.name in BROADCAST and self.container.start_time:
            unit = film.time_base or Fraction(1, av.time_base)
            return round(Fraction(self.container.start_time, av.time_base) / unit) * unit
        return Fraction(0)

    def _describe_side_data(self) -> SideData:
        """Note tags, streams and when the first picture is shown."""
        file = FileHeader(self.origin - self.zero, kept_tags(self.container.metadata))
        headers = {track.header.index: track.header for track in self.tracks.values()}
        expected = self._expected() if self.extras.chapters else TimeRange()
        extras = replace(self.extras, light=light_of(self.first))
        return SideData(file, headers, extras, TimeRange(back=self.zero), expected)

    def _expected(self) -> TimeRange:
        """The time that is wanted, as it can be known before the pictures are decoded."""
        start, frames = self.wanted.start, self.wanted.frames
        begin = self._when(start) if start else None
        end = None if frames is None else self._when(start + frames)
        return TimeRange(begin, end, (begin or self.origin) - self.origin + self.zero)

    def _when(self, picture: int) -> Fraction:
        """When a picture is shown, in seconds, by its packet or else at the nominal rate."""
        said = self._time_of(picture)
        return self.origin + picture / self.format.frame_rate if said is None else said

    @property
    def clock(self) -> PacketClock | None:
        """What tells when pictures are shown; None at a constant rate, and of a pipe."""
        if self.is_steady or self.pipe:
            return None
        return PacketClock(self.path, self.stream.index, self.origin)

    def _time_of(self, picture: int) -> Fraction | None:
        """When a picture is shown, in seconds, by its packet; None where none says it."""
        since = self.clock.time_of(picture) if self.clock else None
        return None if since is None else self.origin + since

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
            chroma_location=chroma_location_of(self.stream) if self.converter.keeps_chroma else 0,
            rotation=self.first.rotation % 360,
            bit_depth=self.converter.bit_depth,
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
        if not average or not guessed:
            return average or guessed or FALLBACK_RATE
        if abs(average / guessed - 1) < Fraction(1, 200):
            return guessed  # the average is off by the rounding of timestamps
        if self.pipe:  # its average is that of what has come so far
            return guessed
        step = self.clock.usual_step() if self.clock else None
        return min(average, guessed, key=lambda rate: abs(rate * step - 1)) if step else average

    def _count(self) -> int | None:
        if self.stream.frames:
            return self.stream.frames
        if self.stream.duration and self.stream.time_base:
            return round(self.stream.duration * self.stream.time_base * self.format.frame_rate)
        if self.container.duration:
            return round(Fraction(self.container.duration, av.time_base) * self.format.frame_rate)
        return None

    def _seek(self, wanted: Selection) -> None:
        """Go to some seconds before the first wanted picture, if packets say when it is shown.

        Where decoding from there does not give that picture, all stays as it is.
        """
        time = self._time_of(wanted.start)
        at_first = self.container, self.stream, self.packets, self.pictures, self.begin, self.early
        for lead in LEADS if time is not None else ():
            if time is None or time - lead <= self.origin:
                break
            self.begin, self.early = time, []
            found = None
            with suppress(av.FFmpegError):
                self._open_at(time - lead, wanted)
                found = next((p for p in self.pictures if _said(p) >= time), None)
            if found is not None and _said(found) == time:
                at_first[0].close()
                self.first, self.shown, self.passed = found, time, wanted.start
                return
            if self.container is not at_first[0]:
                self.container.close()
        self.container, self.stream, self.packets, self.pictures, self.begin, self.early = at_first

    def _open_at(self, time: Fraction, wanted: Selection) -> None:
        """Open the file once more, at a key frame at or before a time."""
        index, self.container = self.stream.index, av.open(f"file:{self.path}", metadata_errors="ignore")
        stream = self.container.streams[index]
        assert isinstance(stream, VideoStream)
        assert stream.time_base
        self.stream = stream
        self.container.seek(int(time / stream.time_base), stream=stream)
        streams = [stream, *of_kinds(self.container, wanted.keep or ())]
        packets = read_packets(self.container, streams, None if self.strict else self.damage)
        self.packets = self._straightened(packets)
        self.pictures = self._deinterlaced() if wanted.deinterlace else self._progressive()

    def _frames(self) -> Iterator[TimedFrame]:
        for count, picture in enumerate(
            chain([self.first], self.pictures), start=self.passed - self.wanted.start
        ):
            time = self.shown = self.shown if picture is self.first else self._time(picture)
            if self.wanted.start and count <= 0:
                self.side_data.begin_at(time, time - self.origin + self.zero)
            self._settle(count)
            self._tell_what_is_lost(picture)
            yield TimedFrame(self.converter.convert(self._alike(picture)), time - self.origin)

    def _tell_what_is_lost(self, picture: VideoFrame) -> None:
        """Name, once, what is said beside a picture and not kept, where anything is kept."""
        lost = [] if self.wanted.keep is None else not_kept(said_beside(picture))
        if new := [each for each in lost if each not in self.lost]:
            self.notices.append(f"said beside the pictures and not kept: {', '.join(new)}")
            self.lost.update(new)

    def _alike(self, picture: VideoFrame) -> VideoFrame:
        """The picture in the shape of the first; the first one that must be scaled is told."""
        before, now = self.converter.shape, shape_of(picture)
        if now == before:
            return picture
        change = f"changes from {before} to {now} at {float(self.shown - self.zero):.2f} s"
        if not self.wanted.autoscale:
            raise VideoError(f"{self.name}: {change}; --autoscale scales what follows")
        if not self.scaled:
            self.notices.append(f"the input {change}: such pictures are scaled to {before}")
        self.scaled = True
        return self.converter.scale(picture)

    def _time(self, picture: VideoFrame) -> Fraction:
        """When a picture is shown, in seconds: always later than the one before."""
        if picture.pts is None or picture.time_base is None or self.is_steady:
            return self.shown + 1 / self.format.frame_rate
        return max(_said(picture), self.shown + picture.time_base)


def _said(picture: VideoFrame) -> Fraction:
    """When it is shown, in seconds; 0 where nothing says so."""
    return (
        Fraction(0) if picture.pts is None or picture.time_base is None else picture.pts * picture.time_base
    )


def _in_words(stream: Stream, videos: Sequence[Stream]) -> str:
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
    number = f" (--video {videos.index(stream)} codes it instead)" if stream in videos else ""
    return " ".join(filter(None, (stream.type, codec))) + number


def _is_of_chapters(stream: Stream) -> bool:
    """Whether it is the track in which mp4 has the titles of its chapters: FFmpeg has read it already."""
    return stream.type == "data" and stream.discard == Discard.all and bool(stream.container.chapters())


def _known(code: int) -> int:
    """A code of H.273, less FFmpeg's additions beyond its 8 bits."""
    return int(code) if code <= 255 else UNKNOWN_COLOUR
