"""What training has learned becomes weights: the same integers, and tables that fit the symbols."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import TINY
from torch import Tensor

from bcodec.entropy.tables import TOTAL, make_tables
from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks, load_networks
from bcodec.networks.latent import QStep
from bcodec.train import __main__ as commands
from bcodec.train.clips import Clip, Sampler
from bcodec.train.counting import Symbols, count_symbols
from bcodec.train.draw import write_clip
from bcodec.train.losses import intra_loss
from bcodec.train.run import Run
from bcodec.train.stages import STAGES

ESCAPE_BITS = 16  # behind the letter for an escape


def invoke(*words: object) -> str:
    """Run a command of `python -m bcodec.train`; what it printed."""
    result = CliRunner().invoke(commands.main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def integers(networks: Networks) -> dict[str, Tensor]:
    """Everything that is exported, by name."""
    found: dict[str, Tensor] = {}
    for name, module in networks.named_modules():
        if isinstance(module, Conv2d | QStep):
            found |= {f"{name}.{i}": value for i, value in enumerate(module.integers())}
    return found


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def bits(table: np.ndarray, symbols: Counter[int]) -> float:
    """What symbols cost with a table."""
    reach = len(table) // 2 - 1
    letters = -np.log2(table / TOTAL)
    costs = {s: letters[reach + s] if abs(s) <= reach else letters[-1] + ESCAPE_BITS for s in symbols}
    return float(sum(number * costs[symbol] for symbol, number in symbols.items()))


def test_steps_come_back_from_their_integers_though_the_largest_were_cut_off() -> None:
    """Else training that starts from a weights file starts from others (measured: E732)."""
    torch.manual_seed(0)
    layer, again = QStep(40, 4.0, 0.05), QStep(40, 1.0, 1.0)
    with torch.no_grad():
        layer.channel.normal_()
        layer.channel[0] = 9.0  # always cut off
    steps = layer.integers()
    assert int((steps[0] == 65535).sum()) > 200
    layer.freeze(*steps)
    again.load_state_dict(layer.state_dict())
    assert bool(((again.integers()[0] - steps[0]).abs() <= 1 + 1e-3 * steps[0]).all())


def test_a_checkpoint_is_exported_as_the_integers_of_its_averaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.train.stages.Networks", lambda: Networks(TINY))
    torch.manual_seed(0)
    clip = Clip(torch.zeros(1, 64, 64).byte(), torch.zeros(1, 2, 32, 32).byte())
    sampler = Sampler([clip], 64, 1, {1: 1.0})
    run = Run(Networks(TINY), intra_loss, STAGES["cascade"].trained, sampler, tmp_path, 1, 1.0, 1e-3, "muon")
    for name in run.learning:
        run.average[name] += torch.randn_like(run.average[name]) * 0.05
    run.save()
    printed = invoke("export", tmp_path, tmp_path / "net.npz")
    loaded = load_networks(tmp_path / "net.npz")
    assert loaded.model_id.hex() in printed
    assert all(map(np.array_equal, loaded.tables, make_tables()))
    averaged = Networks(TINY)
    averaged.load_state_dict(run.average)
    assert same(integers(loaded), integers(averaged))
    assert not same(integers(loaded), integers(run.net))


def test_fitted_tables_code_what_they_were_fitted_to_in_fewer_bits(
    tmp_path: Path, tiny_weights: Path, tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a real folder of videos, but in small crops and short groups."""
    counts: Symbols = []

    def counted(net: Networks, sampler: Sampler, generator: np.random.Generator, groups: int) -> Symbols:
        small = Sampler(sampler.clips, 64, 3, {1: 1.0})
        counts.extend(count_symbols(net, small, generator, groups))
        return counts

    monkeypatch.setattr(commands, "count_symbols", counted)
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    write_clip(tmp_path / "data" / "clip.mkv", list(rng.integers(0, 256, (9, 256, 256, 3), np.uint8)))
    places = ("--data", tmp_path / "data", "--cache", tmp_path / "cache")
    printed = invoke("tables", tiny_weights, tmp_path / "fitted.npz", *places, "--groups", 2)
    fitted = load_networks(tmp_path / "fitted.npz")
    assert fitted.model_id.hex() in printed
    assert fitted.model_id != tiny_networks.model_id
    fewer = 0
    for before, after, symbols in zip(tiny_networks.tables, fitted.tables, counts, strict=True):
        assert after.sum() == TOTAL
        assert after.min() >= 1
        assert np.array_equal(before, after) == (not symbols)
        assert bits(after, symbols) <= bits(before, symbols)
        fewer += bits(after, symbols) < 0.99 * bits(before, symbols)
    assert fewer >= 10
    assert same(integers(fitted), integers(tiny_networks))
