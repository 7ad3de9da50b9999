"""Where training starts: what networks take over from nothing, from a checkpoint and from weights."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from bcodec.fixedpoint import Conv2d, Grid
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.train.checkpoint import save_checkpoint
from bcodec.train.stages import start_networks

State = dict[str, Tensor]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks in training are tiny."""
    monkeypatch.setattr("bcodec.train.stages.Networks", lambda: Networks(TINY))


def gate_of(networks: Networks) -> Conv2d:
    """The layer by which a B frame's synthesis begins to use its contexts: zero until it is trained."""
    return cast(Conv2d, cast(nn.ModuleList, networks.bframe.synthesis.inject)[0])


def checkpoint(folder: Path, networks: Networks) -> Path:
    """One whose averaged weights are the networks'; the others are not."""
    weights = {f"net/{name}": value - 1 for name, value in networks.state_dict().items()}
    save_checkpoint(
        folder, weights | {f"average/{name[4:]}": torch.ones(()) for name in weights}, {"step": 1}
    )
    return folder


def trained(seed: int = 0) -> Networks:
    """Networks of which nothing is as it is initialised."""
    torch.manual_seed(seed)
    networks = Networks(TINY)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return networks


def same(ours: State, theirs: State) -> bool:
    """Whether they are, but for what adding and subtracting 1 rounds."""
    return ours.keys() == theirs.keys() and all(
        torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-6) for name in ours
    )


def shared(networks: Networks) -> list[tuple[Tensor, Tensor]]:
    """The weights that B frame codec and intra codec both have, by name and shape, in pairs."""
    ours, theirs = networks.bframe.state_dict(), networks.intra.state_dict()
    return [(ours[k], v) for k, v in theirs.items() if k in ours and ours[k].shape == v.shape]


def test_from_nothing_start_networks_as_they_are_initialised() -> None:
    torch.manual_seed(3)
    started = start_networks(None)
    torch.manual_seed(3)
    assert same(started.state_dict(), Networks(TINY).state_dict())
    assert started.tables == []


def test_from_a_checkpoint_its_averaged_weights_are_taken_over(tmp_path: Path) -> None:
    networks = trained()
    started = start_networks(checkpoint(tmp_path, networks))
    assert same(started.state_dict(), networks.state_dict())
    assert started.tables == []


def test_an_untrained_b_frame_codec_starts_from_the_intra_codec(tmp_path: Path) -> None:
    networks = trained()
    nn.init.zeros_(gate_of(networks).weight)
    started = start_networks(checkpoint(tmp_path, networks))
    assert same(started.intra.state_dict(), networks.intra.state_dict())
    assert same(started.reference.state_dict(), networks.reference.state_dict())
    pairs = shared(started)
    assert len(pairs) > 20
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert not any(torch.equal(ours, theirs) for ours, theirs in shared(networks) if ours.any())
    own = {k for k, v in networks.bframe.state_dict().items() if k not in networks.intra.state_dict()}
    assert same(*({k: each.bframe.state_dict()[k] for k in own} for each in (started, networks)))


def test_from_weights_their_integers_and_tables_are_taken_over_to_be_trained_on(tiny_weights: Path) -> None:
    loaded, started = load_networks(tiny_weights), start_networks(tiny_weights)
    assert same(started.state_dict(), loaded.state_dict())
    assert all(map(np.array_equal, started.tables, loaded.tables))
    assert len(started.tables) == len(loaded.tables) > 0
    assert all(parameter.requires_grad for parameter in started.parameters())
    assert all(layer.frozen is None for layer in started.modules() if isinstance(layer, Conv2d))


@pytest.mark.parametrize("width", ["level2", "y", "motion"])
def test_a_checkpoint_of_other_widths_is_refused(tmp_path: Path, width: str) -> None:
    other = Networks(replace(TINY, **{width: 2 * getattr(TINY, width)}))
    with pytest.raises(RuntimeError, match="size mismatch"):
        start_networks(checkpoint(tmp_path, other))


def test_training_goes_on_with_layers_in_bytes(tiny_networks: Networks, tmp_path: Path) -> None:
    grid = Grid(5, 8, 32)
    net = Networks(TINY)
    gate_of(net).in_bytes(grid)
    save_networks(tmp_path / "a.npz", net, tiny_networks.tables)
    again = gate_of(start_networks(tmp_path / "a.npz"))
    assert (again.is_in_bytes, again.grid_in) == (True, grid)
