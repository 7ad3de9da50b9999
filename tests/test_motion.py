"""Motion as both sides know it: how far references differ along it, and how it is told in symbols."""

import pytest
import torch
from latents import CODER
from motions import moved, moving, still

from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.networks.motion.blocks import mismatch
from bcodec.networks.motion.segments import SEGMENTS, interpolate_segments, segment_mask
from bcodec.networks.motion.shift import code_shifts
from bcodec.networks.motion.vectors import MEANS, QUARTERS, VECTORS, latent_to_vectors, vectors_to_latent


def test_references_agree_along_the_true_motion() -> None:
    past, future = moved(0, 0), moved(8, -4)
    along = mismatch(past, future, moving(-4, 2), moving(4, -2))
    assert along.shape == (1, 1, 16, 24)
    assert along[..., 2:-2, 2:-2].max() == 0
    assert mismatch(past, future, still(), still())[..., 2:-2, 2:-2].min() > 0


def test_vectors_of_quarter_samples_survive_the_latent_exactly() -> None:
    vectors = torch.randint(-400, 400, (2, 2, 8, 12)) / 4
    assert torch.equal(latent_to_vectors(vectors_to_latent(vectors)), vectors)
    alike = vectors_to_latent(vectors[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(alike[:, :MEANS] / QUARTERS[0], torch.round(alike[:, :MEANS] / QUARTERS[0]))
    assert not alike[:, MEANS:].any()


def test_segments_cover_each_position_once() -> None:
    masks = [segment_mask(part, (12, 8), torch.device("cpu")).float() for part in range(SEGMENTS)]
    assert torch.equal(torch.stack(masks).sum(0), torch.ones(1, 1, 12, 8))
    assert [float(mask.mean()) for mask in masks] == [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]


@pytest.mark.parametrize("part", range(1, SEGMENTS))
def test_a_segment_is_expected_as_a_plane_through_those_before(part: int) -> None:
    down, across = torch.arange(12.0), torch.arange(16.0)
    plane = (down[:, None] * 2 - across)[None, None]
    before = sum(segment_mask(earlier, (12, 16), torch.device("cpu")).float() for earlier in range(part))
    expected = interpolate_segments(plane * before, part)
    mask = segment_mask(part, (12, 16), torch.device("cpu"))
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.equal(expected[inside][mask[inside]], plane[inside][mask[inside]])


def test_what_moves_like_its_neighbours_is_expected_exactly() -> None:
    field = torch.full((1, VECTORS, 8, 8), 5 / 32)
    field[..., 4:, :] = -9 / 32
    for part in range(2, SEGMENTS):
        mask = segment_mask(part, (8, 8), torch.device("cpu"))
        off = ((interpolate_segments(field, part) - field) * mask)[..., :3, :]
        assert not off.any()


def test_shifts_are_coded_exactly() -> None:
    shifts = torch.tensor([[0.0, -2.0, 448.0, -448.0]])[:, :, None, None]
    writer = RangeWriter(CODER)
    assert torch.equal(code_shifts(writer, shifts, 1, shifts.device), shifts)
    reader = RangeReader(CODER, writer.payload)
    assert torch.equal(code_shifts(reader, None, 1, shifts.device), shifts)
