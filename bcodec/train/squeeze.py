"""Crops and motion in few bytes.

Pictures are an HEVC stream that is nearly as good as its source: two fifths of the bytes that a DCT of
differences took. With that, textured sources had 39 dB, and taught networks to leave out what they lacked
(measured: E733 to E740).
"""

from __future__ import annotations

import lzma
from io import BytesIO

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

PLANES = "gbrp"  # three planes of one size that no reader mixes: Y, U beside V, nothing
STREAM = "hevc"
QUALITY = {"crf": "10", "x265-params": "cbqpoffs=-6:log-level=none:info=0:pools=none:frame-threads=1"}


def squeeze_integers(values: Tensor) -> bytes:
    """16-bit integers [..] as bytes, small magnitudes in few."""
    wide = values.to(torch.int32)
    positive = (wide << 1) ^ (wide >> 31)  # 0, -1, 1, -2, .. as 0, 1, 2, 3, ..
    places = torch.stack([positive & 255, positive >> 8]).to(torch.uint8)
    return lzma.compress(places.numpy().tobytes(), preset=6)


def restore_integers(data: bytes, shape: tuple[int, ...]) -> Tensor:
    """What `squeeze_integers` was given, int16 of the shape [..]."""
    places = torch.from_numpy(np.frombuffer(lzma.decompress(data), np.uint8).reshape(2, *shape).copy())
    positive = places[0].to(torch.int32) | places[1].to(torch.int32) << 8
    return ((positive >> 1) ^ -(positive & 1)).to(torch.int16)


def squeeze_pictures(y: Tensor, uv: Tensor) -> tuple[bytes, Tensor, Tensor]:
    """Pictures uint8 y [T, S, S] and uv [T, 2, S/2, S/2] as bytes; and as they will be decoded."""
    file, side = BytesIO(), y.shape[1]
    with av.open(file, "w", STREAM) as container:
        stream = container.add_stream("libx265", 25, QUALITY)
        stream.width = stream.height = side
        stream.pix_fmt = PLANES
        for picture, colours in zip(y.numpy(), uv.numpy(), strict=True):
            planes = np.zeros((side, side, 3), np.uint8)  # R, G, B
            planes[..., 1] = picture
            planes[: side // 2, :, 2] = np.concatenate(list(colours), 1)
            frame = VideoFrame.from_ndarray(planes, "rgb24")
            container.mux(stream.encode(frame.reformat(format=PLANES)))
        container.mux(stream.encode(None))
    data = file.getvalue()
    return data, *restore_pictures(data)


def restore_pictures(data: bytes) -> tuple[Tensor, Tensor]:
    """The pictures that `squeeze_pictures` said: y [T, S, S] and uv [T, 2, S/2, S/2]."""
    with av.open(BytesIO(data), "r", STREAM) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    _, y, colours = torch.from_numpy(np.stack(frames)).unbind(-1)
    half = y.shape[1] // 2
    return y.contiguous(), torch.stack([colours[:, :half, :half], colours[:, :half, half:]], 1)
