"""Two references are weighed, and one that shows something else is left out."""

import torch
from motions import shown

from bcodec.encoder.motion.directions import useful_directions, weigh
from bcodec.fixedpoint import upsample


def test_motion_towards_a_reference_that_shows_something_else_is_left_as_expected() -> None:
    torch.manual_seed(0)
    past, future = (shown(torch.randint(-128, 128, (1, 6, 32, 32)) / 64) for _ in range(2))
    still, wild = torch.zeros(1, 2, 8, 8), upsample(torch.randint(-40, 40, (1, 2, 4, 4)).float())
    weight = torch.full((1, 1, 1, 1), 20.0)
    fields = useful_directions(past, future, (still, wild), (still, still), past.picture, weight)
    assert not any(field.any() for field in fields)
    smooth = torch.full((1, 2, 8, 8), 8.0)
    between = weigh(past, future, (smooth, smooth), past.picture)
    source = (between.pictures[0] + between.pictures[1]) / 2
    pair = useful_directions(past, future, (smooth, smooth), (still, still), source, weight)
    assert all(torch.equal(field, smooth) for field in pair)
