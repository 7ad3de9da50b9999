"""What a video says beside its pictures, and which of it is not kept."""

from __future__ import annotations

import io

import av
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bcodec.video.matroska import chroma_location

NOT_KEPT = {  # by FFmpeg's name; of the others nothing is lost that a picture is shown by
    "A53_CC": "closed captions",
    "AFD": "the active format",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient light",
    "DOVI_METADATA": "Dolby Vision",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "ICC_PROFILE": "an ICC profile",
    "PANSCAN": "pan and scan",
    "S12M_TIMECODE": "timecodes",
    "SPHERICAL": "the projection of a sphere",
    "STEREO3D": "where the views of two eyes are",
}
UNREADABLE = "what PyAV cannot read, as EXIF"
FLAT = bytes(4)  # how STEREO3D begins where there is one view


def said_beside(picture: VideoFrame) -> dict[str, bytes] | None:
    """What is said beside a decoded picture, by FFmpeg's name, as FFmpeg has it in memory.

    None where one of it is newer than PyAV, which then shows nothing.
    """
    try:
        found = list(picture.side_data)
    except ValueError:
        return None
    return {each.type.name: bytes(each) for each in found if isinstance(each, SideData)}


def not_kept(said: dict[str, bytes] | None) -> list[str]:
    """What of it a .bcv file does not hold, in words."""
    if said is None:
        return [UNREADABLE]
    lost = (NOT_KEPT.get(kind, "") for kind, data in said.items() if kind != "STEREO3D" or data[:4] != FLAT)
    return sorted(set(filter(None, lost)))


def chroma_location_of(stream: VideoStream) -> int:
    """Where the chroma of an open stream of 4:2:0 is, in FFmpeg's numbers; 0 is unknown.

    PyAV does not show it: but FFmpeg writes it into a Matroska file whose stream is like this one.
    """
    file = io.BytesIO()
    try:
        with av.open(file, "w", format="matroska") as container:
            container.add_stream_from_template(stream, opaque=True)
            container.start_encoding()
    except (av.FFmpegError, ValueError):  # a codec that Matroska does not hold
        return 0
    return chroma_location(file.getvalue())
