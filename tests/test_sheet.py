"""Blocks that are cut out of a sheet are those that are gathered sample by sample."""

import pytest
import torch

from bcodec.encoder.motion.sheet import spread
from bcodec.networks.motion.blocks import ALL, Lattice, sample_blocks

ROWS, COLUMNS = 64, 96


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("lattice", [ALL, Lattice(1, 2)])
def test_blocks_are_the_samples_along_vectors_far_outside_the_picture_too(
    size: int, lattice: Lattice
) -> None:
    torch.manual_seed(size)
    quarter_pel = (torch.randint(0, 1024, (2, 1, 4 * ROWS, 4 * COLUMNS)) / 4).half()
    shape = (len(lattice.origins(side // size, size, quarter_pel.device)) for side in (ROWS, COLUMNS))
    vectors = torch.randint(-600, 600, (2, 2, *shape)) / torch.tensor([4, 16]).view(2, 1, 1, 1)
    vectors = torch.round(vectors * 4) / 4
    cut = spread(quarter_pel, 4).blocks(vectors, size, lattice)
    assert torch.equal(cut, sample_blocks(quarter_pel, vectors, size, lattice))
