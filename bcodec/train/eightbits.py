"""Grids of eight bits for what enters layers, chosen by what comes out of them where groups are coded.

Weights trained without such grids lose little by them where a layer adds to what it is given, as those of
residual blocks do; what they read of a picture must stay finer (measured: E612 to E623).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from bcodec.fixedpoint import INT8, Conv2d, Grid, convolve, in_steps, snap, weight_steps

# Layers that most multiply-accumulates are in, and where eight bits are enough; of WIDE for the weights only.
ENOUGH = re.compile(
    r"synthesis\.(level|up|inject|tail|aligned)|refine|reference\.level|analysis\.(level|down)"
    r"|fusions.*(mix|hidden|query)|prior\.merge|temporal\."
    r"|(intra|bframe)\.hyperprior\.(analysis\.[123]|synthesis)"
)
WIDE = re.compile(r"synthesis\.level1")
FRACS, BELOW = range(3, 9), range(0, 161, 16)  # of grids that are tried
SAMPLES, SIDE = 48, 16  # excerpts that are kept for each layer, at most, and positions a side of each


@contextmanager
def watched(net: nn.Module, generator: np.random.Generator) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, keep excerpts [1, C, h, w] of what enters each such layer, by its name: all alike."""
    kept: dict[str, list[Tensor]] = {}

    def watch(name: str, layer: Conv2d) -> torch.utils.hooks.RemovableHandle:
        own, seen = kept.setdefault(name, []), 0

        def keep(_: nn.Module, entered: tuple[Tensor, ...]) -> None:
            nonlocal seen
            seen += 1
            place = len(own) if len(own) < SAMPLES else int(generator.integers(seen))
            if place < SAMPLES:
                own[place : place + 1] = [_excerpt(entered[0], generator)]

        return layer.register_forward_pre_hook(keep)

    handles = [watch(name, layer) for name, layer in _layers(net)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _excerpt(x: Tensor, generator: np.random.Generator) -> Tensor:
    """Some of the positions [1, C, h, w] of features [B, C, H, W]."""
    top, left = (int(generator.integers(max(side - SIDE, 0) + 1)) for side in x.shape[2:])
    return x[:1, :, top : top + SIDE, left : left + SIDE].detach().float().cpu().clone()


def best_grid(layer: Conv2d, samples: list[Tensor]) -> Grid:
    """The grid of eight bits by which the sums that a layer makes of samples [1, C, h, w] change least."""
    size = min(sample.shape[2] for sample in samples), min(sample.shape[3] for sample in samples)
    x = torch.cat([sample[..., : size[0], : size[1]] for sample in samples])
    weight, bias = (part.detach().cpu().float() for part in (layer.weight, layer.bias))
    exact = convolve(x, weight, None, layer.stride)

    def changed(grid: Grid) -> float:
        steps = weight_steps(weight, bias, grid, 0, INT8)
        rounded, _ = in_steps(weight, bias, grid, steps)
        return float((convolve(snap(x.clone(), grid), rounded, None, layer.stride) - exact).square().mean())

    with torch.no_grad():
        return min((Grid(frac, 8, below) for frac in FRACS for below in BELOW), key=changed)


def round_inputs(net: nn.Module, samples: dict[str, list[Tensor]]) -> None:
    """Let layers round what enters them, if there are samples [1, C, h, w]; weights are rounded anew."""
    for name, layer in _layers(net):
        if samples[name]:
            layer.in_bytes(layer.grid_in if WIDE.search(name) else best_grid(layer, samples[name]))


def _layers(net: nn.Module) -> list[tuple[str, Conv2d]]:
    modules = ((name, module) for name, module in net.named_modules() if isinstance(module, Conv2d))
    return [(name, layer) for name, layer in modules if ENOUGH.search(name)]
