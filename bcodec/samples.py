"""The tensor that the networks see of a picture, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bcodec.fixedpoint import PIXEL, one_plane, squares_apart
from bcodec.frame import LEVELS, MIDDLE, Frame, Plane, aligned, plane_shapes


def to_tensor(frame: Frame) -> Tensor:
    """Turn a picture into what the networks see.

    Returns float32 [1, 6, H' / 2, W' / 2] in channels_last: (sample - 512) / 256 of ten bits, (sample - 128)
    / 64 of eight, on the pixel grid. H', W' are the sides padded at the bottom and right (last row and column
    repeated) to multiples of 64. Channels: luma at (row, column) (0,0), (0,1), (1,0), (1,1) of each 2x2
    block, then U, V.
    """
    height, width = map(aligned, frame.y.shape)
    y, u, v = (_padded(p, *s) for p, s in zip(frame.planes, plane_shapes(width, height), strict=True))
    samples = torch.cat([squares_apart(y), u, v], dim=1)
    # Exact in float32: an integer below 2^24 over a power of two.
    level = 1 << frame.bit_depth - 8
    return ((samples - level * MIDDLE) / (level * LEVELS)).contiguous(memory_format=torch.channels_last)


def to_frame(tensor: Tensor, width: int, height: int) -> Frame:
    """Turn the networks' picture into planes of ten bits, cropped to width x height luma samples.

    The tensor is float32 [1, 6, H' / 2, W' / 2] on any device, as `finish` leaves it; H' >= height,
    W' >= width. Raises ValueError for another shape.
    """
    samples = tensor.detach().cpu() * (1 << PIXEL.frac) + PIXEL.units
    y = one_plane(samples[:, :4])
    planes = (y[0, 0], samples[0, 4], samples[0, 5])
    return Frame(
        *(
            plane[:rows, :columns].numpy().astype(np.uint16, order="C")
            for plane, (rows, columns) in zip(planes, plane_shapes(width, height), strict=True)
        )
    )


def finish(tensor: Tensor) -> Tensor:
    """Clamp a tensor [..] and round it to the pixel grid, halves to even; gives a new tensor."""
    scale = 1 << PIXEL.frac
    return torch.round(tensor.clamp(PIXEL.low, PIXEL.high) * scale) / scale


def _padded(plane: Plane, height: int, width: int) -> Tensor:
    """The plane as float32 [1, 1, height, width], its last row and column repeated."""
    rows, columns = plane.shape
    padded = np.pad(plane, ((0, height - rows), (0, width - columns)), mode="edge")
    return torch.from_numpy(padded.astype(np.float32))[None, None]
