"""`to` takes all of the networks to a device, and there they compute exactly or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from bcodec import fixedpoint
from bcodec.errors import InexactDevice
from bcodec.fixedpoint import FLOAT64, Conv2d
from bcodec.networks import Networks, load_networks


def tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor that can be reached from a module's attributes, or within a container, once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from tensors(vars(value), seen)
    elif isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item, seen)


def convolutions(networks: Networks) -> list[Conv2d]:
    return [module for module in networks.modules() if isinstance(module, Conv2d)]


def picture() -> Tensor:
    """On the grid of pixels, [1, 6, 32, 32]."""
    return torch.randint(-128, 128, (1, 6, 32, 32), generator=torch.Generator().manual_seed(0)) / 64


def test_no_tensor_of_frozen_networks_is_left_behind(
    networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixedpoint, "exact_precision", lambda device: torch.float32)
    before = [(tensor.shape, tensor.dtype) for tensor in tensors(networks, set())]
    frozen = sum(1 + len(layer.frozen or ()) for layer in convolutions(networks))
    assert len(before) >= len(list(networks.parameters())) + frozen
    assert networks.to("meta") is networks
    assert {tensor.device.type for tensor in tensors(networks, set())} == {"meta"}
    assert [(tensor.shape, tensor.dtype) for tensor in tensors(networks, set())] == before


def test_no_tensor_of_networks_in_training_is_left_behind() -> None:
    """A device to train on need not be exact: this one computes nothing."""
    networks = Networks(TINY).to("meta")
    assert {tensor.device.type for tensor in tensors(networks, set())} == {"meta"}


def test_fixed_weights_stay_in_channels_last(networks: Networks) -> None:
    for moved in (networks, networks.to("cpu"), networks.to(memory_format=torch.channels_last)):  # type: ignore[call-overload]
        for layer in convolutions(moved):
            assert layer.frozen is not None
            assert layer.frozen[0].is_contiguous(memory_format=torch.channels_last)


def test_where_only_float64_is_exact_networks_compute_the_same_in_it(
    networks: Networks, tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixedpoint, "exact_precision", lambda device: torch.float64)
    networks.to("cpu")
    assert all(layer.operands(picture())[0].dtype is torch.float64 for layer in convolutions(networks))
    monkeypatch.setattr(fixedpoint, "exact_precision", lambda device: torch.float32)
    with torch.no_grad():
        expected = tiny_networks.intra.analysis(picture())
        assert torch.equal(networks.intra.analysis(picture()), expected)
        networks.to("cpu")
        assert torch.equal(networks.intra.analysis(picture()), expected)
    for layer in convolutions(networks):
        precise = layer.sums is FLOAT64
        assert layer.operands(picture())[0].dtype is (torch.float64 if precise else torch.float32)


def test_a_device_that_is_not_exact_is_refused(
    tiny_weights: Path, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixedpoint, "_exact", lambda device, *_: device == "cpu")
    with pytest.raises(InexactDevice, match="meta are not exact"):
        load_networks(tiny_weights, "meta")
    with pytest.raises(InexactDevice, match="meta are not exact"):
        networks.to("meta")
