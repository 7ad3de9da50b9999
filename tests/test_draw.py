"""Drawn clips are pictures of the size that training takes, and things happen on them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bcodec.train.__main__ import main
from bcodec.train.draw import FRAMES, HEIGHT, KINDS, WIDTH, Picture
from bcodec.video import VideoReader


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_clip_has_edges_and_changes_and_is_the_same_each_time(kind: str) -> None:
    pytest.importorskip("matplotlib")
    pictures, again = (KINDS[kind](np.random.default_rng((0, 1))) for _ in range(2))
    assert [picture.shape for picture in pictures] == [(HEIGHT, WIDTH, 3)] * FRAMES
    assert np.abs(np.diff(pictures[0].astype(int), axis=1)).max() > 100
    assert any((one != other).any() for one, other in itertools.pairwise(pictures))
    assert all(np.array_equal(*pair) for pair in zip(pictures, again, strict=True))


def test_the_command_writes_as_many_different_clips_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grey ones, whose luma BT.601 gives."""
    drawn: list[list[Picture]] = []

    def grey(generator: np.random.Generator) -> list[Picture]:
        levels = generator.integers(0, 256, (3, HEIGHT, WIDTH, 1), np.uint8)
        drawn.append(list(levels.repeat(3, 3)))
        return drawn[-1]

    monkeypatch.setitem(KINDS, "grid", grey)
    words = ["draw", str(tmp_path / "clips"), "--kind", "grid", "--count", "2"]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    paths = sorted((tmp_path / "clips").iterdir())
    assert [path.name for path in paths] == ["grid_000.mkv", "grid_001.mkv"]
    assert not np.array_equal(drawn[0], drawn[1])
    for path, pictures in zip(paths, drawn, strict=True):
        with VideoReader(str(path)) as reader:
            for frame, picture in zip(reader, pictures, strict=True):
                assert np.abs(frame.y - (16 + picture[..., 0] * (219 / 255))).max() <= 1
