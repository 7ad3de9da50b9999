"""Video files written by FFmpeg: pictures encoded, and muxed with the side data."""

from __future__ import annotations

import sys
from fractions import Fraction
from math import gcd

import av
from av.video.stream import VideoStream

from bcodec.bitstream import AuxiliaryPacket, VideoFormat
from bcodec.bitstream.sidecar import SideData
from bcodec.frame import Frame
from bcodec.video.convert import to_video_frame
from bcodec.video.extras import add_extras
from bcodec.video.matroska import write_aspect
from bcodec.video.tracks import add_tracks

ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {  # kind -> container, encoder, its options
    "mkv": ("matroska", "ffv1", {"level": "3"}),
    "mp4": ("mp4", "libx264", {"crf": "12"}),
}


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
        container, codec, options = ENCODERS[kind]
        self.path, self.format, self.kind = path, format, kind
        self.container = av.open(
            StandardOutput() if path == "-" else f"file:{path}",
            "w",
            format=container,
            options={"max_interleave_delta": "1000000"},
        )
        self.side_data, self.period, self.count = side_data, format.time_base, 0
        try:
            options = options | {"chroma_sample_location": str(format.chroma_location)}
            stream = self.container.add_stream(codec, rate=format.frame_rate, options=options)
            assert isinstance(stream, VideoStream)
            self.stream = stream
            self._describe(format)
            self.container.metadata.update(side_data.file.tags)
            self.tracks, self.notices = add_tracks(self.container, side_data.streams.values())
            covers, lines = add_extras(self.container, stream, side_data)
            self.notices += lines
            self.container.start_encoding()  # or an unwritable path shows only at the first frame
            self.container.mux(covers)
        except BaseException:
            self.container.close()
            raise

    def _describe(self, format: VideoFormat) -> None:
        self.stream.pix_fmt = "yuv420p"
        self.stream.width, self.stream.height = format.width, format.height
        context = self.stream.codec_context
        context.color_range, context.colorspace = format.colour_range, format.colour_matrix
        context.color_primaries, context.color_trc = format.colour_primaries, format.colour_transfer
        if format.sample_aspect_ratio:
            context.sample_aspect_ratio = format.sample_aspect_ratio
        if format.rotation:
            self.stream.set_display_rotation(format.rotation)
        self.tick = _tick(self.period, self.side_data.file.start)
        context.time_base = self.tick

    def write(self, frame: Frame) -> None:
        """Add one picture, and before it the side data that belongs there."""
        picture = to_video_frame(frame)
        time = self.side_data.file.start + self.count * self.period
        self._add(self.side_data.until(time))
        picture.pts, picture.time_base = round(time / self.tick), self.tick
        picture.duration = round(self.period / self.tick)
        self.container.mux(self.stream.encode(picture))
        self.count += 1

    def _add(self, packets: list[AuxiliaryPacket]) -> None:
        for packet in packets:
            track = self.tracks.get(packet.stream)
            if track is None:
                continue
            try:
                if (ready := track.packet(packet)) is not None:
                    self.container.mux(ready)
            except (av.ArgumentError, av.InvalidDataError, OverflowError) as error:  # times that go back, say
                self.notices.append(f"the {track.header} ends early: {getattr(error, 'strerror', error)}")
                del self.tracks[packet.stream]

    def finish(self) -> None:
        """Write what is held back, and complete the file."""
        self._add(self.side_data.until(None))
        self.container.mux(self.stream.encode(None))
        self.container.close()
        aspect, size = self.format.sample_aspect_ratio, (self.format.width, self.format.height)
        if self.kind != "mkv" or not aspect:
            return
        if aspect != 1 if self.path == "-" else not write_aspect(self.path, aspect, *size):
            self.notices.append(f"the sample aspect ratio {aspect} is not written to mkv")

    def close(self) -> None:
        """Let the file go, complete or not."""
        self.container.close()


def _tick(period: Fraction, start: Fraction) -> Fraction:
    """The largest unit of time (in seconds) of which both are multiples, or else one that is fine enough."""
    whole = period.denominator * start.denominator
    tick = Fraction(gcd(period.numerator * start.denominator, start.numerator * period.denominator), whole)
    return tick if tick.denominator < 1 << 31 else period / 256
