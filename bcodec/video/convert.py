"""Pictures of any pixel format brought to 8-bit 4:2:0; and from there to FFmpeg."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from bcodec.frame import Frame, Plane, plane_shapes
from bcodec.video.base import FULL, LIMITED

NATIVE = ("yuv420p", "yuvj420p", "yuva420p", "gray")  # 8-bit planes that are taken as they are
DEEP = tuple(f"yuv420p{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))
GREY = 128  # chroma without colour

IDENTITY, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6  # colour matrices, in numbers of H.273
BICUBIC = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
HD_ROWS = 576  # RGB of more rows becomes BT.709, else BT.601, as players assume


class Shape(NamedTuple):
    """What all pictures of a video have in common."""

    kind: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.kind}"


class Converter:
    """Brings the pictures of a video to 8-bit 4:2:0; all must be of the shape (format, size) of the first.

    colour_range, colour_matrix: what the video states of itself, in FFmpeg's and H.273's numbers; as
    attributes, what holds for the converted pictures. notice: what is lost, in a line; "" if nothing is.
    """

    def __init__(self, first: VideoFrame, colour_range: int, colour_matrix: int) -> None:
        self.pixels, self.shape = first.format, shape_of(first)
        self.is_rgb = self.pixels.is_rgb or self.pixels.has_palette
        self.colour_range, self.colour_matrix = colour_range, colour_matrix
        if self.pixels.name.startswith("yuvj"):
            self.colour_range = FULL
        if self.is_rgb:
            self.colour_range, self.colour_matrix = LIMITED, BT709 if first.height > HD_ROWS else BT601
        self.notice = self._notice()
        if self.colour_matrix == IDENTITY:  # as PNG states of gray: 4:2:0 cannot have it
            self.colour_matrix = UNSPECIFIED
        self._reformatter, self._scaler = VideoReformatter(), VideoReformatter()

    @property
    def is_full(self) -> bool:
        """Whether black is 0 and white 255."""
        return self.colour_range == FULL

    def _notice(self) -> str:
        kind = self.pixels.name
        if kind in ("yuv420p", "yuvj420p"):
            return ""
        if kind in DEEP:
            how = f"rounded from {self.pixels.components[0].bits} bits to 8"
        elif kind == "yuva420p":
            how = "transparency is left out"
        elif self.is_rgb:
            standard = "BT.709" if self.colour_matrix == BT709 else "BT.601"
            how = f"converted to yuv420p (8-bit 4:2:0, {standard}, limited range)"
        else:
            how = "converted to yuv420p (8-bit 4:2:0)"
        if kind != "yuva420p" and any(component.is_alpha for component in self.pixels.components):
            how += ", transparency is left out"
        return f"input is {kind}: {how}"

    def convert(self, picture: VideoFrame) -> Frame:
        """Give the picture in 8-bit 4:2:0, of the same size."""
        kind, shapes = self.pixels.name, plane_shapes(picture.width, picture.height)
        if kind in DEEP:
            dtype, bits = "<u2" if kind.endswith("le") else ">u2", self.pixels.components[0].bits
            return Frame(*(_rounded(_samples(picture, i, s, dtype), bits) for i, s in enumerate(shapes)))
        if kind == "gray":
            grey = np.full(shapes[1], GREY, np.uint8)
            return Frame(_samples(picture, 0, shapes[0]), grey, grey)
        if kind not in NATIVE:
            picture = self._resampled(picture)
        return Frame(*(_samples(picture, i, s) for i, s in enumerate(shapes)))

    def scale(self, picture: VideoFrame) -> VideoFrame:
        """Bring a picture of another shape to that of the first (bicubic), and what range it states, too."""
        kind, width, height = self.shape
        after = ColorRange.JPEG if self.is_full or self.is_rgb else ColorRange.MPEG
        before = after
        if picture.color_range in (LIMITED, FULL):
            before = ColorRange.JPEG if picture.color_range == FULL else ColorRange.MPEG
        return self._scaler.reformat(
            picture,
            width,
            height,
            kind,
            interpolation=BICUBIC,
            src_color_range=before,
            dst_color_range=after,
        )

    def _resampled(self, picture: VideoFrame) -> VideoFrame:
        """Resample to yuv420p; range and matrix stay, and are stated since FFmpeg guesses otherwise."""
        if self.is_rgb:
            matrix = Colorspace.ITU709 if self.colour_matrix == BT709 else Colorspace.ITU601
            before, after = ColorRange.JPEG, ColorRange.MPEG
        else:
            matrix = None
            before = after = ColorRange.JPEG if self.is_full else ColorRange.MPEG
        return self._reformatter.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=matrix,
            interpolation=BICUBIC,
            src_color_range=before,
            dst_color_range=after,
        )


def shape_of(picture: VideoFrame) -> Shape:
    """The pixel format, width and height of a picture."""
    return Shape(picture.format.name, picture.width, picture.height)


def to_video_frame(frame: Frame) -> VideoFrame:
    """Copy a picture into one of FFmpeg's, yuv420p."""
    picture = VideoFrame(frame.width, frame.height, "yuv420p")
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        lines = np.zeros((samples.shape[0], plane.line_size), np.uint8)
        lines[:, : samples.shape[1]] = samples
        plane.update(lines.tobytes())
    return picture


def _samples(picture: VideoFrame, index: int, shape: tuple[int, int], dtype: str = "u1") -> npt.NDArray[Any]:
    """Copy one plane without the padding at the ends of its lines."""
    plane, (rows, columns) = picture.planes[index], shape
    samples: npt.NDArray[Any] = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(plane.height, -1)[:rows, :columns].copy()


def _rounded(samples: npt.NDArray[np.uint16], bits: int) -> Plane:
    """Round samples of more bits to 8, halves up."""
    shift = bits - 8
    rounded = (samples.astype(np.uint32) + (1 << shift >> 1)) >> shift
    eight: Plane = np.minimum(rounded, 255).astype(np.uint8)
    return eight
