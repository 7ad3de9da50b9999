"""Fresh layers change nothing."""

import torch

from bcodec.fixedpoint import Conv2d
from bcodec.networks.layers import ResBlock


def test_fresh_blocks_are_the_identity() -> None:
    x = torch.round(torch.randn(2, 16, 9, 9) * 64) / 64
    with torch.no_grad():
        assert torch.equal(ResBlock(16)(x), x)
        assert torch.equal(Conv2d(16, 16, zero=True)(x, residual=x), x)
        assert not bool(Conv2d(16, 16, zero=True)(x).any())
