"""Edges around a block go on inside it, along angles that are weighed exactly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from bcodec.fixedpoint import ACTIVATION, PICTURE, Conv2d, snap
from bcodec.networks.angular import ANGLES, PLANES, QUARTERS, AngularPrediction, along
from bcodec.networks.blockdct import COEFFICIENTS
from bcodec.networks.surroundings import CLOSER, Ring, Surroundings

FEATURES, SIZE = 12, (3, 5)


def plane(ring: Ring, across: float, down: float) -> tuple[Tensor, Tensor]:
    """Samples of a ring [R] and of the block inside [side^2] of what rises so much across and down."""
    at = torch.arange(ring.side + 2 * ring.depth, dtype=torch.float32)
    window = down * at[:, None] + across * at
    inner = slice(ring.depth, ring.depth + ring.side)
    return window.flatten()[ring.inside], window[inner, inner].flatten()


@pytest.mark.parametrize("number", range(ANGLES))
@pytest.mark.parametrize("kind", range(len(PLANES)))
def test_what_is_alike_along_an_angle_goes_on_along_it(kind: int, number: int) -> None:
    ring, angle = Surroundings().pair()[kind], math.pi * number / ANGLES
    around, inside = plane(ring, -math.sin(angle), math.cos(angle))
    assert torch.allclose(along(ring, angle) @ around, inside, atol=1e-4)


@pytest.mark.parametrize(("number", "across", "down"), [(0, 0, 1), (4, -1, 1), (8, 1, 0), (12, 1, 1)])
def test_lines_of_any_pattern_go_on(number: int, across: int, down: int) -> None:
    ring = Surroundings().pair()[0]
    around, inside = (plane.long() * 37 % 11 for plane in plane(ring, across, down))
    assert torch.allclose(along(ring, math.pi * number / ANGLES) @ around.float(), inside.float(), atol=1e-4)


def network() -> AngularPrediction:
    """All of whose weights are large, frozen."""
    torch.manual_seed(0)
    angular = AngularPrediction(FEATURES, COEFFICIENTS, Surroundings().pair()).requires_grad_(False)
    for name, layer in angular.named_modules():
        if isinstance(layer, Conv2d):
            if name in ("hidden", "weights"):
                layer.weight.copy_(torch.randn_like(layer.weight))
            layer.freeze(*layer.integers())
    return angular


def test_sums_over_angles_are_those_of_integers() -> None:
    angular, generator = network(), torch.Generator().manual_seed(1)
    samples, features = (
        snap(torch.randn(2, channels, *SIZE, generator=generator) * 8)
        for channels in (sum(angular.seen), FEATURES)
    )
    weights = angular.weights(angular.hidden(features)).double().view(2, len(PLANES), QUARTERS, ANGLES, *SIZE)
    assert float(weights.max()) == ACTIVATION.high  # the largest sums are among them
    whole = torch.zeros(2, COEFFICIENTS, *SIZE, dtype=torch.float64)
    first = 0
    for kind, (layer, seen) in enumerate(zip(angular.maps, angular.seen, strict=True)):
        maps = layer(samples[:, first : first + seen]).double().view(2, QUARTERS, ANGLES, -1, *SIZE)
        sums = (maps * weights[:, kind, :, :, None]).sum(2).flatten(1, 2)
        whole[:, 256 * kind : 256 * kind + sums.shape[1]] = sums
        first += seen
    expected = angular.transform(snap(whole.float(), PICTURE))
    assert torch.equal(angular(samples, features), expected)


def test_a_flat_surrounding_has_a_flat_block() -> None:
    """Of the untrained network, when all weight is on one angle."""
    angular = network()
    angular.weights.weight.zero_()
    angular.weights.bias.zero_()
    angular.weights.bias[::ANGLES] = 1
    angular.weights.freeze(*angular.weights.integers())
    samples = torch.full((1, sum(angular.seen), 1, 1), CLOSER)
    latent = angular(samples, torch.zeros(1, FEATURES, 1, 1))
    flat = torch.zeros_like(latent)
    flat[:, :3] = 8
    assert float((latent - flat).abs().max()) < 0.05
