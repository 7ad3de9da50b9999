"""Numbered pictures are a video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from commands import FAST, Command, count_frames

from bcodec.bitstream import BitstreamReader
from bcodec.video import VideoReader


def numbered(folder: Path, levels: list[int]) -> Path:
    """Gray pictures p003.png, p004.png, ..., and the pattern of their names."""
    for number, level in enumerate(levels, start=3):
        path = folder / f"p{number:03d}.png"
        with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
            stream = container.add_stream("png", rate=25)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
            picture = VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), "rgb24")
            container.mux([*stream.encode(picture), *stream.encode(None)])
    return folder / "p%03d.png"


def test_numbered_pictures_are_frames_in_order(run: Command, tmp_path: Path) -> None:
    pattern, target = numbered(tmp_path, [60, 200, 120]), tmp_path / "out.bcv"
    with VideoReader(pattern, frame_rate=Fraction(24)) as reader:
        assert reader.format.frame_rate == 24
        assert len(reader.notices) == 1  # of the conversion
        shown = [frame.y.mean() for frame in reader]
    assert [(level - 16) * 255 / 219 for level in shown] == pytest.approx([60, 200, 120], abs=0.6)
    result = run("encode", pattern, "-o", target, "--fps", 24, "--bitrate", "1M", *FAST)
    assert result.status == 0, result.err
    assert count_frames(target) == 3
    with target.open("rb") as file:
        assert BitstreamReader(file).header.video.frame_rate == 24
    result = run("encode", pattern, "-o", tmp_path / "b.bcv", "--start", "0.04s", *FAST)
    assert "the input does not say its frame rate: taken as 25 fps" in result.err
    assert count_frames(tmp_path / "b.bcv") == 2


def test_a_pattern_without_pictures_is_told(run: Command, tmp_path: Path) -> None:
    result = run("encode", tmp_path / "q%03d.png", "-o", tmp_path / "out.bcv")
    assert (result.status, "q%03d.png: is not a video that can be read (No such file" in result.err) == (
        1,
        True,
    )
