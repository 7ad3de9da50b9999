"""What is minimised: R + lambda D of single frames, of B frames, and of whole small GOPs."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor

from bcodec.coding import Reference, Rounder
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.qp import LAYER_QP
from bcodec.encoder.worth import CHROMA, LUMA, growth, lagrangian, latent_worth
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.entropy.tables import make_tables
from bcodec.frame import LEVELS, finish
from bcodec.gop import Closing, window
from bcodec.networks import Networks
from bcodec.networks.latent import QPS

LOSS_EXPONENT = 0.45  # the loss of each sample is divided by lambda to this power: all rates count alike
TAILS = 0.25  # of the GOPs in training end without an I frame
OFFSETS = (0, 4, 4, 8)  # to the qp of chroma, as often as they are taken

Stats = dict[str, Tensor]  # what the log tells of a step
# Of networks, costs, batch [B, T, 6, H/2, W/2], spacing of its frames and qp [B]: the mean loss, and stats.
Loss = Callable[[Networks, SymbolCosts, Tensor, int, Tensor], tuple[Tensor, Stats]]


def symbol_costs(net: Networks) -> SymbolCosts:
    """What symbols cost with the networks' tables, or with those of the families while there are none."""
    return SymbolCosts(net.tables or make_tables())


def squared_error(x_hat: Tensor, x: Tensor, offset: Tensor | None = None) -> Tensor:
    """Weighted squared error of pictures [B, 6, H/2, W/2], [B], in 8-bit units; planes weigh as in latents.

    `offset` [B] from the qp to that of chroma, if it has its own.
    """
    error = ((x_hat - x) * LEVELS).square().mean((2, 3))
    luma, chroma = error[:, :4].sum(1) * (LUMA / 4), error[:, 4:].sum(1) * (CHROMA / 4)
    return luma + (chroma if offset is None else chroma * growth(offset))


def chroma_qp_of(qp: Tensor, offset: Tensor) -> Tensor:
    """The qp of chroma, [B], as a packet's header tells it."""
    return (qp + offset).clamp(max=QPS - 1)


def draw_offset(qp: Tensor) -> Tensor:
    """An offset to the qp of chroma for each sample, [B], about as often as the encoder takes it."""
    offsets = torch.tensor(OFFSETS, device=qp.device)
    return offsets[torch.randint(len(OFFSETS), qp.shape, device=qp.device)]


def rate_distortion(bpp: Tensor, error: Tensor, qp: Tensor) -> Tensor:
    """R + lambda D over lambda^LOSS_EXPONENT, [B], of the rate, the squared error and the qp, all [B]."""
    weight = lagrangian(qp)
    return (bpp + weight * error) / weight**LOSS_EXPONENT


def intra_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """The intra codec on single frames [B, 1, 6, H/2, W/2]."""
    x = frame_of(batch, 0)
    offset = draw_offset(qp)
    size, chroma_qp = (x.shape[2] // 8, x.shape[3] // 8), chroma_qp_of(qp, offset)
    rate = RateMeter(costs, latent_worth(qp, chroma_qp, net.channels.y, referenced=True))
    x_hat, _ = net.intra(rate, qp, size, Analyst(net.intra, x), chroma_qp=chroma_qp)
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x, offset)
    return rate_distortion(bpp, error, qp).mean(), {"bpp": bpp.mean(), "error": error.mean()}


def frame_of(batch: Tensor, index: int) -> Tensor:
    """One frame of each sample of [B, T, 6, H/2, W/2], [B, 6, H/2, W/2]."""
    return batch[:, index].contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> int:
    """Luma pixels of one picture [B, 6, H/2, W/2]."""
    return 4 * x.shape[2] * x.shape[3]


def finished(x_hat: Tensor) -> Tensor:
    """A decoded picture [B, 6, H/2, W/2] as the DPB holds it, with a straight-through gradient."""
    return x_hat + (finish(x_hat) - x_hat).detach()


def anchor(net: Networks, x: Tensor, qp: Tensor, chroma_qp: Tensor | None = None) -> Reference:
    """A reference coded by the intra codec, not trained here, of x [B, 6, H/2, W/2] with qp [B]."""
    size = (x.shape[2] // 8, x.shape[3] // 8)
    with torch.no_grad():
        x_hat, y_hat = net.intra(Rounder(), qp, size, Analyst(net.intra, x), chroma_qp=chroma_qp)
        x_hat = finish(x_hat)
    return net.reference(x_hat, y_hat, qp)  # type: ignore[no-any-return]


def motion_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """Motion and prediction alone, of [B, 3, 6, H/2, W/2]: the rate of the motion and the error of P."""
    past, future = (anchor(net, frame_of(batch, i), raised(qp)) for i in (0, 2))
    x, rate = frame_of(batch, 1), RateMeter(costs)
    contexts, _ = net.bframe.predict(rate, past, future, (spacing, spacing), qp, Analyst(net.bframe, x))
    bpp, error = rate.bits / pixels(x), squared_error(contexts.predicted, x)
    # A residual will mend part of the error of P: what is left of it counts less than in the end.
    loss = rate_distortion(bpp, error / 2, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean()}


def raised(qp: Tensor) -> Tensor:
    """The qp of references, [B]: better than the frame's by a random number of steps."""
    return (qp + torch.randint(2, 12, qp.shape, device=qp.device)).clamp(max=QPS - 1)


def triplet_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """One B frame between two intra frames, sometimes (B*) behind one, of [B, 3, 6, H/2, W/2]."""
    past = anchor(net, frame_of(batch, 0), raised(qp))
    tail = random.random() < 0.06
    future = past if tail else anchor(net, frame_of(batch, 2), raised(qp))
    x, rate = frame_of(batch, 1), RateMeter(costs, latent_worth(qp, qp, net.channels.y, referenced=False))
    distances = (spacing, -spacing if tail else spacing)
    x_hat, *_ = net.bframe(rate, past, future, distances, qp, Analyst(net.bframe, x))
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x)
    motion = rate.motion_bits / pixels(x)
    loss = rate_distortion(bpp, error, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean(), "motion": motion.mean()}


def cascade_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """A whole GOP of [B, T, 6, H/2, W/2], gradients through the DPB; qp and lambda fall with the layer.

    Sometimes it ends with a B* frame in place of an I frame.
    """
    last = batch.shape[1] - 1
    slots = window(0, last, last, Closing.TAIL if random.random() < TAILS else Closing.INTRA)
    offsets = [torch.full_like(qp, offset) for offset in LAYER_QP]
    # In a GOP of 32 these frames would be the lowest layers, or the highest.
    lift = random.randint(0, 2)
    chroma = draw_offset(qp)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    first = (qp + offsets[0]).clamp(0, QPS - 1)
    for poc in (0, last) if slots[0].intra else (0,):
        picture = anchor(net, frame_of(batch, poc), first, chroma_qp_of(first, chroma))
        dpb.insert(HeldPicture(poc, 0, picture))
    losses, bits, errors = [], [], []
    for slot in slots:
        if slot.intra:
            continue
        past, future = dpb.references(slot.poc)
        layer = slot.temporal_layer + lift if slot.temporal_layer else 0
        own = (qp + offsets[min(layer, 6)]).clamp(0, QPS - 1)
        distances = ((slot.poc - past.poc) * spacing, (future.poc - slot.poc) * spacing)
        x, chroma_qp = frame_of(batch, slot.poc), chroma_qp_of(own, chroma)
        rate = RateMeter(costs, latent_worth(own, chroma_qp, net.channels.y, referenced=slot.referenced))
        pictures = past.picture, future.picture
        analyst = Analyst(net.bframe, x)
        x_hat, y_hat, motion = net.bframe(rate, *pictures, distances, own, analyst, chroma_qp=chroma_qp)
        if slot.referenced:
            picture = net.reference(finished(x_hat), y_hat, own, motion)
            dpb.insert(HeldPicture(slot.poc, slot.temporal_layer, picture))
        bpp, error = rate.bits / pixels(x), squared_error(x_hat, x, chroma)
        losses.append(rate_distortion(bpp, error, own).mean())
        bits.append(bpp.mean())
        errors.append(error.mean())
    stats = {"bpp": torch.stack(bits).mean(), "error": torch.stack(errors).mean(), "leaf": bits[-1]}
    return torch.stack(losses).mean(), stats
