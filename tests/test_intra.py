"""A fresh intra codec already codes, and chroma has steps of its own."""

import math

import pytest
import torch
import torch.nn.functional as F
from latents import FREQUENCIES
from torch import Tensor, nn

from bcodec.encoder.analyst import Analyst
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.frame import LEVELS
from bcodec.networks import Channels, Networks
from bcodec.networks.blockdct import channel_planes
from bcodec.networks.intra import IntraCodec
from bcodec.samples import finish


def smooth(side: int, seed: int = 0) -> Tensor:
    """Soft random shapes over most of the range, [1, 6, side / 2, side / 2] on the pixel grid."""
    torch.manual_seed(seed)
    coarse = torch.rand(1, 3, side // 16, side // 16)
    luma = nn.functional.interpolate(coarse[:, :1], size=(side, side), mode="bicubic")
    chroma = nn.functional.interpolate(coarse[:, 1:], size=(side // 2, side // 2), mode="bicubic")
    return finish(torch.cat([nn.functional.pixel_unshuffle(luma, 2), chroma], 1) * 3 - 1.5)


def test_chroma_is_quantized_by_its_own_qp(tiny_networks: Networks) -> None:
    planes = torch.tensor([plane for plane, _ in channel_planes()[: tiny_networks.channels.y]])
    low, high = torch.tensor([10]), torch.tensor([22])
    for step in (tiny_networks.intra.step, tiny_networks.bframe.step):
        for mixed, bright, coloured in zip(step(low, high), step(low), step(high), strict=True):
            assert torch.equal(mixed[:, planes == 0], bright[:, planes == 0])
            assert torch.equal(mixed[:, planes > 0], coloured[:, planes > 0])
            assert not torch.equal(bright, coloured)
        assert all(torch.equal(a, b) for a, b in zip(step(low), step(low, low), strict=True))


def test_fresh_intra_codec_codes_like_a_transform_codec() -> None:
    torch.manual_seed(0)
    intra = IntraCodec(Channels(level1=8, level2=8, level3=8, z=8))
    x, decibels, bits = smooth(128), [], []
    with torch.no_grad():
        for qp in (0, 32, 63):
            rate = RateMeter(SymbolCosts(FREQUENCIES))
            x_hat, _ = intra(rate, torch.tensor([qp]), (8, 8), Analyst(intra, x))
            error = ((finish(x_hat) - x) * 64).square().mean()
            decibels.append(10 * math.log10(255**2 / float(error)))
            bits.append(float(rate.bits))
    assert decibels[2] > 40
    assert decibels == sorted(decibels)
    assert bits == sorted(bits)


@pytest.mark.parametrize("edge", [0, 7, 12])  # luma columns of a block that are dark
def test_a_block_as_far_from_its_prediction_as_can_be_survives_the_transform(edge: int) -> None:
    luma = torch.full((1, 1, 64, 64), 255 / LEVELS)
    for column in range(edge):
        luma[..., column::16] = 0
    x = torch.cat([F.pixel_unshuffle(luma, 2), torch.zeros(1, 2, 32, 32)], 1)
    codec = IntraCodec(Channels())
    with torch.no_grad():
        again = F.pixel_shuffle(codec.synthesis.transform(codec.analysis.linear(x)), 8)
    assert (again - x).abs().max() < 4 / LEVELS
