"""What a user of other encoders types: it is understood, or refused with the word that helps."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from bcodec.bitstream import VideoFormat
from bcodec.frame import Frame
from bcodec.video import VideoWriter

FAST = ("--threads", 1, "--preset", "fast")


def still(path: Path, count: int = 1, rate: int = 25) -> Path:
    """A video of 32x32 whose frame t is gray of 60 + 8 t."""
    with VideoWriter(path, VideoFormat(32, 32, Fraction(rate), Fraction(1, rate))) as writer:
        for t in range(count):
            luma, chroma = np.full((32, 32), 60 + 8 * t, np.uint8), np.full((16, 16), 128, np.uint8)
            writer.write(Frame(luma, chroma, chroma))
    return path
