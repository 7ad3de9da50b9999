"""Filters fitted to a picture mend what filters can mend, and else cost little."""

import numpy as np
from filtering import SIZES, STEPS, blurred, fitting, lines
from latents import CODER

from bcodec.encoder.filters import solve
from bcodec.entropy.coder import RangeWriter
from bcodec.frame import Plane
from bcodec.networks.loopfilter import loop_filter


def error(one: Plane, other: Plane) -> float:
    return float(np.square(one.astype(float) - other).mean())


def test_what_is_blurred_comes_nearer_to_the_original() -> None:
    original = [lines(*size, seed) for seed, size in enumerate(SIZES)]
    decoded = [blurred(plane) for plane in original]
    filtered = loop_filter(RangeWriter(CODER), decoded, STEPS, fitting(original))
    for plane, before, wanted in zip(filtered, decoded, original, strict=True):
        assert error(plane, wanted) < 0.7 * error(before, wanted)


def test_a_picture_that_is_right_is_left_alone_at_hardly_any_bits() -> None:
    planes = [lines(*size) for size in SIZES]
    writer = RangeWriter(CODER)
    filtered = loop_filter(writer, planes, STEPS, fitting(planes))
    assert all(np.array_equal(*pair) for pair in zip(planes, filtered, strict=True))
    assert writer.encoder.num_bits() <= 32


def test_equations_are_solved() -> None:
    generator = np.random.default_rng(0)
    matrix = generator.normal(0, 1e4, (24, 24))
    squares, wanted = matrix @ matrix.T, generator.normal(0, 1, 24)
    solved = solve(squares, squares @ wanted)
    steady = squares + np.eye(24) * (1e-2 * np.trace(squares) / 24 + 1)
    assert np.allclose(solved, np.linalg.solve(steady, squares @ wanted))


def test_planes_that_may_only_be_read_are_fitted_alike() -> None:
    """As readers of video give them."""
    original = [lines(*size, seed) for seed, size in enumerate(SIZES)]
    decoded = [blurred(plane) for plane in original]
    wanted = loop_filter(RangeWriter(CODER), decoded, STEPS, fitting(original))
    for plane in original:
        plane.flags.writeable = False
    filtered = loop_filter(RangeWriter(CODER), decoded, STEPS, fitting(original))
    assert all(np.array_equal(*pair) for pair in zip(filtered, wanted, strict=True))
