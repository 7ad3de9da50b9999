"""Of the motion that was found, what pays is coded."""

import torch
from torch import Tensor

from bcodec.encoder.motion.choose import choose_flags, smooth_choice, symbols_that_pay
from bcodec.entropy.distributions import HEAVY
from bcodec.networks.motion.vectors import MEANS, VECTORS


def test_a_flag_follows_its_gain_where_it_is_large_and_its_neighbours_where_it_is_small() -> None:
    gain = torch.full((1, 1, 6, 6), 0.5)
    gain[..., 2, 2], gain[..., 4, 4] = -2.0, -50.0
    expected = torch.ones_like(gain)
    expected[..., 4, 4] = 0
    assert torch.equal(smooth_choice(gain, 1.0), expected)


def test_a_flag_that_gains_little_is_as_it_costs_least() -> None:
    gains = torch.tensor([0.0, 0.0, 3.0, -3.0, 30.0, -30.0]).view(1, 6, 1, 1)
    liked = (gains > 0).float()
    mean, scale = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]).view(1, 6, 1, 1), torch.full((1, 6, 1, 1), 4.0)
    assert choose_flags(gains, liked, mean, scale).flatten().tolist() == [0, 1, 0, 1, 1, 0]


def test_vectors_are_coded_only_where_they_save_more_than_their_bits() -> None:
    symbols = torch.full((1, VECTORS, 4, 4), 3.0)
    deviations = torch.full_like(symbols, 1.2)

    def kept(worth: float, needed: int) -> Tensor:
        """When the first so many channels are worth bits by their squared error."""

        def loss(chosen: Tensor) -> Tensor:
            off: Tensor = chosen - symbols
            return worth * off[:, :needed].square().sum(1, keepdim=True)

        return symbols_that_pay(symbols, deviations, MEANS, loss, HEAVY).mean((0, 2, 3))

    means = torch.arange(VECTORS) < MEANS
    assert torch.equal(kept(100.0, VECTORS), torch.full((VECTORS,), 3.0))
    assert torch.equal(kept(100.0, MEANS), 3.0 * means)
    assert torch.equal(kept(0.001, VECTORS), torch.zeros(VECTORS))


def test_one_part_of_a_vector_is_coded_alone_and_half_of_it_where_that_is_as_near() -> None:
    symbols = torch.zeros(1, VECTORS, 4, 4)
    symbols[:, :MEANS] = torch.tensor([8.0, 6.0]).view(1, MEANS, 1, 1)
    deviations = torch.full_like(symbols, 1.2)

    def chosen(*best: float) -> list[float]:
        """The means that are coded where these would lose nothing, and others by how far off they are."""
        wanted = torch.tensor(best).view(1, MEANS, 1, 1)

        def loss(candidates: Tensor) -> Tensor:
            return 100.0 * (candidates[:, :MEANS] - wanted).square().sum(1, keepdim=True)

        return symbols_that_pay(symbols, deviations, MEANS, loss, HEAVY)[0, :MEANS, 0, 0].tolist()

    assert chosen(8.0, 6.0) == [8.0, 6.0]
    assert chosen(8.0, 0.0) == [8.0, 0.0]
    assert chosen(0.0, 6.0) == [0.0, 6.0]
    assert chosen(4.0, 3.0) == [4.0, 3.0]
