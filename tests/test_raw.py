"""Bare samples of all usual pixel formats come in, and are not taken for others without a line."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from clips import moving, write
from commands import FAST, Command, feed, one_error, pictures

from bcodec.cli.arguments import RAW_PIXELS
from bcodec.frame import Frame
from bcodec.video import VideoReader
from bcodec.video.convert import to_video_frame
from bcodec.video.raw import OTHERS, raw_bytes

SIZE, COUNT = (64, 48), 3
RAW: dict[str, Any] = {"size": SIZE, "frame_rate": Fraction(25)}
RAW_OPTIONS = ("--size", "64x48", "--fps", 25)


def pale() -> list[Frame]:
    """Pictures whose colours all formats can hold: RGB has no dark or bright blue."""
    return [
        Frame(frame.y // 2 + 60, *(plane // 8 + 112 for plane in (frame.u, frame.v)))
        for frame in moving(COUNT)
    ]


def bare(path: Path, pixels: str) -> Path:
    """Bare pictures of a pixel format, made by FFmpeg."""
    encoder = CodecContext.create("rawvideo", "w")
    assert isinstance(encoder, VideoCodecContext)
    (encoder.width, encoder.height), encoder.pix_fmt, encoder.time_base = SIZE, pixels, Fraction(1, 25)
    made = [to_video_frame(frame).reformat(format=pixels) for frame in pale()]
    path.write_bytes(b"".join(bytes(packet) for each in made for packet in encoder.encode(each)))
    return path


@pytest.mark.parametrize("pixels", RAW_PIXELS)
def test_samples_are_what_they_are_told_to_be(tmp_path: Path, pixels: str) -> None:
    with VideoReader(bare(tmp_path / "a.yuv", pixels), **RAW, raw_pixels=pixels) as reader:
        assert reader.frame_count == COUNT
        found = list(reader)
    deep = any(depth in pixels for depth in ("10le", "12le", "16le"))
    assert {frame.bit_depth for frame in found} == {10 if deep else 8}
    native = pixels in ("yuv420p", "yuv420p10le")
    assert [notice.startswith(f"input is {pixels}: ") for notice in reader.notices] == [True] * (not native)
    errors = [
        np.abs(after.at_depth(8).y.astype(int) - before.y).max()
        for after, before in zip(found, pale(), strict=True)
    ]
    stretched = "gray" in pixels  # to full range, by FFmpeg that made it
    assert max(errors) <= (20 if stretched else 3 if "yuv" not in pixels else 1)


def test_semi_planar_and_planar_are_the_same_pictures(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planar, semi = bare(tmp_path / "a.i420", "yuv420p"), bare(tmp_path / "b.yuv", "nv12")
    assert pictures(semi, **RAW, raw_pixels="nv12") == pictures(planar, **RAW)
    assert run("encode", planar, "-o", tmp_path / "a.bcv", *RAW_OPTIONS, *FAST).err.count("raw video") == 0
    feed(monkeypatch, semi.read_bytes())
    assert run("encode", "-", "-o", tmp_path / "b.bcv", *RAW_OPTIONS, "--pix-fmt", "nv12", *FAST).status == 0
    assert (tmp_path / "b.bcv").read_bytes() == (tmp_path / "a.bcv").read_bytes()


def test_nothing_is_taken_for_planar_420_without_a_word(run: Command, tmp_path: Path) -> None:
    source = bare(tmp_path / "a.yuv", "yuv422p")  # as long as four pictures of 4:2:0
    result = run("encode", source, "-o", tmp_path / "a.bcv", *RAW_OPTIONS, *FAST)
    assert "a.yuv: raw video is taken as yuv420p; --pix-fmt tells others, such as nv12\n" in result.err
    source.write_bytes(source.read_bytes()[: raw_bytes("yuv422p", SIZE)])
    result = run("encode", source, "-o", tmp_path / "b.bcv", *RAW_OPTIONS, *FAST)
    one_error(result, 1, "1 frames and 1536 bytes over; --pix-fmt may be yuv422p or gray")
    assert set(OTHERS) <= set(RAW_PIXELS)


def test_pictures_of_422_are_counted_by_their_own_bytes(run: Command, tmp_path: Path) -> None:
    source = bare(tmp_path / "a.yuv", "yuv422p")
    reference = write(tmp_path / "a.y4m", pale())
    result = run("compare", reference, source, "--pix-fmt", "yuv422p", "--no-ms-ssim")
    assert "16.00000" in result.out.decode()  # bits per pixel
