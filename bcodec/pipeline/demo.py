"""A clip to try the codec on, and pictures to look at."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext
from av.video.frame import VideoFrame

RATE, WIDTH, HEIGHT = 25, 416, 240
SCENE = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE},hue=s=0.5,gblur=sigma=0.7"  # moving shapes and figures
TONE = f"sine=frequency=220:beep_factor=4:sample_rate=48000:samples_per_frame={48000 // RATE}"

Picture = npt.NDArray[np.uint8]


def make_clip(path: str, frames: int) -> None:
    """Write a Matroska file: a moving test picture, lossless in 8-bit 4:2:0, with a tone beside it."""
    with (
        av.open(SCENE, format="lavfi") as scene,
        av.open(TONE, format="lavfi") as tone,
        av.open(f"file:{path}", "w", format="matroska") as clip,
    ):
        clip.metadata["title"] = "bcodec demo"
        video = clip.add_stream("ffv1", rate=RATE)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = clip.add_stream("flac", rate=48000, layout="mono")
        beside = tone.decode(audio=0)
        for count, picture in enumerate(islice(scene.decode(video=0), frames)):
            planes = picture.reformat(format="yuv420p")
            planes.pts, planes.time_base = count, Fraction(1, RATE)
            clip.mux(video.encode(planes))
            clip.mux(sound.encode(next(beside)))
        clip.mux(video.encode(None))
        clip.mux(sound.encode(None))


def side_by_side(left: str, right: str, frame: int, path: str) -> None:
    """Write a PNG with one frame of two videos of one height, the left and the right."""
    pictures = [_picture(video, frame) for video in (left, right)]
    line = np.full((pictures[0].shape[0], 4, 3), 255, np.uint8)
    write_png(np.concatenate([pictures[0], line, pictures[1]], axis=1), path)


def _picture(path: str, index: int) -> Picture:
    with av.open(f"file:{path}") as container:
        frame = next(islice(container.decode(video=0), index, None))
        return frame.to_ndarray(format="rgb24").astype(np.uint8)


def write_png(picture: Picture, path: str) -> None:
    """Write RGB samples, uint8 [H, W, 3]."""
    encoder: Any = CodecContext.create("png", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, RATE)
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    with open(path, "wb") as file:
        for packet in [*encoder.encode(frame), *encoder.encode(None)]:
            file.write(bytes(packet))
