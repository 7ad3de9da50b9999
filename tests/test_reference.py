"""References are interpolated to quarter samples."""

import pytest
import torch
import torch.nn.functional as F

from bcodec.networks.reference import TAPS, interpolate
from bcodec.samples import finish


def test_interpolation_keeps_whole_samples_and_straight_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = finish(torch.randn(1, 1, 40, 16))
    quarters = interpolate(plane)
    assert quarters.dtype is torch.float16
    assert torch.equal(quarters[..., ::4, ::4], (plane * 64 + 128).half())
    assert torch.equal(quarters, torch.round(quarters.float() * 4).half() / 4)
    line = interpolate(torch.arange(-20.0, 20.0).view(1, 1, -1, 1).expand(1, 1, 40, 16) * 4 / 64)
    assert torch.equal(line[0, 0, 20:-24, 0].diff(), torch.ones(115, dtype=torch.float16))
    monkeypatch.setattr("bcodec.networks.reference.STRIP", 16)
    assert torch.equal(interpolate(plane), quarters)


def test_interpolation_of_extreme_samples_is_exact() -> None:
    samples = torch.randint(0, 2, (1, 1, 32, 32)) * 1023
    filters = torch.tensor(TAPS)
    windows = F.pad(samples.double(), (3, 4, 3, 4), mode="replicate").long().unfold(2, 8, 1).unfold(3, 8, 1)
    sums = torch.einsum("bcyxij,ki,lj->bcykxl", windows, filters, filters).flatten(4).flatten(2, 3)
    assert int(sums.abs().max()) < 1 << 24
    quarters = torch.round(sums.double() / 4096).clamp(0, 1023) / 4
    assert torch.equal(interpolate((samples.float() - 512) / 256).double(), quarters)


def test_interpolation_hands_gradients_on() -> None:
    plane = finish(torch.randn(1, 1, 8, 8)).requires_grad_()
    interpolate(plane)[..., ::4, ::4].sum().backward()  # type: ignore[no-untyped-call]
    assert plane.grad is not None
    assert torch.equal(plane.grad, torch.full((1, 1, 8, 8), 64.0))
