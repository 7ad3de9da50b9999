"""Planes that loop filters can mend, and an encoder that fits filters to them."""

import numpy as np
from conftest import TINY

from bcodec.encoder.analyst import Analyst
from bcodec.frame import Frame, Plane
from bcodec.networks.intra import IntraCodec
from bcodec.samples import to_tensor

STEP = 64.0
STEPS = (STEP, STEP, STEP)
SIZES = [(90, 122), (45, 61), (45, 61)]


def lines(rows: int, columns: int, seed: int = 0) -> Plane:
    """Thin bright lines on a dark ground, of ten bits."""
    plane = np.full((rows, columns), 160, np.uint16)
    plane[seed % 5 :: 9] = 800
    plane[:, seed % 7 :: 11] = 883
    return plane


def blurred(plane: Plane) -> Plane:
    """Each sample mixed with those beside it."""
    x = np.pad(plane.astype(float), 1, mode="edge")
    mixed: Plane = np.round(0.9 * x[1:-1, 1:-1] + 0.05 * (x[1:-1, :-2] + x[1:-1, 2:])).astype(np.uint16)
    return mixed


def fitting(original: list[Plane]) -> Analyst:
    """An encoder that fits filters to the original planes."""
    frame = Frame(*original)
    return Analyst(IntraCodec(TINY), to_tensor(frame), original=frame, worth=(1.0, 1.0, 1.0))
