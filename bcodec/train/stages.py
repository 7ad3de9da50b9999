"""The stages of training, and the networks that they start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks, load_networks
from bcodec.train.checkpoint import averaged_weights
from bcodec.train.losses import Loss, cascade_loss, intra_loss, motion_loss, triplet_loss


@dataclass(frozen=True)
class Stage:
    """What a stage trains, on what, and how fast."""

    loss: Loss
    trained: tuple[str, ...]
    frames: int
    spacings: dict[int, float]
    batch: int
    crop: int
    lr: float
    tails: float = 0.0  # of the batches end with a B* frame


TRIPLETS = {1: 0.3, 2: 0.25, 4: 0.2, 8: 0.15, 16: 0.1}
STAGES = {
    "intra": Stage(intra_loss, ("intra",), 1, {1: 1.0}, 8, 192, 1e-3),
    "motion": Stage(
        motion_loss, ("bframe.motion", "bframe.contexts", "reference"), 3, TRIPLETS, 4, 192, 1e-3
    ),
    "triplet": Stage(triplet_loss, ("bframe", "reference"), 3, TRIPLETS, 4, 192, 1e-3, 0.06),
    "cascade": Stage(
        cascade_loss, ("bframe", "reference"), 5, {1: 0.4, 2: 0.3, 4: 0.2, 8: 0.1}, 2, 192, 5e-4, 0.25
    ),
    "cascade9": Stage(cascade_loss, ("bframe", "reference"), 9, {1: 0.5, 2: 0.3, 4: 0.2}, 1, 256, 3e-4, 0.25),
}


def start_networks(init: Path | None) -> Networks:
    """Networks with the averaged weights of a folder's checkpoint, or those and tables of a file (.npz).

    An untrained B frame codec starts from the intra one. Raises RuntimeError if their widths are others.
    """
    net = Networks()
    if init:
        if init.suffix == ".npz":
            exported = load_networks(init)
            for layer, own in zip(exported.modules(), net.modules(), strict=True):
                if isinstance(layer, Conv2d) and isinstance(own, Conv2d) and layer.is_in_bytes:
                    own.in_bytes(layer.grid_in)
            net.load_state_dict(exported.state_dict())
            net.tables = exported.tables
        else:
            net.load_state_dict(averaged_weights(init))
        first = cast(nn.ModuleList, net.bframe.synthesis.inject)[0]
        if not bool(cast(Conv2d, first).weight.any()):
            net.bframe.start_from(net.intra)
    return net
