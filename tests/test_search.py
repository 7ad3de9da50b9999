"""The search finds the motion that there is."""

import pytest
import torch
from motions import moved, still, typical

from bcodec.encoder.motion.search import search
from bcodec.encoder.motion.sheet import spread
from bcodec.networks.reference import interpolate


@pytest.mark.parametrize("vector", [(0.0, 0.0), (3.0, -5.0), (2.25, -1.75), (-6.5, 0.75), (14.75, 9.25)])
def test_search_finds_a_translation_by_quarters_of_a_sample(vector: tuple[float, float]) -> None:
    dx, dy = vector
    reference = moved(0, 0)
    current = moved(-dx, -dy)
    planes = current + 128, reference + 128, spread(4, interpolate(reference / 64))
    predicted = torch.floor(torch.tensor(vector)).view(1, 2, 1, 1).expand(1, 2, 16, 24)
    field, shift = search(*planes, predicted, torch.tensor([0.01]))
    assert typical(field) == [dx, dy]
    assert not shift.any()


@pytest.mark.parametrize("details", [True, False])
def test_small_blocks_have_vectors_of_their_own_only_in_detail(details: bool) -> None:
    reference = moved(0, 0)
    rows = torch.arange(reference.shape[2]).view(-1, 1) // 8 % 2 == 0  # of each block of 16x16 the upper half
    current = torch.where(rows, moved(-6, 0), moved(6, 0))
    planes = current + 128, reference + 128, spread(4, interpolate(reference / 64))
    field, _ = search(*planes, still(), torch.tensor([0.01]), details=details)
    upper, lower = field[0, :, 2:-2:2, 4:-4], field[0, :, 3:-2:2, 4:-4]
    assert torch.equal(upper, lower) != details
    if details:
        assert [half.flatten(1).median(1).values.tolist() for half in (upper, lower)] == [[6, 0], [-6, 0]]


@pytest.mark.parametrize("vector", [(150.0, -10.0), (-130.0, 24.0)])
def test_search_finds_a_pan_out_of_the_reach_of_blocks(vector: tuple[float, float]) -> None:
    dx, dy = vector
    reference, current = moved(0, 0, 512), moved(-dx, -dy, 512)
    planes = current + 128, reference + 128, spread(4, interpolate(reference / 64))
    field, shift = search(*planes, still(columns=64), torch.tensor([0.01]))
    inside = field[0, :, 5:-5, 28:-28].flatten(1).median(1).values
    assert inside.tolist() == [dx, dy]
    assert (shift.flatten() - torch.tensor(vector)).abs().max() <= 2
    assert not torch.any(shift % 2)
