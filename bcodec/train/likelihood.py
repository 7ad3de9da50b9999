"""Training the entropy model of motion by what real encodes showed it: bits, and errors of what is not coded.

In whole cascades it is a twentieth of the loss. Here nothing else is computed: a frame that was encoded is
kept as the entropy model saw it. Vectors stay as they were coded; preferences and flags are chosen anew, as
an encoder does, for it leaves out what is dear. Bits alone would teach the model to forbid them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bcodec.bitstream import FrameType
from bcodec.cells import Cells
from bcodec.coding import Latents, Prediction
from bcodec.encoder.motion.choose import Loss, PayingMotion
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.networks import Networks
from bcodec.networks.motion.vectors import (
    FLAT,
    PREFERENCE,
    VECTORS,
    latent_to_preference,
    latent_to_vectors,
    with_fixed_steps,
)
from bcodec.train.encodes import Encode, fit

KEEP = 1e3  # bits that a squared error of 1 in a vector costs: it stays
LEAST = 500.0  # bits of a frame, below which its motion weighs no more


class Seen(NamedTuple):
    """Frames as the entropy model of motion saw them, [B, ..]."""

    found: Tensor  # latents of both directions, [B, 2 C, H/16, W/16]
    coded: Tensor  # as they were decoded
    past: Tensor  # of the prediction, [B, 2, H/8, W/8]
    future: Tensor
    mismatch: Tensor  # [B, 1, H/8, W/8]
    mirror: Tensor  # [B]
    qp: Tensor
    precision: Tensor
    preference: Tensor  # of the motion found, as of PayingMotion
    stakes: Tensor
    gains: Tensor
    bits: Tensor  # [B], of a frame, in the mean of the encode


def record_motion(net: Networks, encode: Encode) -> list[Seen]:
    """The B frames of an encode, which no frame is coded twice in."""
    seen: list[Seen] = []
    found: list[Tensor] = []

    def before(_: nn.Module, entered: tuple[Any, ...]) -> None:
        found[:] = [torch.cat(entered[1], 1).float().clone()]

    def after(_: nn.Module, entered: tuple[Any, ...], decoded: Latents) -> None:
        _, _, (past, future, mismatch, mirror), frame_qp, _, motion = entered
        facts = torch.tensor([mirror]), frame_qp, motion.precision, motion.preference
        coded = torch.cat(decoded, 1).float()
        rest = motion.stakes, motion.gains, torch.zeros(1)
        seen.append(Seen(found[0], coded, past, future, mismatch, *facts, *rest))

    entropy = net.bframe.motion.entropy
    handles = [entropy.register_forward_pre_hook(before), entropy.register_forward_hook(after)]
    try:
        packets = encode.packets(net)
    finally:
        for handle in handles:
            handle.remove()
    if len(seen) != sum(packet.header.frame_type is FrameType.B for packet in packets):
        raise ValueError("a frame was coded more than once")
    mean = 8 * sum(len(packet.payload) for packet in packets) / len(packets)
    return [each._replace(bits=torch.tensor([mean])) for each in seen]


@dataclass(eq=False)
class Kept(PayingMotion):
    """Motion whose vectors stay as they were coded; of preferences and flags, what pays is chosen."""

    latents: Latents

    def choose(
        self,
        latents: Latents,
        prediction: Prediction,
        direction: int,
        segment: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """A direction's latent to code, [B, C, H/16, W/16]; see bcodec.coding.FoundMotion."""
        y = super().choose(self.latents, prediction, direction, segment, mean, scale, step)
        # What is coded stands still: its bits draw the mean to it. A preference that is not follows the mean,
        # which then is drawn by errors.
        follows = torch.zeros_like(y, dtype=torch.bool)
        if direction == 0:
            follows[:, PREFERENCE] = (y == mean)[:, PREFERENCE]
        return torch.where(follows, y, y.detach())


def motion_cost(net: Networks, costs: SymbolCosts, seen: Seen) -> Tensor:
    """Bits of motion, and those that errors of the preference are worth, [B], over those of a frame."""
    prediction = Prediction(
        seen.past, seen.future, seen.mismatch, cast(float, seen.mirror.view(-1, 1, 1, 1))
    )  # as a factor of fields a tensor does as well
    found, coded = seen.found.chunk(2, 1), seen.coded.chunk(2, 1)
    fields = [latent_to_vectors(m) + known for m, known in zip(coded, (seen.past, seen.future), strict=True)]

    def price(direction: int, cells: Cells) -> Loss:
        kept = cells.squares_of(fields[direction])
        return lambda vectors: F.avg_pool2d(KEEP * (vectors - kept).square().sum(1, keepdim=True), 2) * 4

    one, other = (torch.cat([c[:, :VECTORS], f[:, VECTORS:]], 1) for c, f in zip(coded, found, strict=True))
    motion = Kept(
        fields[0], fields[1], seen.preference, seen.precision, seen.stakes, seen.gains, price, (one, other)
    )
    codec, rate = net.bframe.motion, RateMeter(costs)
    qsteps = [with_fixed_steps(seen.precision, step(seen.qp)) for step in codec.steps]
    m_f, _ = codec.entropy(rate, (found[0], found[1]), prediction, seen.qp, qsteps, motion)
    off = seen.stakes * (latent_to_preference(m_f[:, PREFERENCE]) - seen.preference).square()
    lost = F.avg_pool2d(off, 2) * 4 * (m_f[:, FLAT : FLAT + 1] < 0.5)
    cost: Tensor = (rate.bits + lost.flatten(1).sum(1)) / seen.bits.clamp(min=LEAST)
    return cost


def fit_motion(net: Networks, frames: Sequence[Seen], minutes: float, lr: float) -> Iterator[float]:
    """Train the entropy model of motion, and nothing else, for so long; the cost of each batch."""
    costs = SymbolCosts(net.tables)

    def cost(some: Sequence[Seen]) -> Tensor:
        return motion_cost(net, costs, Seen(*map(torch.cat, zip(*some, strict=True)))).mean()

    return fit(net.bframe.motion.entropy, frames, cost, minutes, lr)
