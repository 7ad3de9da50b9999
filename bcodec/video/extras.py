"""Chapters, attachments and cover pictures of video files, out of a container and into another."""

from __future__ import annotations

import io
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from bcodec.bitstream.extras import COVER, LATEST_CHAPTER, NANOSECONDS, Attachment, Chapter
from bcodec.bitstream.sidecar import SideData
from bcodec.video.tracks import kept_tags

PICTURE_FILES = {  # of the codecs that a cover may have: how its file ends, and its type
    "mjpeg": ("jpg", "image/jpeg"),
    "png": ("png", "image/png"),
    "bmp": ("bmp", "image/bmp"),
    "gif": ("gif", "image/gif"),
    "webp": ("webp", "image/webp"),
}
IN_MP4 = ("mjpeg", "png", "bmp")
UNKNOWN_TYPE = "application/octet-stream"
NOT_THE_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


# ---------------------------------------------------------------- out of a file


def chapters_of(container: InputContainer) -> list[Chapter]:
    """The chapters that have a begin, an end and a time between 0 and some years."""
    found = []
    for each in container.chapters():
        unit = each["time_base"] or Fraction(1)
        begin, end = each["start"] * unit, each["end"] * unit
        if begin <= end <= Fraction(LATEST_CHAPTER, NANOSECONDS) and end >= 0:
            tags = {key: value for key, value in each["metadata"].items() if value}
            found.append(Chapter(max(begin, Fraction(0)), end, tags))
    return found


def attachments_of(container: InputContainer, covers: dict[int, bytes]) -> tuple[list[Attachment], list[str]]:
    """The attachments and the covers, these from their files by index of stream; lines for what is left."""
    found = []
    for stream in container.streams:
        if isinstance(stream, AttachmentStream):
            tags = kept_tags(stream.metadata)
            found.append(Attachment(stream.data, int(stream.disposition) & 0xFFFFFFFF, tags))
        elif stream.index in covers and isinstance(stream, VideoStream):
            found.append(_cover(stream, covers[stream.index]))
    left = [f"the {each} is left out: it is empty, or too long" for each in found if not each.fits]
    return [each for each in found if each.fits], left


def _cover(stream: VideoStream, data: bytes) -> Attachment:
    ending, kind = PICTURE_FILES[stream.codec_context.codec.canonical_name]
    tags = {"filename": f"cover.{ending}", "mimetype": kind} | kept_tags(stream.metadata)
    return Attachment(data, int(stream.disposition) & 0xFFFFFFFF | COVER, tags)


def is_cover(stream: Stream) -> bool:
    """Whether a stream is one picture that stands for the film, in a codec that others can hold."""
    return (
        isinstance(stream, VideoStream)
        and bool(stream.disposition & Disposition.attached_pic)
        and not stream.disposition & Disposition.timed_thumbnails
        and stream.codec_context is not None
        and stream.codec_context.codec.canonical_name in PICTURE_FILES
    )


# ---------------------------------------------------------------- into a file


def add_extras(
    container: OutputContainer, video: VideoStream, side_data: SideData
) -> tuple[list[Packet[Stream]], list[str]]:
    """Give a container what it can hold: the packets to write first, and a line for all that it cannot."""
    words, lines = side_data.extras.pictures, []
    video.disposition = Disposition(words.disposition & ~NOT_THE_FILM)
    video.metadata.update(words.tags)
    container.set_chapters(
        [
            {
                "id": number,
                "start": round(chapter.begin * NANOSECONDS),
                "end": round(chapter.end * NANOSECONDS),
                "time_base": Fraction(1, NANOSECONDS),
                "metadata": chapter.tags,
            }
            for number, chapter in enumerate(side_data.chapters(), start=1)
        ]
    )
    packets = []
    for attachment in side_data.extras.attachments:
        if container.format.name == "matroska":
            _attach(container, attachment)
        elif packet := _as_cover(container, attachment):
            packets.append(packet)
        else:
            lines.append(f"{container.format.name} cannot hold the {attachment}: it is left out")
    return packets, lines


def _attach(container: OutputContainer, attachment: Attachment) -> None:
    kind = attachment.tags.get("mimetype") or UNKNOWN_TYPE
    stream = container.add_attachment(attachment.name or "attachment", kind, attachment.data)
    others = {key: value for key, value in attachment.tags.items() if key not in ("filename", "mimetype")}
    stream.metadata.update(others)


def _as_cover(container: OutputContainer, attachment: Attachment) -> Packet[Stream] | None:
    """A stream of the one picture, and its packet; None where it is none that mp4 knows."""
    if not attachment.is_cover:
        return None
    try:
        with av.open(io.BytesIO(attachment.data), metadata_errors="ignore") as picture:
            template = picture.streams.video[0]
            if template.codec_context.codec.canonical_name not in IN_MP4:
                return None
            stream = container.add_stream_from_template(template)
    except (av.FFmpegError, IndexError, ValueError, OSError):
        return None
    stream.disposition = Disposition.attached_pic
    packet = Packet(attachment.data)
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = 0
    packet.is_keyframe = True
    return packet
