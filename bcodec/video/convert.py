"""Pictures of any pixel format brought to 4:2:0 of 8 or 10 bits; and from there to FFmpeg."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from bcodec.frame import Frame, lower_byte_first, plane_shapes, requantized
from bcodec.video.base import FULL, LIMITED

PIXELS = {8: "yuv420p", 10: "yuv420p10le"}  # FFmpeg's names for what all is brought to, by its depth
DEPTHS = tuple(f"{bits}{end}" for bits in (9, 10, 12, 14, 16) for end in ("le", "be"))
DEEP = tuple(f"yuv420p{depth}" for depth in DEPTHS)  # planes that are taken as they are, and rounded
NATIVE = ("yuv420p", "yuvj420p", "yuva420p", *DEEP)
GREY = ("gray", *(f"gray{depth}" for depth in DEPTHS))  # luma alone, taken as it is, too

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
    """Brings the pictures of a video to 4:2:0; all must be of the shape (format, size) of the first.

    colour_range, colour_matrix: what the video states of itself, in FFmpeg's and H.273's numbers; as
    attributes, what holds for the converted pictures. bit_depth: 8 or 10; None is 8 for samples of up to 8
    bits, else 10. notice: what is lost, in a line; "" if nothing is.
    """

    def __init__(
        self, first: VideoFrame, colour_range: int, colour_matrix: int, bit_depth: int | None = None
    ) -> None:
        self.pixels, self.shape = first.format, shape_of(first)
        self.bits = max(component.bits for component in self.pixels.components)
        self.bit_depth = bit_depth or (10 if self.bits > 8 else 8)
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

    @property
    def keeps_chroma(self) -> bool:
        """Whether the samples of chroma stay where they are."""
        return self.pixels.name in NATIVE

    def _notice(self) -> str:
        kind = self.pixels.name
        if kind in ("yuv420p", "yuvj420p"):
            return ""
        if kind in DEEP:
            if self.bits <= self.bit_depth:
                return ""
            how = f"rounded from {self.bits} bits to {self.bit_depth}"
        elif kind == "yuva420p":
            how = "transparency is left out"
        elif self.is_rgb:
            standard = "BT.709" if self.colour_matrix == BT709 else "BT.601"
            how = f"{self._converted()}, {standard}, limited range)"
        else:
            how = f"{self._converted()})"
        if kind != "yuva420p" and any(component.is_alpha for component in self.pixels.components):
            how += ", transparency is left out"
        return f"input is {kind}: {how}"

    def _converted(self) -> str:
        return f"converted to {PIXELS[self.bit_depth]} ({self.bit_depth}-bit 4:2:0"

    def convert(self, picture: VideoFrame) -> Frame:
        """Give the picture in 4:2:0, of the same size."""
        kind, bits, shapes = self.pixels.name, self.bits, plane_shapes(picture.width, picture.height)
        if kind not in NATIVE + GREY:
            picture, kind, bits = self._resampled(picture), PIXELS[self.bit_depth], self.bit_depth
        dtype = "u1" if bits == 8 else ">u2" if kind.endswith("be") else "<u2"
        planes = [_samples(picture, i, s, dtype) for i, s in enumerate(shapes[: len(picture.planes)])]
        if not bits == self.bit_depth == 8:
            planes = [requantized(plane, bits, self.bit_depth) for plane in planes]
        if kind in GREY:
            planes += [np.full(shapes[1], 1 << self.bit_depth - 1, planes[0].dtype)] * 2
        return Frame(*planes)

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
        """Resample to PIXELS; range and matrix stay, and are stated since FFmpeg guesses otherwise."""
        if self.is_rgb:
            matrix = Colorspace.ITU709 if self.colour_matrix == BT709 else Colorspace.ITU601
            before, after = ColorRange.JPEG, ColorRange.MPEG
        else:
            matrix = None
            before = after = ColorRange.JPEG if self.is_full else ColorRange.MPEG
        return self._reformatter.reformat(
            picture,
            format=PIXELS[self.bit_depth],
            dst_colorspace=matrix,
            interpolation=BICUBIC,
            src_color_range=before,
            dst_color_range=after,
        )


def shape_of(picture: VideoFrame) -> Shape:
    """The pixel format, width and height of a picture."""
    return Shape(picture.format.name, picture.width, picture.height)


def to_video_frame(frame: Frame) -> VideoFrame:
    """Copy a picture into one of FFmpeg's, of its depth."""
    picture = VideoFrame(frame.width, frame.height, PIXELS[frame.bit_depth])
    for plane, samples in zip(picture.planes, frame.planes, strict=True):
        lines = np.zeros((samples.shape[0], plane.line_size), np.uint8)
        line = lower_byte_first(samples).view(np.uint8)
        lines[:, : line.shape[1]] = line
        plane.update(lines.tobytes())
    return picture


def _samples(picture: VideoFrame, index: int, shape: tuple[int, int], dtype: str = "u1") -> npt.NDArray[Any]:
    """Copy one plane without the padding at the ends of its lines."""
    plane, (rows, columns) = picture.planes[index], shape
    samples: npt.NDArray[Any] = np.frombuffer(memoryview(plane), dtype)
    return samples.reshape(plane.height, -1)[:rows, :columns].copy()
