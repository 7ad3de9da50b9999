"""What is minimised: R + lambda D of single frames, of B frames, and of whole small GOPs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bcodec.coding import Reference, Rounder
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.qp import LAYER_QP
from bcodec.encoder.worth import CHROMA, LUMA, growth, lagrangian, latent_worth
from bcodec.entropy.meter import RateMeter, SymbolCosts
from bcodec.entropy.tables import make_tables
from bcodec.frame import LEVELS
from bcodec.gop import Closing, window
from bcodec.networks import Networks
from bcodec.networks.latent import QPS
from bcodec.samples import finish
from bcodec.train.batch import Batch, Stats, frame_of
from bcodec.train.recorded import Recorded

LOSS_EXPONENT = 0.45  # the loss of each sample is divided by lambda to this power: all rates count alike
OFFSETS = (-4, 0, 0, 4)  # to the qp of chroma, about as often as they are taken

LIFTS = 3  # of temporal layers: in a GOP of 32 the frames of a short one would be the lowest or the highest

# Of networks, costs and a batch: the mean loss, and stats. What they do depends on chance only where tensors
# are drawn: two batches alike in `Batch.kind` take the same steps.
Loss = Callable[[Networks, SymbolCosts, Batch], tuple[Tensor, Stats]]


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
    return (qp + offset).clamp(0, QPS - 1)


def draw_offset(qp: Tensor) -> Tensor:
    """An offset to the qp of chroma for each sample, [B], about as often as the encoder takes it."""
    offsets = torch.tensor(OFFSETS, device=qp.device)
    return offsets[torch.randint(len(OFFSETS), qp.shape, device=qp.device)]


def rate_distortion(bpp: Tensor, error: Tensor, qp: Tensor) -> Tensor:
    """R + lambda D over lambda^LOSS_EXPONENT, [B], of the rate, the squared error and the qp, all [B]."""
    weight = lagrangian(qp)
    return (bpp + weight * error) / weight**LOSS_EXPONENT


def intra_loss(net: Networks, costs: SymbolCosts, batch: Batch) -> tuple[Tensor, Stats]:
    """The intra codec on the first frame of each sample: the loss []."""
    x, qp = frame_of(batch, 0), batch.qp
    offset = draw_offset(qp)
    size, chroma_qp = (x.shape[2] // 8, x.shape[3] // 8), chroma_qp_of(qp, offset)
    rate = RateMeter(costs, latent_worth(qp, chroma_qp, net.channels.y, referenced=True))
    x_hat, _ = net.intra(rate, qp, size, Analyst(net.intra, x), chroma_qp=chroma_qp)
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x, offset)
    return rate_distortion(bpp, error, qp).mean(), {"bpp": bpp.mean(), "error": error.mean()}


def pixels(x: Tensor) -> int:
    """Luma pixels of one picture [B, 6, H/2, W/2]."""
    return 4 * x.shape[2] * x.shape[3]


def finished(x_hat: Tensor) -> Tensor:
    """A decoded picture [B, 6, H/2, W/2] as the DPB holds it, with a straight-through gradient."""
    return x_hat + (finish(x_hat) - x_hat).detach()


def anchors(
    net: Networks, pictures: Sequence[Tensor], qps: Sequence[Tensor], offset: Tensor | None = None
) -> list[Reference]:
    """References coded, together, by the intra codec, which is not trained here.

    Of pictures [B, 6, H/2, W/2] with qps [B] and, if given, an offset [B] to those of chroma.
    """
    x, qp = torch.cat(list(pictures)), torch.cat(list(qps))
    chroma_qp = None if offset is None else chroma_qp_of(qp, offset.repeat(len(pictures)))
    size = (x.shape[2] // 8, x.shape[3] // 8)
    with torch.no_grad():
        x_hat, y_hat = net.intra(Rounder(), qp, size, Analyst(net.intra, x), chroma_qp=chroma_qp)
        x_hat = finish(x_hat)
    alone = (part.chunk(len(pictures)) for part in (x_hat, y_hat, qp))
    return [net.reference(*parts) for parts in zip(*alone, strict=True)]


def motion_loss(net: Networks, costs: SymbolCosts, batch: Batch) -> tuple[Tensor, Stats]:
    """Motion and prediction alone, of three frames: the loss [] by the rate of motion and the error of P."""
    qp = batch.qp
    past, future = anchors(net, [frame_of(batch, i) for i in (0, 2)], [raised(qp) for _ in range(2)])
    encoder, rate = encoder_of(net, batch, 1), RateMeter(costs)
    x, distances = encoder.source, (batch.spacing, batch.spacing)
    contexts, _ = net.bframe.predict(rate, past, future, distances, qp, encoder)
    bpp, error = rate.bits / pixels(x), squared_error(contexts.predicted, x)
    # A residual will mend part of the error of P: what is left of it counts less than in the end.
    loss = rate_distortion(bpp, error / 2, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean()}


def raised(qp: Tensor) -> Tensor:
    """The qp of references, [B]: better than the frame's by a random number of steps."""
    return (qp + torch.randint(2, 12, qp.shape, device=qp.device)).clamp(max=QPS - 1)


def triplet_loss(net: Networks, costs: SymbolCosts, batch: Batch) -> tuple[Tensor, Stats]:
    """One B frame, the second of three, between two intra frames, or (B*) behind one: the loss []."""
    qp = batch.qp
    pocs = (0,) if batch.tail else (0, 2)
    references = anchors(net, [frame_of(batch, poc) for poc in pocs], [raised(qp) for _ in pocs])
    past, future = references[0], references[-1]
    rate = RateMeter(costs, latent_worth(qp, qp, net.channels.y, referenced=False))
    distances = (batch.spacing, -batch.spacing if batch.tail else batch.spacing)
    encoder = encoder_of(net, batch, 1)
    x = encoder.source
    x_hat, *_ = net.bframe(rate, past, future, distances, qp, encoder)
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x)
    motion = rate.motion_bits / pixels(x)
    loss = rate_distortion(bpp, error, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean(), "motion": motion.mean()}


def encoder_of(net: Networks, batch: Batch, poc: int) -> Analyst:
    """Who decides about a frame: with its recorded motion, if there is any."""
    x = frame_of(batch, poc)
    if batch.motion is None:
        return Analyst(net.bframe, x)
    return Recorded(net.bframe, x, batch.motion.at(slice(None), poc))


def cascade_loss(
    net: Networks,
    costs: SymbolCosts,
    batch: Batch,
    choose_encoder: Callable[[Networks, Batch, int], Analyst] = encoder_of,
) -> tuple[Tensor, Stats]:
    """A whole GOP, gradients through the DPB; qp and lambda fall with the layer: the loss [].

    It ends with an I frame, or a B* frame. The stats tell the loss of each temporal layer.
    """
    last, qp = batch.frames.shape[1] - 1, batch.qp
    slots = window(0, last, last, Closing.TAIL if batch.tail else Closing.INTRA)
    chroma, lift = draw_offset(qp), torch.randint(LIFTS, qp.shape, device=qp.device)
    dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
    first = (qp + LAYER_QP[0]).clamp(0, QPS - 1)
    pocs = (0, last) if slots[0].intra else (0,)
    pictures = anchors(net, [frame_of(batch, poc) for poc in pocs], [first] * len(pocs), chroma)
    for poc, picture in zip(pocs, pictures, strict=True):
        dpb.insert(HeldPicture(poc, 0, picture))
    losses, bits, errors = [], [], []
    layers: dict[int, list[Tensor]] = {}
    for slot in slots:
        if slot.intra:
            continue
        past, future = dpb.references(slot.poc)
        own, chroma_qp = layer_qps(qp, slot.temporal_layer, lift, chroma)
        distances = ((slot.poc - past.poc) * batch.spacing, (future.poc - slot.poc) * batch.spacing)
        encoder = choose_encoder(net, batch, slot.poc)
        rate = RateMeter(costs, latent_worth(own, chroma_qp, net.channels.y, referenced=slot.referenced))
        references = past.picture, future.picture
        x_hat, y_hat, motion = net.bframe(rate, *references, distances, own, encoder, chroma_qp=chroma_qp)
        if slot.referenced:
            picture = net.reference(finished(x_hat), y_hat, own, motion)
            dpb.insert(HeldPicture(slot.poc, slot.temporal_layer, picture))
        bpp, error = rate.bits / pixels(x_hat), squared_error(x_hat, encoder.source, chroma)
        losses.append(rate_distortion(bpp, error, own).mean())
        layers.setdefault(slot.temporal_layer, []).append(losses[-1])
        bits.append(bpp.mean())
        errors.append(error.mean())
    stats = {"bpp": torch.stack(bits).mean(), "error": torch.stack(errors).mean()}
    stats |= {f"layer {layer}": torch.stack(values).mean() for layer, values in sorted(layers.items())}
    return torch.stack(losses).mean(), stats


def layer_qps(qp: Tensor, layer: int, lift: Tensor, chroma: Tensor) -> tuple[Tensor, Tensor]:
    """The qps of luma and chroma of a frame of a temporal layer, [B], of the GOP's, its lift and offset."""
    offset = torch.tensor(LAYER_QP, device=qp.device)[layer + (lift if layer else 0)]
    own = (qp + offset).clamp(0, QPS - 1)
    return own, chroma_qp_of(own, chroma)
