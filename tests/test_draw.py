"""Drawn clips are pictures of the size that training takes, and things happen on them."""

import itertools

import numpy as np
import pytest

from bcodec.train.draw import FRAMES, HEIGHT, KINDS, WIDTH


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_clip_has_edges_and_changes_and_is_the_same_each_time(kind: str) -> None:
    pytest.importorskip("matplotlib")
    pictures, again = (KINDS[kind](np.random.default_rng((0, 1))) for _ in range(2))
    assert [picture.shape for picture in pictures] == [(HEIGHT, WIDTH, 3)] * FRAMES
    assert np.abs(np.diff(pictures[0].astype(int), axis=1)).max() > 100
    assert any((one != other).any() for one, other in itertools.pairwise(pictures))
    assert all(np.array_equal(*pair) for pair in zip(pictures, again, strict=True))
