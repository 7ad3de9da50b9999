"""The entropy model of motion learns from encodes: bits fall, and nothing else changes."""

from pathlib import Path

import numpy as np
import torch
from clips import moving

from bcodec.encoder.effort import PLAIN
from bcodec.entropy.meter import SymbolCosts
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.networks.weights import to_arrays
from bcodec.train.encodes import Encode
from bcodec.train.likelihood import Seen, fit_motion, motion_cost, record_motion

TRAINED = "bframe.motion.entropy."


def test_motion_costs_less_of_frames_that_were_learned_and_nothing_else_changes(
    networks: Networks, tmp_path: Path
) -> None:
    net, weights = networks, tmp_path / "trained.npz"
    frames = [*moving(9, 64, 64), *moving(3, 64, 64, speed=6)]
    seen = record_motion(net, Encode(frames, 8, 20, PLAIN))
    assert len(seen) == 10  # all but the two I frames
    batch = Seen(*map(torch.cat, zip(*seen, strict=True)))
    costs = SymbolCosts(net.tables)
    before, arrays = float(motion_cost(net, costs, batch).mean()), to_arrays(net)
    assert all(np.isfinite(list(fit_motion(net, seen, 0.05, 2e-2))))
    save_networks(weights, net, net.tables)
    trained = load_networks(weights)
    assert float(motion_cost(trained, costs, batch).mean()) < before
    for name, array in to_arrays(trained).items():
        assert name.startswith(TRAINED) or np.array_equal(array, arrays[name])
