"""References are interpolated to quarter samples."""

import pytest
import torch

from bcodec.frame import finish
from bcodec.networks.reference import interpolate


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


def test_interpolation_hands_gradients_on() -> None:
    plane = finish(torch.randn(1, 1, 8, 8)).requires_grad_()
    interpolate(plane)[..., ::4, ::4].sum().backward()  # type: ignore[no-untyped-call]
    assert plane.grad is not None
    assert torch.equal(plane.grad, torch.full((1, 1, 8, 8), 64.0))
