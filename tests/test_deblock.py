"""The deblocking filter: what it smooths and what it leaves alone."""

import torch
from torch import Tensor

from bcodec.networks.deblock import deblock

STEP = torch.full((1, 2, 1, 1), 0.5)
EVERYWHERE = torch.ones(1, 6, 32, 32)
LARGE = torch.zeros(1, 1, 4, 4)


def picture(left: float, right: float, edge: int) -> Tensor:
    """Two flat halves, [1, 6, 32, 32], the second from a column on; values in levels."""
    halves = torch.full((1, 6, 32, 32), left / 64)
    halves[..., edge:] = right / 64
    return halves


def test_a_small_step_between_blocks_becomes_a_slope() -> None:
    smoothed = deblock(picture(0, 4, 16), EVERYWHERE, LARGE, STEP)
    assert not torch.equal(smoothed, picture(0, 4, 16))
    rows = smoothed[0, 4] * 64
    assert (rows == rows[0]).all()
    assert (rows[0].diff() >= 0).all()
    assert rows[0].diff().max() < 4
    assert torch.equal(rows[0, :13], torch.zeros(13))
    assert torch.equal(rows[0, 19:], torch.full((13,), 4.0))


def test_a_large_step_is_an_edge_of_the_picture() -> None:
    for step in (60, 80, -80):
        original = picture(0, step, 16)
        assert torch.equal(deblock(original.clone(), EVERYWHERE, LARGE, STEP), original)


def test_a_step_within_a_block_stays_unless_the_block_is_divided() -> None:
    original = picture(0, 4, 12)
    assert torch.equal(deblock(original.clone(), EVERYWHERE, LARGE, STEP), original)
    divided = deblock(original.clone(), EVERYWHERE, LARGE + 1, STEP)
    assert not torch.equal(divided[:, :4], original[:, :4])
    assert torch.equal(divided[:, 4:], original[:, 4:])  # chroma blocks of 8x8 have no edge there


def test_blocks_without_a_residual_stay_as_they_were_predicted() -> None:
    original = picture(0, 4, 16)
    assert torch.equal(deblock(original.clone(), torch.zeros(1, 6, 32, 32), LARGE, STEP), original)
    one = torch.zeros(1, 6, 32, 32)
    one[0, 0, 10, 17] = 1 / 64
    changed = (deblock(original.clone(), one, LARGE, STEP) != original).any(1)[0]
    assert changed[8:16].any()
    assert not changed[:5].any()  # three samples of a neighbour may change
    assert not changed[19:].any()


def test_rows_and_columns_are_treated_alike() -> None:
    original = picture(0, 4, 16)
    across = deblock(original, EVERYWHERE, LARGE, STEP)[:, 4:]
    down = deblock(original.mT.contiguous(), EVERYWHERE, LARGE, STEP)[:, 4:]
    assert torch.equal(across.mT, down)


def test_results_are_on_the_grid_of_pictures() -> None:
    torch.manual_seed(0)
    noise = torch.round(torch.randn(2, 6, 32, 32) * 8) / 64
    step = torch.tensor([0.3, 0.7, 1.2, 0.4]).view(2, 2, 1, 1)
    smoothed = deblock(noise, noise, torch.ones(2, 1, 4, 4), step)
    assert torch.equal(smoothed, torch.round(smoothed * 256) / 256)
    assert not torch.equal(smoothed, noise)


def test_luma_and_chroma_are_smoothed_by_their_own_steps() -> None:
    original = picture(0, 4, 16)
    none = torch.zeros(1, 1, 1, 1)
    changed = [
        (deblock(original, EVERYWHERE, LARGE, torch.cat(steps, 1)) != original).any((0, 2, 3))
        for steps in ((STEP[:, :1], none), (none, STEP[:, :1]))
    ]
    assert changed[0].tolist() == [True] * 4 + [False] * 2
    assert changed[1].tolist() == [False] * 4 + [True] * 2
