"""Muon moves kernels by what its documents say, and every parameter has one optimizer and its pace."""

from typing import cast

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from bcodec.fixedpoint import FLOAT64, Conv2d
from bcodec.networks import Networks
from bcodec.networks.latent import QStep
from bcodec.train.optimizers import Muon, make_optimizers, orthogonal

SHAPES = [(24, 64), (64, 24), (16, 48)]  # of matrices, wide and tall
KERNELS = [(24, 8, 3, 3), (64, 24, 1, 1), (16, 16, 3, 3)]
LR = 0.01


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def polar(matrix: Tensor) -> Tensor:
    """The matrix with all singular values 1, by a decomposition."""
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    result: Tensor = u @ vh
    return result


def stepped(kernels: list[nn.Parameter], gradients: list[Tensor], steps: int = 1) -> list[Tensor]:
    """By how much each kernel is moved by the last of so many steps, with its gradient times 1, 2, ..."""
    optimizer = Muon([{"params": kernels}], LR)
    for number in range(1, steps + 1):
        before = [kernel.detach().clone() for kernel in kernels]
        for kernel, gradient in zip(kernels, gradients, strict=True):
            kernel.grad = gradient.roll(number, 0) * number
        optimizer.step()
    return [kernel.detach() - start for kernel, start in zip(kernels, before, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_moves_singular_values_near_1_and_keeps_singular_vectors(shape: tuple[int, int]) -> None:
    matrices = random(3, *shape)
    for matrix, result in zip(matrices, orthogonal(matrices), strict=True):
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        inside = u.mT @ result @ vh.mT
        values = inside.diagonal()
        assert bool(((values > 0.65) & (values < 1.25)).all())
        torch.testing.assert_close(inside, values.diag(), rtol=0, atol=1e-5)
        torch.testing.assert_close(u @ inside @ vh, result, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_asks_for_no_scale(shape: tuple[int, int]) -> None:
    matrices = random(2, *shape)
    for factor in (2.0**-10, 2.0**10):
        torch.testing.assert_close(orthogonal(matrices * factor), orthogonal(matrices), rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("shape", KERNELS)
def test_a_step_of_muon_goes_along_the_orthogonal_momentum_as_far_as_documented(
    shape: tuple[int, ...], steps: int
) -> None:
    gradient = random(*shape)
    (change,) = stepped([nn.Parameter(random(*shape, seed=1))], [gradient], steps)
    assert float(change.square().mean().sqrt()) == pytest.approx(0.2 * LR, rel=0.25)
    momentum = torch.zeros(shape, dtype=torch.float64)
    for number in range(1, steps + 1):
        latest = gradient.double().roll(number, 0) * number
        momentum = 0.95 * momentum + 0.05 * latest
    towards = polar((0.95 * momentum + 0.05 * latest).flatten(1))
    along = torch.nn.functional.cosine_similarity(change.double().view(-1), towards.view(-1), 0)
    assert float(along) < -0.98


def test_weights_of_one_shape_are_moved_together_as_each_alone() -> None:
    shapes = [KERNELS[0], KERNELS[1], KERNELS[0], (24, 72, 1, 1), KERNELS[0]]
    starts = [random(*shape, seed=number) for number, shape in enumerate(shapes)]
    gradients = [random(*shape, seed=number + 10) for number, shape in enumerate(shapes)]
    together = stepped([nn.Parameter(start.clone()) for start in starts], gradients, 2)
    for start, gradient, change in zip(starts, gradients, together, strict=True):
        (alone,) = stepped([nn.Parameter(start.clone())], [gradient], 2)
        torch.testing.assert_close(alone, change, rtol=0, atol=1e-7)


def test_a_weight_without_a_gradient_stays() -> None:
    still, moved = (nn.Parameter(random(*KERNELS[0], seed=seed)) for seed in (0, 1))
    before = still.detach().clone()
    moved.grad = random(*KERNELS[0])
    Muon([{"params": [still, moved]}], LR).step()
    assert torch.equal(still, before)
    assert not torch.equal(moved, random(*KERNELS[0], seed=1))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_parameter_has_one_optimizer_and_its_pace(kind: str) -> None:
    networks = Networks(TINY)
    named = list(networks.named_parameters())
    optimizers = make_optimizers(named, LR, kind)
    groups = [(type(optimizer), group) for optimizer in optimizers for group in optimizer.param_groups]
    homes = {id(p): (home, group["lr"]) for home, group in groups for p in group["params"]}
    assert sum(len(group["params"]) for _, group in groups) == len(homes) == len(named)
    sizes = [prior.sizes for prior in (networks.intra.prior, networks.bframe.prior)]
    few = [m for m in networks.modules() if isinstance(m, QStep)] + [cast(nn.Module, s.flags) for s in sizes]
    fast = {id(p) for module in few for p in module.parameters()}
    blocks = [m for m in networks.modules() if isinstance(m, Conv2d) and m.sums is FLOAT64]
    slow = {id(p) for layer in blocks for p in layer.parameters()}
    for name, parameter in named:
        home, lr = homes[id(parameter)]
        pace = 0.1 if id(parameter) in slow else 5 if id(parameter) in fast else 1
        assert lr == pytest.approx(LR * pace), name
        kernel = parameter.ndim == 4 and parameter.shape[1] > 1 and id(parameter) not in slow
        assert home is (Muon if kernel and kind == "muon" else torch.optim.AdamW), name
    assert sorted({lr for _, lr in homes.values()}) == pytest.approx([0.1 * LR, LR, 5 * LR])
