"""Loop filters are read as they were written, and filter a plane in strips as in one piece."""

import numpy as np
import pytest
import torch
from filtering import SIZES, STEP, STEPS, blurred, fitting, lines
from latents import CODER

from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.networks.loopfilter import (
    CHROMA,
    LUMA,
    NONE,
    SHAPES,
    SHARE_UNIT,
    Filter,
    FilteredPlane,
    FilterShape,
    code_filters,
    loop_filter,
)


@pytest.mark.parametrize("sizes", [SIZES, [(16, 16), (8, 8), (8, 8)], [(200, 18), (100, 9), (100, 9)]])
def test_a_reader_filters_as_the_writer_did(sizes: list[tuple[int, int]]) -> None:
    original = [lines(*size, seed) for seed, size in enumerate(sizes)]
    decoded = [blurred(plane) for plane in original]
    writer = RangeWriter(CODER)
    written = loop_filter(writer, decoded, STEPS, fitting(original))
    read = loop_filter(RangeReader(CODER, writer.payload), decoded, STEPS)
    assert all(np.array_equal(*pair) for pair in zip(written, read, strict=True))
    assert not np.array_equal(written[0], decoded[0])


@pytest.mark.parametrize("luma", LUMA)
@pytest.mark.parametrize("chroma", CHROMA)
def test_filters_of_every_shape_are_coded_exactly(luma: FilterShape, chroma: FilterShape) -> None:
    generator = torch.Generator().manual_seed(1)

    def filter_of(shape: FilterShape) -> Filter:
        size = (shape.classes, shape.width)
        return Filter(shape, torch.randint(-SHARE_UNIT, SHARE_UNIT + 1, size, generator=generator).float())

    filters = [filter_of(shape) for shape in (luma, chroma, NONE)]
    writer = RangeWriter(CODER)
    code_filters(writer, [(known.index(f.shape), f.shares) for known, f in zip(SHAPES, filters, strict=True)])
    decoded = code_filters(RangeReader(CODER, writer.payload), None)
    for one, other in zip(filters, decoded, strict=True):
        assert one.shape == other.shape
        assert torch.equal(one.shares, other.shares)


def test_a_plane_in_strips_is_filtered_as_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = lines(150, 77)
    shares = torch.linspace(-48, 48, LUMA[-1].classes * LUMA[-1].width).round().view(LUMA[-1].classes, -1)
    whole = FilteredPlane(plane, STEP).apply(Filter(LUMA[-1], shares))
    monkeypatch.setattr("bcodec.networks.loopfilter.STRIP", 32)
    assert np.array_equal(FilteredPlane(plane, STEP).apply(Filter(LUMA[-1], shares)), whole)


def test_busy_blocks_and_plain_ones_are_of_different_classes() -> None:
    plane = np.full((16, 32), 400, np.uint16)
    plane[:, 16::2] = 800
    classes = FilteredPlane(plane, STEP).classes(LUMA[-1].classes)
    assert int(classes[:, :12].max()) == 0
    assert int(classes[:, 20:].min()) == LUMA[-1].classes - 1
