"""What is predicted from references: overlapped blocks, and flat ones."""

import pytest
import torch

from bcodec.networks.context import flattened, overlapped_blocks
from bcodec.networks.motion.blocks import MOTION_BLOCK, sample_blocks
from bcodec.networks.reference import interpolate


@pytest.mark.parametrize("apart", [0.0, 1.5, 4.0, 4.25])
def test_blocks_mix_near_edges_beyond_which_motion_is_nearly_the_same(apart: float) -> None:
    torch.manual_seed(0)
    plane = interpolate((torch.randint(0, 256, (1, 1, 48, 48)) - 128) / 64)
    left, right = torch.zeros(1, 2, 6, 6), torch.zeros(1, 2, 6, 6)
    right[:, 0] = apart
    field = torch.where(torch.arange(6) < 3, left, right)
    mixed = overlapped_blocks(plane, field)
    own, beyond = sample_blocks(plane, left, MOTION_BLOCK), sample_blocks(plane, right, MOTION_BLOCK)
    share = torch.tensor([0, 0, 0, 0, 1, 2, 4, 8]) / 32 * (apart <= 4)
    assert torch.equal(mixed[:, :, :2], own[:, :, :2])
    assert torch.equal(mixed[:, :, 2], own[:, :, 2] + share * (beyond - own)[:, :, 2])
    assert torch.equal(mixed[:, :, 3], beyond[:, :, 3] + share.flip(0) * (own - beyond)[:, :, 3])
    assert torch.equal(mixed[:, :, 4:], beyond[:, :, 4:])


def test_a_flat_block_is_predicted_by_its_mean() -> None:
    picture = torch.randint(-512, 512, (1, 6, 16, 24)).float() / 256
    where = torch.tensor([[False, True, False], [False, False, False]])[None, None]
    flat = flattened(picture, where)
    block, others = (0, slice(None), slice(0, 8), slice(8, 16)), torch.ones(16, 24, dtype=torch.bool)
    others[:8, 8:16] = False
    assert torch.equal(flat[..., others], picture[..., others])
    means = torch.cat([picture[block][:4].mean().expand(4), picture[block][4:].mean((1, 2))])
    assert torch.equal(flat[block], (torch.round(means * 256) / 256)[:, None, None].expand(6, 8, 8))
