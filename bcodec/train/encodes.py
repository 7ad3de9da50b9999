"""Random encodes of clips, and parts of networks trained on what these showed.

What a part is handed while frames are coded is kept; it learns from that alone, and nothing else is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bcodec.bitstream import Packet
from bcodec.encoder.effort import Effort, Preset
from bcodec.encoder.encode import code_groups
from bcodec.encoder.groups import groups
from bcodec.fixedpoint import Conv2d
from bcodec.frame import Frame
from bcodec.networks import Networks
from bcodec.networks.latent import QPS
from bcodec.train.clips import Sampler
from bcodec.train.optimizers import make_optimizers
from bcodec.train.rounding import rounded_weights

PRICES, COARSER = (1.0, 1.0, 1.0, 0.5, 2.0, 4.0), (0, 0, 0, 0, 1, 2)  # as often as they are drawn
BATCH = 16
STILL = (".knots", ".channel")  # of quantization steps, which stay

Seen = TypeVar("Seen")


class Encode(NamedTuple):
    """Frames, coded in groups that I frames close, the last of them a B* frame."""

    frames: Sequence[Frame]
    gop: int
    qp: float
    effort: Effort

    def packets(self, net: Networks) -> list[Packet]:
        """What is coded, each frame once."""
        parts = groups(self.frames, self.gop, self.gop, scene_cut=False, temporal_filter=True)
        return [each.packet for each in code_groups(parts, self.qp, net, Preset(self.effort, tuned=False))]


def random_encodes(sampler: Sampler, generator: np.random.Generator, gops: Sequence[int]) -> Iterator[Encode]:
    """Encodes of random crops, for ever: at any qp, in groups of several sizes."""
    while True:
        spacing, (clip,) = sampler.draw(generator, 1)
        y, uv = (planes.numpy() for planes in sampler.cut(generator, clip, spacing))
        gop = int(generator.choice(gops))
        # As long as the group, or shorter: then it ends with a B* frame. I frames alone are quickly coded.
        most = gop + 1 if gop > 1 else len(y)
        count = min(most if generator.random() < 0.6 else int(generator.integers(2, most + 1)), len(y))
        planes = (map(np.ascontiguousarray, (y[i], uv[i, 0], uv[i, 1])) for i in range(count))
        effort = Effort(
            float(generator.choice(PRICES)), int(generator.choice(COARSER)), bool(generator.random() < 0.5)
        )
        yield Encode([Frame(*each) for each in planes], gop, generator.uniform(0, QPS - 1), effort)


def fit(
    part: nn.Module, seen: Sequence[Seen], cost: Callable[[Sequence[Seen]], Tensor], minutes: float, lr: float
) -> Iterator[float]:
    """Train a part of a network, and nothing else, for so long; the cost of each batch of what it has seen.

    `cost` gives a scalar, []. In the end the weights are the average of those on the way. The networks keep
    their tables.
    """
    for layer in part.modules():
        if isinstance(layer, Conv2d):
            layer.frozen = layer.exponent = None
    named = [(name, p) for name, p in part.named_parameters() if not name.endswith(STILL)]
    learning = [p.requires_grad_() for _, p in named]
    average = [p.detach().clone() for p in learning]
    optimizers = make_optimizers(named, lr, "muon")
    generator, start, progress, number = np.random.default_rng(0), monotonic(), 0.0, 0
    while progress < 1:
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = lr * min(1, (number + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        with rounded_weights(part):
            loss = cost([seen[i] for i in generator.integers(len(seen), size=BATCH)])
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        number += 1
        with torch.no_grad():
            torch._foreach_lerp_(average, learning, 1 - min(0.998, number / (number + 19)))
        progress = (monotonic() - start) / (60 * minutes)
        yield float(loss.detach())
    with torch.no_grad():
        torch._foreach_copy_(learning, average)
