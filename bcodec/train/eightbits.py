"""Grids of eight bits for what enters layers, chosen by what does enter them while groups are coded.

Weights trained without such grids lose little by them where a layer adds to what it is given, as those of
residual blocks do; what they read of a picture must stay finer (measured: E600 to E604).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bcodec.fixedpoint import Conv2d, Grid

# Layers that most multiply-accumulates are in, and where eight bits are enough.
ENOUGH = re.compile(
    r"synthesis\.(level|up|inject|tail|aligned)|refine|reference\.level|analysis\.(level|down)"
    r"|fusions.*(mix|hidden|query)"
)
FINEST, COARSEST = 8, 2  # fractional bits
BELOW = range(0, 161, 8)  # steps below zero
SPAN, UNIT = 4096, 128  # a histogram counts multiples of 1 / UNIT up to SPAN of them to either side


@contextmanager
def watched(net: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, count what enters each such layer: histograms [2 SPAN], by the names of the layers."""
    counts: dict[str, Tensor] = {}

    def watch(name: str, layer: Conv2d) -> torch.utils.hooks.RemovableHandle:
        counts[name] = torch.zeros(2 * SPAN, dtype=torch.long)

        def count(_: nn.Module, entered: tuple[Tensor, ...]) -> None:
            places = (entered[0].float() * UNIT).round().long().clamp(-SPAN, SPAN - 1) + SPAN
            counts[name] += torch.bincount(places.flatten().cpu(), minlength=2 * SPAN)

        return layer.register_forward_pre_hook(count)

    handles = [watch(name, layer) for name, layer in _layers(net)]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def best_grid(counts: Tensor) -> Grid:
    """The grid of eight bits that takes least, in squared error, from values counted [2 SPAN]."""
    values = (torch.arange(2 * SPAN) - SPAN).double() / UNIT
    grids = [Grid(frac, 8, below) for frac in range(COARSEST, FINEST + 1) for below in BELOW]

    def lost(grid: Grid) -> float:
        steps = (values * 2.0**grid.frac).round().clamp(grid.lowest, grid.highest)
        return float(((steps / 2.0**grid.frac - values).square() * counts).sum())

    return min(grids, key=lost)


def round_inputs(net: nn.Module, counts: dict[str, Tensor]) -> None:
    """Let layers round what enters them to the best grids, by its counts [2 SPAN]; weights are rounded anew."""
    for name, layer in _layers(net):
        layer.in_bytes(best_grid(counts[name]))


def _layers(net: nn.Module) -> list[tuple[str, Conv2d]]:
    modules = ((name, module) for name, module in net.named_modules() if isinstance(module, Conv2d))
    return [(name, layer) for name, layer in modules if ENOUGH.search(name)]
