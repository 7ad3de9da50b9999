"""Weights rounded once a step, not each time that a layer is used: half of a step's operations did that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bcodec.fixedpoint import Conv2d


@contextmanager
def rounded_weights(net: nn.Module) -> Iterator[None]:
    """Inside, the layers of a network in training use the weights that they would be rounded to, once made.

    Gradients still reach the parameters, as they do where each use rounds anew.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, Conv2d) and layer.frozen is None]
    try:
        for layer in layers:
            layer.frozen = layer.exact()[:2]
        yield
    finally:
        for layer in layers:
            layer.frozen = None
