"""Drawn screens are pictures of the size that training takes, and things happen on them."""

import itertools

import numpy as np
import pytest

from bcodec.screens import FRAMES, HEIGHT, WIDTH, draw_clip


def test_a_drawn_clip_has_text_and_changes_and_is_the_same_each_time() -> None:
    pytest.importorskip("matplotlib")
    pictures = draw_clip(np.random.default_rng((0, 1)))
    assert [picture.shape for picture in pictures] == [(HEIGHT, WIDTH, 3)] * FRAMES
    assert np.abs(np.diff(pictures[0].astype(int), axis=1)).max() > 100
    assert any((one != other).any() for one, other in itertools.pairwise(pictures))
    assert all(
        np.array_equal(*pair) for pair in zip(pictures, draw_clip(np.random.default_rng((0, 1))), strict=True)
    )
