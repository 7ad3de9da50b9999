"""Weights rounded once a step, not each time that a layer is used, and those of like layers together.

Layer by layer, a quarter of a step's operations did nothing else.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bcodec.fixedpoint import Conv2d, in_steps, weight_steps


@contextmanager
def rounded_weights(net: nn.Module) -> Iterator[None]:
    """Inside, the layers of a network in training use the weights that they would be rounded to, once made.

    Gradients still reach the parameters, as they do where each use rounds anew.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, Conv2d) and layer.frozen is None]
    alike: dict[Hashable, list[Conv2d]] = {}
    for layer in layers:
        kind = (layer.weight[0].numel(), layer.grid_in, layer.residual_units(), layer.sums)
        alike.setdefault(kind, []).append(layer)
    try:
        for some in alike.values():
            for layer, operands in zip(some, _exact(some), strict=True):
                layer.frozen = operands
        yield
    finally:
        for layer in layers:
            layer.frozen = None


def _exact(layers: Sequence[Conv2d]) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and bias of each layer on their grids; layers that differ in nothing that decides about it."""
    first = layers[0]
    weight = torch.cat([layer.weight.flatten(1) for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    exponent = weight_steps(weight, bias, first.grid_in, first.residual_units(), first.sums)
    counts = [len(layer.bias) for layer in layers]
    rounded = (torch.split(part, counts) for part in in_steps(weight, bias, first.grid_in, exponent))
    for layer, own, offset in zip(layers, *rounded, strict=True):
        yield own.view(layer.weight.shape), offset
