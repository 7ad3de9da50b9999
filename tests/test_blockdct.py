"""The block transforms are rotations, and know where the means are."""

import pytest
import torch

from bcodec.networks.blockdct import COEFFICIENTS, TRANSFORM_SIZES, block_transform, turn


def test_block_transform_is_orthonormal() -> None:
    for rows in (COEFFICIENTS, 320, 24):
        basis = block_transform(rows).double()
        assert basis.shape == (rows, COEFFICIENTS)
        assert torch.allclose(basis @ basis.T, torch.eye(rows, dtype=torch.float64), atol=1e-6)


def test_block_transform_begins_with_the_means() -> None:
    first = block_transform(3)
    luma, u, v = (torch.full((count,), count**-0.5) for count in (256, 64, 64))
    expected = torch.stack(
        [
            torch.cat([luma, u * 0, v * 0]),
            torch.cat([luma * 0, u, v * 0]),
            torch.cat([luma * 0, u * 0, v]),
        ]
    )
    assert torch.allclose(first, expected)


@pytest.mark.parametrize("size", TRANSFORM_SIZES)
def test_blocks_are_turned_by_a_rotation_that_keeps_their_mean(size: tuple[int, int]) -> None:
    rotation = turn(COEFFICIENTS, size).double()
    assert torch.allclose(rotation @ rotation.t(), torch.eye(COEFFICIENTS).double(), atol=1e-6)
    assert torch.allclose(rotation[0], torch.eye(COEFFICIENTS)[0].double())
