"""Training what I frames' coefficients are expected by, on those of real encodes and by their bits alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bcodec.encoder.blocksizes import turned
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.networks import Networks
from bcodec.networks.blockdct import TRANSFORM_SIZES
from bcodec.networks.quincunx import QuincunxPrior
from bcodec.train.encodes import Encode, fit

LEAST = 20000.0  # bits of a crop's coefficients, from which on only their share counts


class Seen(NamedTuple):
    """Latents of I frames as they were coded, [B, ..]."""

    coefficients: Tensor  # [B, Y, H/16, W/16], of blocks of their sizes
    prior: Tensor
    size: Tensor
    step: Tensor  # [B, Y, 1, 1]
    offset: Tensor
    worth: Tensor  # as of a RateMeter


def record_latents(net: Networks, encode: Encode) -> list[Seen]:
    """Those of all I frames of an encode, each as often as it is coded."""
    seen: list[Seen] = []

    def after(part: nn.Module, entered: tuple[Any, ...], decoded: tuple[Tensor, Tensor]) -> None:
        writer, y, prior, (step, offset), _ = entered
        assert isinstance(part, QuincunxPrior)
        seen.append(Seen(in_sizes(part, y, decoded[1]), prior, decoded[1], step, offset, writer.worth))

    handle = net.intra.prior.register_forward_hook(after)
    try:
        encode.packets(net)
    finally:
        handle.remove()
    return seen


def in_sizes(network: QuincunxPrior, y: Tensor, size: Tensor) -> Tensor:
    """The coefficients [B, Y, H, W] of a latent's blocks, of their sizes [B, 1, H, W]."""
    for number in range(1, len(TRANSFORM_SIZES)):
        y = torch.where(size == number, turned(network.sizes, y, number), y)
    return y


def latent_bits(net: Networks, costs: SymbolCosts, seen: Sequence[Seen]) -> Tensor:
    """Bits of coefficients, [B]."""
    coefficients, prior, size, step, offset, worth = map(torch.cat, zip(*seen, strict=True))
    meter = RateMeter(costs, worth)
    net.intra.prior.coefficients(meter, coefficients, prior, size, (step, offset))
    return meter.bits


def fit_latents(net: Networks, seen: Sequence[Seen], minutes: float, lr: float) -> Iterator[float]:
    """Train the model of I frames' coefficients, and nothing else, for so long; the cost of each batch."""
    costs = SymbolCosts(net.tables)

    def cost(some: Sequence[Seen]) -> Tensor:
        bits = latent_bits(net, costs, some)
        return (bits / (bits.detach() + LEAST)).mean()

    yield from fit(net.intra.prior.model, seen, cost, minutes, lr)
