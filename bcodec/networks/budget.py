"""Counting: parameters of each part of the networks, and multiply-accumulates for each luma pixel coded.

Only convolutions are counted, by hooks, while a picture is really coded: what does not run does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bcodec.coding import Encoder, Rounder
from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.intra import IntraCodec
from bcodec.samples import finish

DECODER_I = 50.0  # kMAC for each luma pixel of an I frame, decoding
DECODER_B = 50.0
EXTRA_I = 55.0  # what encoding takes beside decoding: sizes of blocks are tried
EXTRA_B = 40.0
SIDE = 256  # of the picture that is coded, in luma samples

Count = dict[str, float]  # kMAC for each luma pixel, by part


@dataclass(frozen=True)
class Usage:
    """Parameters, and kMAC for each luma pixel of an I and a B frame in encoder and decoder, by part."""

    parameters: dict[str, int]
    encode_i: Count
    decode_i: Count
    encode_b: Count
    decode_b: Count

    def limits(self) -> dict[str, tuple[float, float]]:
        """(used, allowed), in kMAC for each luma pixel, of everything that has a budget."""
        encode_i, decode_i, encode_b, decode_b = (
            sum(count.values()) for count in (self.encode_i, self.decode_i, self.encode_b, self.decode_b)
        )
        return {
            "I frame, decoder": (decode_i, DECODER_I),
            "B frame, decoder": (decode_b, DECODER_B),
            "I frame, encoder's extra": (encode_i - decode_i, EXTRA_I),
            "B frame, encoder's extra": (encode_b - decode_b, EXTRA_B),
        }


def parts(networks: Networks) -> dict[str, nn.Module]:
    """What is counted apart: the parts of the intra and the B frame codec, and the features of references."""
    named: dict[str, nn.Module] = {}
    for name, codec in (("intra", networks.intra), ("bframe", networks.bframe)):
        named |= {f"{name}.{child}": part for child, part in codec.named_children()}
    return named | {"reference": networks.reference}


@contextmanager
def counting(networks: Networks) -> Iterator[Count]:
    """Count, until the context ends, the kMAC for each luma pixel of a SIDE x SIDE picture."""
    count: Count = {}

    def counter(part: str) -> Callable[[nn.Module, object, Tensor], None]:
        def count_layer(layer: nn.Module, _: object, output: Tensor) -> None:
            assert isinstance(layer, Conv2d)
            kmacs = output.numel() * layer.weight[0].numel() / 1000
            count[part] = count.get(part, 0.0) + kmacs / SIDE**2

        return count_layer

    handles = [
        layer.register_forward_hook(counter(name))
        for name, part in parts(networks).items()
        for layer in part.modules()
        if isinstance(layer, Conv2d)
    ]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def measure(networks: Networks, encoder: Callable[[IntraCodec | BFrameCodec, Tensor], Encoder]) -> Usage:
    """Code an I and a B frame between two references of SIDE x SIDE luma samples, both ways, and count.

    `encoder` makes one for a picture [1, 6, SIDE/2, SIDE/2] and the codec that will code it.
    """
    symbols, qp, size = Rounder(), torch.tensor([32]), (SIDE // 16, SIDE // 16)
    source = finish(torch.randn(1, 6, SIDE // 2, SIDE // 2))

    with counting(networks) as encode_i:
        networks.reference(*networks.intra(symbols, qp, size, encoder(networks.intra, source)), qp)
    with counting(networks) as decode_i:
        x_hat, y_hat = networks.intra(symbols, qp, size)
        reference = networks.reference(finish(x_hat), y_hat, qp)

    def code_b(analyst: Encoder | None = None) -> None:
        x_hat, y_hat, motion = networks.bframe(symbols, reference, reference, (1, 1), qp, analyst)
        networks.reference(x_hat, y_hat, qp, motion)

    with counting(networks) as encode_b:
        code_b(encoder(networks.bframe, source))
    with counting(networks) as decode_b:
        code_b()

    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in parts(networks).items()}
    return Usage(parameters, encode_i, decode_i, encode_b, decode_b)
