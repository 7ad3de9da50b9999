"""How near pictures are to their source by FFmpeg's own filters: SSIM, XPSNR, and VMAF where it has that."""

from __future__ import annotations

import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.filter import Graph, filters_available
from av.filter.context import FilterContext
from av.video.frame import VideoFrame

from bcodec.frame import Frame, plane_shapes
from bcodec.metrics import PSNR_OF_EQUAL
from bcodec.video.convert import PIXELS, to_video_frame

XPSNR_SMALLEST = 2025  # luma samples: below it the filter's blocks have no sample, by which it divides
XPSNR_HALVED = 2048 * 1152  # luma samples: above it the filter works on 2x2, and writes beyond odd sides
XPSNR_FAST = 32  # Hz from which the filter looks at two pictures before, not at one
XPSNR_MEMORY = 2  # source pictures before one that are part of what it is worth
VMAF = "libvmaf"


def has_xpsnr(width: int, height: int) -> bool:
    """Whether FFmpeg's filter can measure pictures of this size (luma samples)."""
    odd = width % 2 or height % 2
    return width * height >= XPSNR_SMALLEST and not (odd and width * height > XPSNR_HALVED)


class Pairs:
    """A graph of filters into which pictures go in pairs, in display order, at a constant rate in Hz.

    As attributes its two beginnings: `source` and `decoded`, each to be linked once.
    """

    def __init__(self, width: int, height: int, frame_rate: Fraction, bit_depth: int = 8) -> None:
        self.graph, self.count = Graph(), 0
        # The filters ask only whether it is below XPSNR_FAST; rates that FFmpeg cannot hold would crash them.
        rate = min(max(int(frame_rate), 1), XPSNR_FAST)
        self.time_base = Fraction(1, rate)
        picture = (
            f"video_size={width}x{height}:pix_fmt={PIXELS[bit_depth]}:time_base=1/{rate}:frame_rate={rate}"
        )
        self.source, self.decoded = (self.graph.add("buffer", picture) for _ in range(2))

    def end(self, last: FilterContext) -> None:
        """Let pictures come out behind the last filter; the graph is complete."""
        self.sink = self.graph.add("buffersink")
        last.link_to(self.sink)
        self.graph.configure()

    def through(self, source: Frame, decoded: Frame) -> dict[str, str]:
        """Send a pair through; what the filters say of it, by their names for it."""
        for entrance, frame in ((self.source, source), (self.decoded, decoded)):
            picture = to_video_frame(frame)
            picture.pts, picture.time_base = self.count, self.time_base
            entrance.push(picture)
        self.count += 1
        out = self.sink.pull()
        assert isinstance(out, VideoFrame)
        return out.metadata


class QualityFilters:
    """Measures pictures of one size in display order, at `frame_rate` Hz: SSIM and XPSNR.

    XPSNR weighs the errors of a block by how busy the source is there, in space and since the picture before
    (from 32 Hz on: the two before): what comes first has a black picture before it.
    Sources: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, in FFmpeg on blocks of 8x8, each 4 samples from the next; Helmrich et al., "XPSNR: a
    low-complexity extension of the perceptually weighted peak signal-to-noise ratio", 2020.
    """

    def __init__(self, width: int, height: int, frame_rate: Fraction, bit_depth: int = 8) -> None:
        black = Frame(*(np.zeros(shape, np.uint8) for shape in plane_shapes(width, height)))
        self.black = black.at_depth(bit_depth)
        self.pairs = pairs = Pairs(width, height, frame_rate, bit_depth)
        ssim = pairs.graph.add("ssim")
        if has_xpsnr(width, height):
            xpsnr, both = pairs.graph.add("xpsnr"), pairs.graph.add("split")
            pairs.decoded.link_to(both)
            pairs.source.link_to(xpsnr)  # the first of the two is that by which it weighs
            both.link_to(xpsnr, 0, 1)
            xpsnr.link_to(ssim)
            both.link_to(ssim, 1, 1)
        else:
            pairs.source.link_to(ssim)
            pairs.decoded.link_to(ssim, 0, 1)
        pairs.end(ssim)

    def measure(self, source: Frame, decoded: Frame) -> dict[str, float]:
        """What Quality names ssim (of luma), xpsnr_y, xpsnr_u and xpsnr_v (dB; 100 for equal planes).

        XPSNR is nan where the size is none that the filter can measure.
        """
        found = self.pairs.through(source, decoded)
        xpsnr = {
            f"xpsnr_{plane}": min(float(found.get(f"lavfi.xpsnr.xpsnr.{plane}", "nan")), PSNR_OF_EQUAL)
            for plane in "yuv"
        }
        return {"ssim": float(found["lavfi.ssim.Y"]), **xpsnr}

    def begin(self, before: list[Frame]) -> None:
        """Let what comes next be measured as what follows these source pictures, or nothing, of a video."""
        for frame in [self.black, self.black, *before][-XPSNR_MEMORY:]:
            self.pairs.through(frame, frame)


def has_vmaf() -> bool:
    """Whether the FFmpeg that is installed can measure VMAF."""
    return VMAF in filters_available


class VmafFilter:
    """Measures the VMAF (0 to 100) of pictures of one size, in display order at `frame_rate` Hz.

    It needs `has_vmaf()`, and to be closed.
    Source: Li et al., "Toward a practical perceptual video quality metric", 2016.
    """

    def __init__(self, width: int, height: int, frame_rate: Fraction, bit_depth: int = 8) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name, "vmaf.json")
        self.pairs: Pairs | None = Pairs(width, height, frame_rate, bit_depth)
        vmaf = self.pairs.graph.add(VMAF, log_path=str(self.log), log_fmt="json")
        self.pairs.decoded.link_to(vmaf)
        self.pairs.source.link_to(vmaf, 0, 1)
        self.pairs.end(vmaf)

    def add(self, source: Frame, decoded: Frame) -> None:
        """Add a pair."""
        assert self.pairs
        self.pairs.through(source, decoded)

    def finish(self) -> list[float]:
        """The VMAF of each picture, in the order in which they came; nothing can be added any more."""
        self.pairs = None  # the filter writes when its graph goes
        return vmaf_of_log(self.log.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Let its temporary file go."""
        self.pairs = None
        self.folder.cleanup()


def vmaf_of_log(text: str) -> list[float]:
    """Read the VMAF of each picture from the JSON that libvmaf writes; nan where it says none."""
    return [float(frame["metrics"].get("vmaf", math.nan)) for frame in json.loads(text)["frames"]]
