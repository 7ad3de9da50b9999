"""Video files written by FFmpeg: pictures encoded, and muxed with the side data."""

from __future__ import annotations

import sys
from fractions import Fraction
from math import gcd, lcm

import av
from av.packet import Packet as AnyPacket
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.light import Light
from bcodec.bitstream.sidecar import SideData, StreamHeader
from bcodec.frame import Frame
from bcodec.video.convert import PIXELS, to_video_frame
from bcodec.video.extras import add_extras
from bcodec.video.light import add_lit_stream
from bcodec.video.matroska import codec_delay, refine_times, time_factor, write_aspect
from bcodec.video.tracks import add_tracks

CONTAINERS = {"mkv": "matroska", "mp4": "mp4"}  # by the kind of file, in FFmpeg's name
FFV1 = "ffv1", {"level": "3"}
ENCODERS: dict[tuple[str, int], tuple[str, dict[str, str]]] = {  # kind, bits -> encoder, its options
    ("mkv", 8): FFV1,
    ("mkv", 10): FFV1,
    ("mp4", 8): ("libx264", {"crf": "12", "x264-params": "force-cfr=1"}),
    ("mp4", 10): ("libx265", {"crf": "12", "x265-params": "log-level=none"}),
}
HEVC_TAG = "hvc1"  # without it, Apple's players play no HEVC in mp4
TOO_FEW = 2  # pictures: of so many libx265 leaves the decoding times to chance, and reorders none
FINEST = Fraction(1, 1_000_000)  # second


class StandardOutput:
    """Standard output as FFmpeg must see it: without going back, whatever it leads to."""

    def write(self, data: bytes) -> int:
        """Write at once, for whoever plays it."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return len(data)


class ContainerOutput:
    """An open output that FFmpeg writes: a container with pictures and side data."""

    def __init__(self, path: str, format: VideoFormat, kind: str, side_data: SideData) -> None:
        codec, options = ENCODERS[kind, format.bit_depth]
        self.path, self.format, self.kind = path, format, kind
        self.count, self.is_h265 = 0, codec == "libx265"
        refines = kind == "mkv" and path != "-"  # which needs to go back
        self.factor = time_factor(format.frame_rate) if refines else 1  # of all times, for the muxer
        self.codec_delays: dict[int, Fraction] = {}  # by stream, in seconds
        self.container = av.open(
            StandardOutput() if path == "-" else f"file:{path}",
            "w",
            format=CONTAINERS[kind],
            options={"max_interleave_delta": f"{self.factor}000000"},
        )
        self.side_data, self.period, self.last = side_data, 1 / format.frame_rate, -(1 << 62)
        try:
            options = options | {"chroma_sample_location": str(format.chroma_location)}
            stream = self.stream = self._add_stream(codec, options)
            self._describe(format)
            if self.is_h265:
                stream.codec_context.codec_tag = HEVC_TAG
            stream.codec_context.open()
            self.container.metadata.update(side_data.file.tags)
            self.tracks, self.notices = add_tracks(self.container, side_data.streams.values())
            covers, lines = add_extras(self.container, stream, side_data)
            self.notices += lines
            self.container.start_encoding()  # or an unwritable path shows only at the first frame
            self.container.mux(covers)
        except BaseException:
            self.container.close()
            raise

    def _add_stream(self, codec: str, options: dict[str, str]) -> VideoStream:
        format, light = self.format, self.side_data.extras.light
        if light != Light():
            stream = add_lit_stream(self.container, codec, options, (format.width, format.height), light)
            stream.codec_context.framerate = format.frame_rate
            return stream
        plain = self.container.add_stream(codec, rate=format.frame_rate, options=options)
        assert isinstance(plain, VideoStream)
        return plain

    def _describe(self, format: VideoFormat) -> None:
        self.stream.pix_fmt = PIXELS[format.bit_depth]
        self.stream.width, self.stream.height = format.width, format.height
        context = self.stream.codec_context
        context.color_range, context.colorspace = format.colour_range, format.colour_matrix
        context.color_primaries, context.color_trc = format.colour_primaries, format.colour_transfer
        if format.sample_aspect_ratio:
            context.sample_aspect_ratio = format.sample_aspect_ratio
        if format.rotation:
            self.stream.set_display_rotation(format.rotation)
        self.tick = _tick(self.period, format.time_base, self.side_data.file.start)
        context.time_base = self.tick

    def write(self, frame: Frame, time: Fraction) -> None:
        """Add one picture, and before it the side data that belongs there."""
        picture = to_video_frame(frame)
        time += self.side_data.file.start
        self._add(self.side_data.until(time))
        self.last = max(round(time / self.tick), self.last + 1)  # a hostile file may have any times
        picture.pts, picture.time_base = self.last, self.tick
        picture.duration = round(self.period / self.tick)
        self._mux_pictures(picture)

    def _mux_pictures(self, picture: VideoFrame | None) -> None:
        self.count += picture is not None
        for packet in self.stream.encode(picture):
            if self.is_h265 and self.count <= TOO_FEW:
                packet.dts = packet.pts
            packet.time_base *= self.factor
            self.container.mux(packet)

    def _add(self, packets: list[AuxiliaryPacket]) -> None:
        for packet in packets:
            track = self.tracks.get(packet.stream)
            if track is None:
                continue
            try:
                if (ready := track.packet(packet)) is not None:
                    self.container.mux(self._lengthened(ready, track.header))
            except (av.ArgumentError, av.InvalidDataError, OverflowError) as error:  # times that go back, say
                self.notices.append(f"the {track.header} ends early: {getattr(error, 'strerror', error)}")
                del self.tracks[packet.stream]

    def _lengthened(self, packet: AnyPacket[Stream], track: StreamHeader) -> AnyPacket[Stream]:
        """Give the muxer longer times; the delay of a codec it adds itself, as long as ever."""
        if self.factor > 1:
            if track.index not in self.codec_delays:
                self.codec_delays[track.index] = codec_delay(track.template)
            delay = self.codec_delays[track.index] / packet.time_base
            late = round(delay - delay / self.factor)
            packet.pts = None if packet.pts is None else packet.pts + late
            packet.dts = None if packet.dts is None else packet.dts + late
            packet.time_base *= self.factor
        return packet

    def finish(self) -> None:
        """Write what is held back, and complete the file."""
        self._add(self.side_data.until(None))
        self._mux_pictures(None)
        self.container.close()
        if self.factor > 1:
            refine_times(self.path, self.factor)
        aspect, size = self.format.sample_aspect_ratio, (self.format.width, self.format.height)
        if self.kind != "mkv" or not aspect:
            return
        if aspect != 1 if self.path == "-" else not write_aspect(self.path, aspect, *size):
            self.notices.append(f"the sample aspect ratio {aspect} is not written to mkv")

    def close(self) -> None:
        """Let the file go, complete or not."""
        self.container.close()


def _tick(*times: Fraction) -> Fraction:
    """The largest unit of time (in seconds) of which all are multiples, or else one that is fine enough."""
    whole = lcm(*(time.denominator for time in times))
    tick = Fraction(gcd(*(int(time * whole) for time in times)), whole)
    return tick if tick.denominator < 1 << 31 else FINEST
