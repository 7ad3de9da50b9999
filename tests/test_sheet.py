"""Blocks that are cut out of a sheet are those that are gathered sample by sample."""

import pytest
import torch

from bcodec.encoder.motion.sheet import origins_of, spread
from bcodec.networks.motion.blocks import sample_blocks


@pytest.mark.parametrize("size", [8, 16])
def test_blocks_are_the_samples_along_vectors_far_outside_the_picture_too(size: int) -> None:
    torch.manual_seed(size)
    rows, columns = 64, 96
    quarter_pel = (torch.randint(0, 1024, (2, 1, 4 * rows, 4 * columns)) / 4).half()
    vectors = torch.randint(-600, 600, (2, 2, rows // size, columns // size)) / 4
    vectors[0] = torch.round(vectors[0]) / 4
    cut = spread(4, quarter_pel).blocks(origins_of(vectors, size), vectors, size)
    assert torch.equal(cut, sample_blocks(quarter_pel, vectors, size))
