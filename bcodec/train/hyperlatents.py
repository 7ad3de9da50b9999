"""Training what is expected of hyper-latents, on those of real encodes and by their bits alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bcodec.entropy.meter import SymbolCosts
from bcodec.networks import Networks
from bcodec.networks.latent import HyperEntropyModel
from bcodec.train.encodes import Encode, fit

LEAST = 30.0  # bits of a hyper-latent, below which it weighs no more


class Seen(NamedTuple):
    """Hyper-latents as their entropy model saw them, [B, ..]."""

    z: Tensor  # [B, Z, h, w]
    known: Tensor
    step: Tensor  # [B, Z, 1, 1]
    offset: Tensor


SeenBy = dict[str, list[Seen]]  # what each model has seen, by its name


def models(net: Networks) -> dict[str, HyperEntropyModel]:
    """The entropy models of hyper-latents, by their names."""
    return {name: part for name, part in net.named_modules() if isinstance(part, HyperEntropyModel)}


def record_hyperlatents(net: Networks, encode: Encode) -> SeenBy:
    """Those of all frames of an encode."""
    seen: SeenBy = {name: [] for name in models(net)}

    def before(name: str, _: nn.Module, entered: tuple[Any, ...]) -> None:
        _, _, z, known, (step, offset) = entered
        seen[name].append(Seen(z.clone(), known.clone(), step, offset))

    handles = [part.register_forward_pre_hook(partial(before, name)) for name, part in models(net).items()]
    try:
        encode.packets(net)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def merged(several: Sequence[SeenBy]) -> SeenBy:
    """What is seen in several encodes."""
    return {name: [each for seen in several for each in seen[name]] for name in several[0]}


def hyperlatent_bits(model: HyperEntropyModel, costs: SymbolCosts, seen: Sequence[Seen]) -> Tensor:
    """Bits of hyper-latents, [B], as if they were expected between whole steps: so there are gradients."""
    z, known, step, offset = map(torch.cat, zip(*seen, strict=True))
    mean = model.means().detach()
    whole = torch.round((z - mean) / step)
    bits = torch.zeros(len(z))
    first = None
    for number in range(len(model.colours)):
        steps, index, mask = model.expect(number, known, offset, first)
        bits = bits + (costs(whole - steps, index, 0) * mask).flatten(1).sum(1)
        first = (mean + whole * step) * mask
    return bits


def fit_hyperlatents(net: Networks, seen: SeenBy, minutes: float, lr: float) -> Iterator[float]:
    """Train the entropy models of hyper-latents, each for so long; the cost of each batch."""
    costs = SymbolCosts(net.tables)

    def cost(model: HyperEntropyModel, some: Sequence[Seen]) -> Tensor:
        bits = hyperlatent_bits(model, costs, some)
        return (bits / (bits.detach() + LEAST)).mean()

    for name, model in models(net).items():
        yield from fit(model, seen[name], partial(cost, model), minutes, lr)
