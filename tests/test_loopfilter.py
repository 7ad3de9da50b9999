"""Loop filters are read as they were written, and filter a plane in strips as in one piece."""

import numpy as np
import pytest
import torch
from conftest import TINY
from latents import CODER

from bcodec.encoder.analyst import Analyst
from bcodec.entropy.coder import RangeReader, RangeWriter
from bcodec.frame import Frame, Plane, to_tensor
from bcodec.networks.intra import IntraCodec
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

STEP = 16.0
STEPS = (STEP, STEP, STEP)
SIZES = [(90, 122), (45, 61), (45, 61)]


def lines(rows: int, columns: int, seed: int = 0) -> Plane:
    """Thin bright lines on a dark ground."""
    plane = np.full((rows, columns), 40, np.uint8)
    plane[seed % 5 :: 9] = 200
    plane[:, seed % 7 :: 11] = 220
    return plane


def blurred(plane: Plane) -> Plane:
    """Each sample mixed with those beside it."""
    x = np.pad(plane.astype(float), 1, mode="edge")
    mixed: Plane = np.round(0.9 * x[1:-1, 1:-1] + 0.05 * (x[1:-1, :-2] + x[1:-1, 2:])).astype(np.uint8)
    return mixed


def fitting(original: list[Plane]) -> Analyst:
    """An encoder that fits filters to the original planes."""
    frame = Frame(*original)
    return Analyst(IntraCodec(TINY), to_tensor(frame), original=frame, worth=(1.0, 1.0, 1.0))


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
    plane = np.full((16, 32), 100, np.uint8)
    plane[:, 16::2] = 200
    classes = FilteredPlane(plane, STEP).classes(LUMA[-1].classes)
    assert int(classes[:, :12].max()) == 0
    assert int(classes[:, 20:].min()) == LUMA[-1].classes - 1
