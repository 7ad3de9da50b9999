"""One picture: 8-bit 4:2:0 planes, and the tensor that the networks see of it."""

import zlib
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.fixedpoint import PIXEL

Plane: TypeAlias = npt.NDArray[np.uint8]

ALIGNMENT = 64  # luma samples: sides of the padded picture are multiples of it
MIDDLE = 128  # the 8-bit level that becomes 0
LEVELS = 1 << PIXEL.frac  # 8-bit levels in a unit: the pixel grid is the multiples of 1 / LEVELS
LOWEST = (0 - MIDDLE) / LEVELS  # -2
HIGHEST = (255 - MIDDLE) / LEVELS  # 127 / 64


@dataclass(frozen=True, eq=False)
class Frame:
    """One 8-bit 4:2:0 picture.

    y is [H, W], u and v are [ceil(H / 2), ceil(W / 2)]: uint8, C-contiguous, of any size from 1x1.
    Raises ValueError for anything else.
    """

    y: Plane
    u: Plane
    v: Plane

    def __post_init__(self) -> None:
        if self.y.ndim != 2 or self.y.size == 0:
            raise ValueError(f"luma must be [H, W] and not empty, not of shape {self.y.shape}")
        shapes = plane_shapes(self.width, self.height)
        for name, plane, shape in zip("yuv", self.planes, shapes, strict=True):
            if plane.shape != shape:
                raise ValueError(f"plane {name} must be of shape {shape}, not {plane.shape}")
            if plane.dtype != np.uint8:
                raise ValueError(f"plane {name} must be uint8, not {plane.dtype}")
            if not plane.flags.c_contiguous:
                raise ValueError(f"plane {name} must be contiguous")

    @classmethod
    def from_bytes(cls, data: bytes, width: int, height: int) -> Self:
        """Split planar I420 bytes (all of Y, then U, then V); ValueError if they are not one picture."""
        if len(data) != picture_bytes(width, height):
            raise ValueError(f"{len(data)} bytes are not one {width}x{height} picture in 4:2:0")
        planes, offset = [], 0
        for rows, columns in plane_shapes(width, height):
            plane = np.frombuffer(data, np.uint8, rows * columns, offset)
            planes.append(plane.reshape(rows, columns))
            offset += plane.size
        return cls(*planes)

    def to_bytes(self) -> bytes:
        """Join the planes as planar I420: Y, U, V, rows without padding."""
        return b"".join(plane.tobytes() for plane in self.planes)

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V."""
        return self.y, self.u, self.v

    @property
    def width(self) -> int:
        """Luma samples in a row."""
        return int(self.y.shape[1])

    @property
    def height(self) -> int:
        """Luma rows."""
        return int(self.y.shape[0])


def plane_shapes(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Give (rows, columns) of Y, U and V; an odd side has its last chroma sample to itself."""
    chroma = -(-height // 2), -(-width // 2)
    return (height, width), chroma, chroma


def picture_bytes(width: int, height: int) -> int:
    """Give the bytes of one picture, all planes."""
    return sum(rows * columns for rows, columns in plane_shapes(width, height))


def picture_hash(frame: Frame) -> int:
    """Give CRC-32 of the planes in the order Y, U, V: 32 bits, equal on every machine for equal pictures."""
    crc = 0
    for plane in frame.planes:
        crc = zlib.crc32(plane.data, crc)
    return crc


def aligned(side: int) -> int:
    """A side of the padded picture, in luma samples: the next multiple of ALIGNMENT."""
    return -(-side // ALIGNMENT) * ALIGNMENT


def to_tensor(frame: Frame) -> Tensor:
    """Turn a picture into what the networks see.

    Returns float32 [1, 6, H' / 2, W' / 2] in channels_last: (sample - 128) / 64, multiples of 1/64 in
    [-2, 127/64]. H', W' are the sides padded at the bottom and right (last row and column repeated) to
    multiples of 64. Channels: luma at (row, column) (0,0), (0,1), (1,0), (1,1) of each 2x2 block, then U, V.
    """
    height, width = map(aligned, frame.y.shape)
    y, u, v = (_padded(p, *s) for p, s in zip(frame.planes, plane_shapes(width, height), strict=True))
    samples = torch.cat([F.pixel_unshuffle(y, 2), u, v], dim=1)
    # (p - 128) / 64 is exact in float32: an integer below 2^24 over a power of two.
    return ((samples - MIDDLE) / LEVELS).contiguous(memory_format=torch.channels_last)


def to_frame(tensor: Tensor, width: int, height: int) -> Frame:
    """Turn the networks' picture back into planes, cropped to width x height luma samples.

    The tensor is float32 [1, 6, H' / 2, W' / 2] on any device, as `finish` leaves it: multiples of 1/64 in
    [-2, 127/64]; H' >= height, W' >= width. Raises ValueError for another shape.
    """
    samples = (tensor.detach().cpu() * LEVELS + MIDDLE).to(torch.uint8)
    y = F.pixel_shuffle(samples[:, :4], 2)
    planes = (y[0, 0], samples[0, 4], samples[0, 5])
    return Frame(
        *(
            np.ascontiguousarray(plane[:rows, :columns].numpy())
            for plane, (rows, columns) in zip(planes, plane_shapes(width, height), strict=True)
        )
    )


def finish(tensor: Tensor) -> Tensor:
    """Clamp to [-2, 127/64] and round to multiples of 1/64, halves to even; gives a new tensor."""
    return torch.round(tensor.clamp(LOWEST, HIGHEST) * LEVELS) / LEVELS


def _padded(plane: Plane, height: int, width: int) -> Tensor:
    """The plane as float32 [1, 1, height, width], its last row and column repeated."""
    rows, columns = plane.shape
    padded = np.pad(plane, ((0, height - rows), (0, width - columns)), mode="edge")
    return torch.from_numpy(padded)[None, None].float()
