"""Frame, its hash, and the way to the tensor and back."""

import zlib

import numpy as np
import pytest
import torch
from clips import deepened, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from bcodec.fixedpoint import PIXEL
from bcodec.frame import Frame, picture_hash, requantized
from bcodec.samples import finish, to_frame, to_tensor


@pytest.mark.parametrize("height", range(16, 68, 7))
def test_tensor_and_back_is_identity_for_every_width(height: int) -> None:
    for width in range(16, 71):
        for frame in (*noise(1, width, height, seed=width), *deepened(noise(1, width, height))):
            back = to_frame(to_tensor(frame), width, height)
            assert back.bit_depth == 10
            assert back.at_depth(frame.bit_depth).to_bytes() == frame.to_bytes()


def test_tensor_is_padded_to_whole_blocks_in_channels_last() -> None:
    tensor = to_tensor(noise(1, 70, 67)[0])
    assert tensor.shape == (1, 6, 64, 64)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_channels_are_the_four_lumas_of_a_block_then_chroma() -> None:
    y = np.zeros((64, 64), np.uint8)
    y[:2, :2] = [[128, 192], [64, 255]]
    frame = Frame(y, np.full((32, 32), 0, np.uint8), np.full((32, 32), 129, np.uint8))
    assert to_tensor(frame)[0, :, 0, 0].tolist() == [0.0, 1.0, -1.0, 127 / 64, -2.0, 1 / 64]
    assert torch.equal(to_tensor(frame.at_depth(10)), to_tensor(frame))


def test_padding_repeats_the_last_row_and_column() -> None:
    frame = noise(1, 17, 19)[0]
    y = torch.nn.functional.pixel_shuffle(to_tensor(frame)[:, :4], 2)[0, 0] * 64 + 128
    assert torch.equal(y[:19, 17:], y[:19, 16:17].expand(19, 64 - 17))
    assert torch.equal(y[19:], y[18:19].expand(64 - 19, 64))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=50))
def test_finish_clamps_rounds_and_leaves_its_input(values: list[float]) -> None:
    tensor = torch.tensor(values)
    kept = tensor.clone()
    finished = finish(tensor)
    assert torch.equal(tensor, kept)
    assert torch.equal(finish(finished), finished)
    assert torch.equal(finished * 256, torch.round(finished * 256))
    assert (finished - tensor.clamp(PIXEL.low, PIXEL.high)).abs().max() <= 0.5 / 256


def test_finish_rounds_halves_to_even() -> None:
    halves = torch.tensor([0.5, 1.5, -0.5, 2.5]) / 256
    assert (finish(halves) * 256).tolist() == [0.0, 2.0, 0.0, 2.0]


def test_eight_bits_are_ten_rounded_halves_to_even() -> None:
    samples = np.arange(1024, dtype=np.uint16)
    eight = requantized(samples, 10, 8)
    assert eight.dtype == np.uint8
    assert np.array_equal(eight, np.minimum(np.rint(samples / 4), 255))
    assert eight[[2, 6, 1021, 1023]].tolist() == [0, 2, 255, 255]
    assert np.array_equal(requantized(requantized(eight, 8, 10), 10, 8), eight)
    assert requantized(np.array([31, 32, 33, 96, 65535], np.uint16), 16, 10).tolist() == [0, 0, 1, 2, 1023]


def test_finish_leaves_pictures_as_they_are() -> None:
    tensor = to_tensor(noise(1, 64, 64)[0])
    assert torch.equal(finish(tensor), tensor)


def test_picture_hash_is_half_the_crc32_of_the_planes() -> None:
    frame = noise(1, 33, 17)[0]
    (deep,) = deepened([frame])
    assert picture_hash(deep) == zlib.crc32(deep.to_bytes()) & 0xFFFF != picture_hash(frame)
    assert picture_hash(frame) == zlib.crc32(frame.to_bytes()) & 0xFFFF
    assert picture_hash(frame) != picture_hash(noise(1, 33, 17, seed=1)[0])


def test_bytes_and_back_is_identity() -> None:
    frame = noise(1, 33, 17)[0]
    assert len(frame.to_bytes()) == 33 * 17 + 2 * 17 * 9
    assert Frame.from_bytes(frame.to_bytes(), 33, 17).to_bytes() == frame.to_bytes()
    (deep,) = deepened([frame])
    assert deep.to_bytes()[:2] == int(deep.y[0, 0]).to_bytes(2, "little")
    assert len(deep.to_bytes()) == 2 * len(frame.to_bytes())
    assert Frame.from_bytes(deep.to_bytes(), 33, 17, 10).to_bytes() == deep.to_bytes()


def test_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="23 bytes are not one 4x4 picture"):
        Frame.from_bytes(bytes(23), 4, 4)


@pytest.mark.parametrize(
    ("y", "u", "message"),
    [
        (np.zeros((4, 4, 1), np.uint8), np.zeros((2, 2), np.uint8), "luma must be"),
        (np.zeros((0, 4), np.uint8), np.zeros((2, 2), np.uint8), "luma must be"),
        (np.zeros((5, 4), np.uint8), np.zeros((2, 2), np.uint8), "plane u must be of shape"),
        (np.zeros((4, 4), np.int16), np.zeros((2, 2), np.uint8), "plane y must be uint8"),
        (np.zeros((4, 4), np.uint16), np.zeros((2, 2), np.uint8), "plane u must be uint8, or all uint16"),
        (np.full((4, 4), 1024, np.uint16), np.zeros((2, 2), np.uint16), "plane y has a sample of 1024"),
        (np.zeros((4, 8), np.uint8)[:, ::2], np.zeros((2, 2), np.uint8), "plane y must be contiguous"),
    ],
)
def test_planes_that_are_no_picture_are_refused(y: np.ndarray, u: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Frame(y, u, np.zeros((2, 2), np.uint8))
