"""Phase correlation finds how far a whole picture moved, and nothing where nothing did."""

import pytest
import torch
from torch import Tensor

from bcodec.encoder.motion.pan import PEAKS, likely_shifts
from bcodec.networks.motion.shift import LONGEST

PITCH = 2  # luma samples between the samples of the planes


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Smoothed noise, [1, 1, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 1, height + 4, width + 4, generator=generator)
    return torch.nn.functional.avg_pool2d(noise, 5, 1)


def moved(shift: tuple[int, int], height: int = 64, width: int = 96) -> tuple[Tensor, Tensor]:
    """A window on a texture, and how it looks once all has moved by a shift (x, y) in luma samples."""
    x, y = (abs(part) // PITCH for part in shift)
    canvas = texture(height + 2 * y, width + 2 * x)
    right, down = (part // PITCH for part in shift)
    before = canvas[:, :, y : y + height, x : x + width]
    return before, canvas[:, :, y - down :, x - right :][:, :, :height, :width]


@pytest.mark.parametrize("shift", [(24, -10), (-40, 2), (0, 36), (-2, 0)])
def test_the_shift_of_a_texture_is_found_exactly(shift: tuple[int, int]) -> None:
    current, reference = moved(shift)
    found = likely_shifts(current, reference, PITCH)
    assert found.shape == (1, PEAKS, 2)
    assert tuple(found[0, 0].tolist()) == shift
    back = likely_shifts(reference, current, PITCH)
    assert torch.equal(back[0, 0], -found[0, 0])


def test_shifts_of_a_batch_are_those_of_each_sample() -> None:
    pairs = [moved(shift) for shift in ((24, -10), (-14, 6), (8, 8))]
    current, reference = (torch.cat(planes) for planes in zip(*pairs, strict=True))
    together = likely_shifts(current, reference, PITCH)
    alone = [likely_shifts(*pair, PITCH) for pair in pairs]
    assert torch.equal(together, torch.cat(alone))


def test_in_noise_against_other_noise_nothing_is_found() -> None:
    for seed in range(10):
        one, other = torch.randn(2, 1, 1, 64, 96, generator=torch.Generator().manual_seed(seed))
        assert not bool(likely_shifts(one, other, PITCH).any())


@pytest.mark.parametrize("edge", [42, 54])
def test_the_shift_of_the_larger_part_comes_first(edge: int) -> None:
    """Of a picture whose left part moved to the right and whose right part moved to the left."""
    current = texture(96, 96)
    left, right = current.roll(16 // PITCH, 3), current.roll(-12 // PITCH, 3)
    reference = torch.cat([left[..., :edge], right[..., edge:]], 3)
    found = likely_shifts(current, reference, PITCH)[0].tolist()
    assert found == ([[16, 0], [-12, 0]] if edge > 48 else [[-12, 0], [16, 0]])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_shifts_are_found_up_to_the_longest_that_can_be_coded(axis: int, sign: int) -> None:
    for length in (LONGEST, LONGEST + 8):
        shift = (sign * length, 0) if axis == 0 else (0, sign * length)
        found = likely_shifts(*moved(shift, *((64, 640) if axis == 0 else (640, 64))), PITCH)
        assert tuple(found[0, 0].tolist()) == (shift if length <= LONGEST else (0, 0))
