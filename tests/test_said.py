"""What is said beside single pictures, and cannot be kept, is told in a line."""

import re
from dataclasses import replace
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from clips import deepened, format_of, moving, write
from commands import FAST, Command

from bcodec.bitstream.sidecar import StreamKind
from bcodec.video import VideoReader, VideoWriter

START = b"\0\0\0\1"  # of each unit of a bare stream
# ITU-T T.35: country, provider and what it says there.
CAPTIONS = bytes.fromhex("b5 0031 47413934 03 41 ff fc9420 ff")  # ATSC A/53, one triple of bytes
HDR10_PLUS = bytes.fromhex("b5 003c 0001 04 01 40") + bytes(14) + b"\1"  # SMPTE ST 2094-40, one window
EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + bytes.fromhex("0001 0112 0003 00000001 0001 0000 00000000")


def bare(path: Path, codec: str, message: bytes) -> Path:
    """Two pictures as an elementary stream, before the second the message of a T.35 registrant."""
    units = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream.codec_context.max_b_frames = 0
        for picture in [VideoFrame(64, 48, "yuv420p"), VideoFrame(64, 48, "yuv420p"), None]:
            units += [bytes(packet) for packet in stream.encode(picture)]
    head = b"\x4e\x01" if codec == "libx265" else b"\x06"  # a unit of supplemental enhancement information
    said = re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", bytes([4, len(message)]) + message)
    path.write_bytes(units[0] + START + head + said + b"\x80" + units[1])
    return path


def photo(folder: Path) -> str:
    """Two numbered photos with EXIF, as cameras write them; their pattern."""
    with av.open(str(folder / "a0.jpg"), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.mux(stream.encode(VideoFrame(64, 48, "yuvj420p")))
        container.mux(stream.encode(None))
    whole = (folder / "a0.jpg").read_bytes()
    for name in ("a0.jpg", "a1.jpg"):
        segment = b"\xff\xe1" + (len(EXIF) + 2).to_bytes(2) + EXIF
        (folder / name).write_bytes(whole[:2] + segment + whole[2:])
    return str(folder / "a%d.jpg")


@pytest.mark.parametrize(
    ("codec", "ending", "message", "what"),
    [
        ("libx264", "h264", CAPTIONS, "closed captions"),
        ("libx265", "hevc", HDR10_PLUS, "HDR10+"),
    ],
)
def test_what_a_picture_says_and_is_not_kept_is_told_once(
    tmp_path: Path, codec: str, ending: str, message: bytes, what: str
) -> None:
    path = bare(tmp_path / f"a.{ending}", codec, message)
    with VideoReader(path, keep=list(StreamKind)) as reader:
        assert not reader.notices
        assert len(list(reader)) == 2
        assert reader.notices == [f"said beside the pictures and not kept: {what}"]
    with VideoReader(path) as reader:  # who keeps nothing is told nothing
        assert len(list(reader)) == 2
        assert not reader.notices


def test_photos_are_read_whatever_is_said_beside_them(run: Command, tmp_path: Path) -> None:
    result = run("encode", photo(tmp_path), "-o", tmp_path / "a.bcv", "--fps", 25, *FAST)
    assert result.status == 0, result.err
    assert "said beside the pictures and not kept: what PyAV cannot read, as EXIF\n" in result.err
    assert "2 frames" in result.err


@pytest.mark.parametrize("location", [1, 2, 3, 4])
@pytest.mark.parametrize(("ending", "bits"), [("mp4", 8), ("mp4", 10), ("mkv", 8), ("mkv", 10)])
def test_the_place_of_chroma_is_read_as_it_was_written(
    tmp_path: Path, ending: str, bits: int, location: int
) -> None:
    frames = deepened(moving(3)) if bits == 10 else moving(3)
    format = replace(format_of(frames[0]), chroma_location=location)
    with VideoReader(write(tmp_path / f"a.{ending}", frames, format)) as reader:
        assert reader.format.chroma_location == location


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("location", [0, 1, 2, 3, 4])
def test_y4m_keeps_the_place_of_chroma_or_says_that_it_does_not(
    tmp_path: Path, bits: int, location: int
) -> None:
    frames = deepened(moving(1)) if bits == 10 else moving(1)
    format = replace(format_of(frames[0]), chroma_location=location)
    with VideoWriter(tmp_path / "a.y4m", format) as writer:
        writer.write(frames[0])
    with VideoReader(tmp_path / "a.y4m") as reader:
        same = reader.format.chroma_location == location
    usual = location <= 1  # what is not said is taken for left
    told = "y4m cannot say where the samples of chroma are; mkv and mp4 can"
    assert writer.notices == ([] if same or usual else [told])
