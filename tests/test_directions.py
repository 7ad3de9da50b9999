"""Two references are weighed, and one that shows something else is left out."""

import torch

from bcodec.encoder.motion.directions import View, useful_directions, weigh
from bcodec.encoder.motion.sheet import spread
from bcodec.fixedpoint import upsample
from bcodec.networks.reference import interpolate, luma


def test_motion_towards_a_reference_that_shows_something_else_is_left_as_expected() -> None:
    torch.manual_seed(0)
    past, future = (torch.randint(-128, 128, (1, 6, 32, 32)) / 64 for _ in range(2))
    views = [View(x[:, 4:], spread(4, interpolate(luma(x)))) for x in (past, future)]
    still, wild = torch.zeros(1, 2, 8, 8), upsample(torch.randint(-40, 40, (1, 2, 4, 4)).float())
    weight = torch.full((1, 1, 1, 1), 20.0)
    fields = useful_directions(views, (still, wild), (still, still), past, weight)
    assert not any(field.any() for field in fields)
    smooth = torch.full((1, 2, 8, 8), 8.0)
    between = weigh(views, (smooth, smooth), past)
    source = (between.pictures[0] + between.pictures[1]) / 2
    pair = useful_directions(views, (smooth, smooth), (still, still), source, weight)
    assert all(torch.equal(field, smooth) for field in pair)
