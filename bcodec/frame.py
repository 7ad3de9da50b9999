"""One picture: 4:2:0 planes of 8 or 10 bits.

Inside, pictures are of ten bits, quarters of an 8-bit level, whatever a video has: what is predicted from
them is finer than what is shown. Where 8 bits are shown, they are rounded at the very end.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

Plane: TypeAlias = npt.NDArray[np.uint8 | np.uint16]  # samples of 8 or of 10 bits

ALIGNMENT = 64  # luma samples: sides of the padded picture are multiples of it
DEPTH = 10  # bits of a sample inside
PEAK = (1 << DEPTH) - 1  # the highest such sample
MIDDLE = 128  # the 8-bit level that becomes 0, as networks see it
LEVELS = 64  # 8-bit levels in a unit of theirs
BRIGHTEST = 255.75  # the highest ten-bit sample, in 8-bit levels


@dataclass(frozen=True, eq=False)
class Frame:
    """One 4:2:0 picture of 8 or 10 bits.

    y is [H, W], u and v are [ceil(H / 2), ceil(W / 2)]: all uint8, or all uint16 with samples of 0..1023,
    C-contiguous, of any size from 1x1. Raises ValueError for anything else.
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
            if plane.dtype != self.y.dtype or plane.dtype not in (np.uint8, np.uint16):
                raise ValueError(f"plane {name} must be uint8, or all uint16, not {plane.dtype}")
            if plane.dtype == np.uint16 and int(plane.max()) > PEAK:
                raise ValueError(f"plane {name} has a sample of {plane.max()}, more than 10 bits hold")
            if not plane.flags.c_contiguous:
                raise ValueError(f"plane {name} must be contiguous")

    @classmethod
    def from_bytes(cls, data: bytes, width: int, height: int, bit_depth: int = 8) -> Self:
        """Split planar I420 bytes (all of Y, then U, then V), of 10 bits two a sample, the lower one first.

        ValueError if they are not one picture.
        """
        if len(data) != picture_bytes(width, height, bit_depth):
            raise ValueError(f"{len(data)} bytes are not one {width}x{height} picture in 4:2:0")
        planes, offset = [], 0
        for rows, columns in plane_shapes(width, height):
            plane = np.frombuffer(data, "u1" if bit_depth == 8 else "<u2", rows * columns, offset)
            planes.append(plane.reshape(rows, columns).astype(plane.dtype.newbyteorder("="), copy=False))
            offset += plane.nbytes
        return cls(*planes)

    def to_bytes(self) -> bytes:
        """Join the planes as planar I420: Y, U, V, rows without padding; the inverse of `from_bytes`."""
        return b"".join(lower_byte_first(plane).tobytes() for plane in self.planes)

    def at_depth(self, bits: int) -> Frame:
        """The picture in samples of 8 or 10 bits; itself where it has them."""
        if bits == self.bit_depth:
            return self
        return Frame(*(requantized(plane, self.bit_depth, bits) for plane in self.planes))

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V."""
        return self.y, self.u, self.v

    @property
    def bit_depth(self) -> int:
        """Bits of a sample, 8 or 10."""
        return 8 if self.y.dtype == np.uint8 else 10

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


def picture_bytes(width: int, height: int, bit_depth: int = 8) -> int:
    """Give the bytes of one picture, all planes."""
    return sum(rows * columns for rows, columns in plane_shapes(width, height)) * -(-bit_depth // 8)


def lower_byte_first(plane: Plane) -> Plane:
    """The plane with samples in the order of bytes that files have, on any machine."""
    return plane.astype(plane.dtype.newbyteorder("<"), copy=False)


def requantized(plane: Plane, bits: int, depth: int) -> Plane:
    """Samples of so many bits, up to 16, as samples of another depth, 8 or 10: levels a power of two apart.

    Rounded, halves to even, so that pictures on the whole get no brighter; what is then too high is the
    highest.
    """
    samples, down = plane.astype(np.int32), bits - depth
    if down > 0:
        samples = (samples + (1 << down - 1) - 1 + (samples >> down & 1)) >> down
    elif down < 0:
        samples = samples << -down
    return np.minimum(samples, (1 << depth) - 1).astype(np.uint8 if depth == 8 else np.uint16)


def picture_hash(frame: Frame) -> int:
    """Lower half of the CRC-32 of the planes in the order Y, U, V: 16 bits, equal on every machine."""
    crc = 0
    for plane in frame.planes:
        crc = zlib.crc32(lower_byte_first(plane).data, crc)
    return crc & 0xFFFF


def aligned(side: int) -> int:
    """A side of the padded picture, in luma samples: the next multiple of ALIGNMENT."""
    return -(-side // ALIGNMENT) * ALIGNMENT
