"""Training: clips, losses and stages; run as `python -m bcodec.train`.

The loss is R + lambda D: bits per luma pixel and squared error in 8-bit units. Every stage starts from the
last one's weights, can be stopped at any moment, and resumes from its checkpoint.
"""

from __future__ import annotations

import csv
import math
import os
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click
import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bcodec.bitstream import FrameType, PacketHeader
from bcodec.codec import CONTENT_CALLS, LAYER_QP, FrameCodec, layer_qp
from bcodec.dpb import DecodedPictureBuffer, Reference
from bcodec.entropy import RangeWriter, alike, fit_tables, make_tables
from bcodec.fixedpoint import Conv2d
from bcodec.frame import finish
from bcodec.gop import Closing, intra_anchor, window
from bcodec.networks import Networks, ReferencePicture, load_networks, save_networks
from bcodec.networks.intra import CHROMA, LUMA
from bcodec.networks.latent import QPS, SCALE_RATIO, SMALLEST_SCALE, Rounder, growth, lagrangian
from bcodec.ratemeter import RateMeter, SymbolCosts
from bcodec.video import VideoReader

LOSS_EXPONENT = 0.45  # the loss of each sample is divided by lambda to this power: all rates count alike
HALVED = 0.2  # of the crops that a large clip gives are shown at half its size
TAILS = 0.25  # of the GOPs in training end without an I frame
OFFSETS = (0, 4, 4, 8)  # to the qp of chroma, as often as they are taken


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Clip:
    """Planes y [T, H, W] and uv [T, 2, H/2, W/2] of a clip, uint8 (memory-mapped, or on a GPU)."""

    y: Tensor
    uv: Tensor


def decode_clip(path: Path, cache: Path) -> list[Path]:
    """Decode a video, once, into the folder `cache`: the files of y and uv."""
    paths = [cache / f"{path.stem}.{plane}.npy" for plane in ("y", "uv")]
    if not paths[1].exists():
        with VideoReader(str(path)) as reader:
            frames = list(reader)
        height, width = frames[0].y.shape[0] // 2 * 2, frames[0].y.shape[1] // 2 * 2
        y = np.stack([frame.y[:height, :width] for frame in frames])
        uv = np.stack([[p[: height // 2, : width // 2] for p in (frame.u, frame.v)] for frame in frames])
        for target, planes in zip(paths, (y, uv), strict=True):
            np.save(target.with_suffix(".part.npy"), planes)
            os.replace(target.with_suffix(".part.npy"), target)
    return paths


def load_clips(folder: Path, cache: Path, smallest: int, device: str = "cpu") -> list[Clip]:
    """Every video of `folder` of at least `smallest` samples a side."""
    cache.mkdir(parents=True, exist_ok=True)
    clips = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        planes = [torch.from_numpy(np.load(p, mmap_mode="c")) for p in decode_clip(path, cache)]
        if min(planes[0].shape[1:]) >= smallest:
            clips.append(Clip(*(plane.to(device) for plane in planes)))
    return clips


def to_planes(y: Tensor, uv: Tensor) -> Tensor:
    """y [.., H, W] and uv [.., 2, H/2, W/2], 0..255 -> [.., 6, H/2, W/2] float32, (p - 128) / 64."""
    luma = torch.nn.functional.pixel_unshuffle(y[..., None, :, :], 2)
    return (torch.cat([luma, uv], -3).float() - 128) / 64


class Sampler:
    """Random crops of random clips: `frames` frames at a spacing drawn anew for each batch.

    Some are shown at half their size, where a clip is large enough: sharper, with finer texture.
    """

    def __init__(self, clips: list[Clip], crop: int, frames: int, spacings: dict[int, float]) -> None:
        self.clips, self.crop, self.frames = clips, crop, frames
        self.spacings, self.odds = list(spacings), np.array(list(spacings.values())) / sum(spacings.values())
        # Between equal shares for clips and for pixels.
        self.shares = np.array([clip.y.numel() ** 0.5 for clip in clips])

    def sample(self, generator: np.random.Generator, count: int) -> tuple[Tensor, int]:
        """[count, T, 6, C/2, C/2] and the spacing; samples are flipped and reversed at random."""
        spacing = int(generator.choice(self.spacings, p=self.odds))
        reach = spacing * (self.frames - 1)
        fitting = [i for i, clip in enumerate(self.clips) if len(clip.y) > reach]
        shares = self.shares[fitting] / self.shares[fitting].sum()
        chosen = generator.choice(fitting, count, p=shares)
        pairs = [self._one(generator, self.clips[i], spacing) for i in chosen]
        y, uv = (torch.stack(planes) for planes in zip(*pairs, strict=True))
        return to_planes(y, uv), spacing

    def _one(self, generator: np.random.Generator, clip: Clip, spacing: int) -> tuple[Tensor, Tensor]:
        length, height, width = clip.y.shape
        reach = spacing * (self.frames - 1)
        scale = 2 if generator.random() < HALVED and min(height, width) >= 2 * self.crop else 1
        side = scale * self.crop
        first = int(generator.integers(length - reach))
        top = 2 * int(generator.integers((height - side) // 2 + 1))
        left = 2 * int(generator.integers((width - side) // 2 + 1))
        frames = slice(first, first + reach + 1, spacing)
        planes = [
            clip.y[frames, top : top + side, left : left + side],
            clip.uv[frames, :, top // 2 : (top + side) // 2, left // 2 : (left + side) // 2],
        ]
        if scale > 1:
            planes = [torch.round(torch.nn.functional.avg_pool2d(p.float(), scale)).byte() for p in planes]
        axes = [axis for axis in (-1, 0) if generator.random() < 0.5]
        y, uv = (plane.flip(axes) for plane in planes)
        return y, uv


def batches(sampler: Sampler, count: int, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Batches and their spacings, made by a thread that stays a few ahead of training."""
    ready: queue.Queue[tuple[Tensor, int] | Exception] = queue.Queue(4)

    def work() -> None:
        generator = np.random.default_rng(seed)
        try:
            while True:
                ready.put(sampler.sample(generator, count))
        except Exception as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        yield batch


# ---------------------------------------------------------------- loss


def squared_error(x_hat: Tensor, x: Tensor, offset: Tensor | None = None) -> Tensor:
    """Weighted squared error of each sample, [B], in 8-bit units: planes weighed as latents are.

    `offset` [B] from the qp to that of chroma, if it has its own.
    """
    error = ((x_hat - x) * 64).square().mean((2, 3))
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
    """R + lambda D of each sample over lambda^LOSS_EXPONENT, [B]."""
    weight = lagrangian(qp)
    return (bpp + weight * error) / weight**LOSS_EXPONENT


Symbols = list[Counter[int]]  # for each table
Stats = dict[str, Tensor]  # what the log tells of a step
Loss = Callable[[Networks, SymbolCosts, Tensor, int, Tensor], tuple[Tensor, Stats]]


def intra_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """The intra codec on single frames [B, 1, 6, H/2, W/2]."""
    x = frame_of(batch, 0)
    offset = draw_offset(qp)
    size, chroma_qp = (x.shape[2] // 8, x.shape[3] // 8), chroma_qp_of(qp, offset)
    rate = RateMeter(costs, net.worth(qp, chroma_qp, referenced=True))
    x_hat, _ = net.intra(rate, qp, size, x, chroma_qp=chroma_qp)
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x, offset)
    return rate_distortion(bpp, error, qp).mean(), {"bpp": bpp.mean(), "error": error.mean()}


def frame_of(batch: Tensor, index: int) -> Tensor:
    """One frame of each sample, [B, 6, H/2, W/2]."""
    return batch[:, index].contiguous(memory_format=torch.channels_last)


def pixels(x: Tensor) -> int:
    """Luma pixels of one picture."""
    return 4 * x.shape[2] * x.shape[3]


def finished(x_hat: Tensor) -> Tensor:
    """A decoded picture as the DPB holds it, with a straight-through gradient."""
    return x_hat + (finish(x_hat) - x_hat).detach()


def anchor(net: Networks, x: Tensor, qp: Tensor, chroma_qp: Tensor | None = None) -> ReferencePicture:
    """A reference coded by the intra codec, which is not trained here."""
    size = (x.shape[2] // 8, x.shape[3] // 8)
    with torch.no_grad():
        x_hat, y_hat = net.intra(Rounder(), qp, size, x, chroma_qp=chroma_qp)
        x_hat = finish(x_hat)
    return net.reference(x_hat, y_hat, qp)  # type: ignore[no-any-return]


def motion_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """Motion and prediction alone: the rate of the motion and the error of P."""
    past, future = (anchor(net, frame_of(batch, i), raised(qp)) for i in (0, 2))
    x, rate = frame_of(batch, 1), RateMeter(costs)
    contexts, _ = net.bframe.predict(rate, past, future, (spacing, spacing), qp, x)
    bpp, error = rate.bits / pixels(x), squared_error(contexts.predicted, x)
    # A residual will mend part of the error of P: what is left of it counts less than in the end.
    loss = rate_distortion(bpp, error / 2, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean()}


def raised(qp: Tensor) -> Tensor:
    """The qp of references: better than the frame's by a random number of steps."""
    return (qp + torch.randint(2, 12, qp.shape, device=qp.device)).clamp(max=QPS - 1)


def triplet_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """One B frame between two intra frames, sometimes (B*) behind one."""
    past = anchor(net, frame_of(batch, 0), raised(qp))
    tail = random.random() < 0.06
    future = past if tail else anchor(net, frame_of(batch, 2), raised(qp))
    x, rate = frame_of(batch, 1), RateMeter(costs, net.worth(qp, qp, referenced=False))
    distances = (spacing, -spacing if tail else spacing)
    x_hat, *_ = net.bframe(rate, past, future, distances, qp, x)
    bpp, error = rate.bits / pixels(x), squared_error(x_hat, x)
    motion = torch.stack(rate.parts[:-CONTENT_CALLS]).sum(0) / pixels(x)
    loss = rate_distortion(bpp, error, qp).mean()
    return loss, {"bpp": bpp.mean(), "error": error.mean(), "motion": motion.mean()}


def cascade_loss(
    net: Networks, costs: SymbolCosts, batch: Tensor, spacing: int, qp: Tensor
) -> tuple[Tensor, Stats]:
    """A whole GOP of T - 1 frames, gradients through the DPB; qp and lambda fall with the temporal layer.

    Sometimes it ends with a B* frame in place of an I frame.
    """
    last = batch.shape[1] - 1
    slots = window(0, last, last, Closing.TAIL if random.random() < TAILS else Closing.INTRA)
    offsets = [torch.full_like(qp, offset) for offset in LAYER_QP]
    # In a GOP of 32 these frames would be the lowest layers, or the highest.
    lift = random.randint(0, 2)
    chroma = draw_offset(qp)
    dpb: DecodedPictureBuffer[ReferencePicture] = DecodedPictureBuffer()
    first = (qp + offsets[0]).clamp(0, QPS - 1)
    for poc in (0, last) if slots[0].intra else (0,):
        picture = anchor(net, frame_of(batch, poc), first, chroma_qp_of(first, chroma))
        dpb.insert(Reference(poc, 0, picture))
    losses, bits, errors = [], [], []
    for slot in slots:
        if slot.intra:
            continue
        past, future = dpb.references(slot.poc)
        layer = slot.temporal_layer + lift if slot.temporal_layer else 0
        own = (qp + offsets[min(layer, 6)]).clamp(0, QPS - 1)
        distances = ((slot.poc - past.poc) * spacing, (future.poc - slot.poc) * spacing)
        x, chroma_qp = frame_of(batch, slot.poc), chroma_qp_of(own, chroma)
        rate = RateMeter(costs, net.worth(own, chroma_qp, referenced=slot.referenced))
        pictures = past.picture, future.picture
        x_hat, y_hat, track = net.bframe(rate, *pictures, distances, own, x, chroma_qp=chroma_qp)
        if slot.referenced:
            picture = net.reference(finished(x_hat), y_hat, own, track)
            dpb.insert(Reference(slot.poc, slot.temporal_layer, picture))
        bpp, error = rate.bits / pixels(x), squared_error(x_hat, x, chroma)
        losses.append(rate_distortion(bpp, error, own).mean())
        bits.append(bpp.mean())
        errors.append(error.mean())
    stats = {"bpp": torch.stack(bits).mean(), "error": torch.stack(errors).mean(), "leaf": bits[-1]}
    return torch.stack(losses).mean(), stats


# ---------------------------------------------------------------- optimizer


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices [N, R, C] with all singular values moved near 1, by the Newton-Schulz iteration of Muon.

    K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
    """
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # bfloat16 suffices, but a CPU without it takes ten times as long as in float32.
    x = x.bfloat16() if x.is_cuda else x
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    for _ in range(5):
        square = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    result: Tensor = wide if x.shape[1] <= x.shape[2] else wide.mT
    return result.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates for convolution weights [C_out, ...], matrices [C_out, rest]."""

    def __init__(self, parameters: list[dict[str, object]], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update, weights of one shape together; the root mean square of a change is about 0.2 lr."""
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault((p.shape[0], p[0].numel()), []).append(p)
            for shape, parameters in alike.items():
                directions = []
                for p in parameters:
                    gradient = cast(Tensor, p.grad)
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(gradient))
                    buffer.lerp_(gradient, 1 - group["momentum"])
                    directions.append(gradient.lerp(buffer, group["momentum"]).flatten(1))
                scale = 0.2 * math.sqrt(max(shape))
                for p, change in zip(parameters, orthogonal(torch.stack(directions)), strict=True):
                    p.add_(change.view(p.shape), alpha=-group["lr"] * scale)


def make_optimizers(
    named: list[tuple[str, nn.Parameter]], lr: float, kind: str
) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions' kernels and AdamW for the rest, or AdamW for all.

    Block transforms learn at a tenth of the rate. The logarithms of quantization steps and of the odds of
    block sizes, which have as far to go as weights but are few, at five times.
    """
    kernels: dict[float, list[nn.Parameter]] = {}
    others: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        transform = ".transform." in name
        steps = name.endswith((".knots", ".channel")) or ".flags." in name
        pace = 0.1 if transform else 5.0 if steps else 1.0
        matrix = kind == "muon" and parameter.ndim == 4 and parameter.shape[1] > 1 and not transform
        (kernels if matrix else others).setdefault(pace, []).append(parameter)
    adam = [{"params": parameters, "lr": lr * pace} for pace, parameters in others.items()]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(adam, betas=(0.9, 0.98), weight_decay=0.0)]
    if kernels:
        muon = [{"params": parameters, "lr": lr * pace} for pace, parameters in kernels.items()]
        optimizers.append(Muon(muon, lr))
    return optimizers


# ---------------------------------------------------------------- the run


class Objective(nn.Module):
    """Networks and a loss as one module, so that several processes can share its gradients."""

    def __init__(self, net: Networks, loss: Loss) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.costs = symbol_costs(net)

    def forward(self, batch: Tensor, spacing: int, qp: Tensor) -> tuple[Tensor, Stats]:
        """The loss and what the log says of it."""
        return self.loss(self.net, self.costs, batch, spacing, qp)


def symbol_costs(net: Networks) -> SymbolCosts:
    """What symbols cost with the networks' tables, or with those of the families while there are none."""
    return SymbolCosts(net.tables or make_tables(SMALLEST_SCALE, SCALE_RATIO), SMALLEST_SCALE, SCALE_RATIO)


@dataclass
class Run:
    """A resumable training run: network, its moving average, optimizers, and how far it has come.

    Started by torchrun, every process draws batches of its own, and the gradients are averaged.
    """

    net: Networks
    loss: Loss
    trained: tuple[str, ...]
    sampler: Sampler
    folder: Path
    batch: int
    minutes: float
    lr: float
    optimizer: str
    autocast: bool = True
    device: str = "cpu"
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.rank, self.world = join_processes()
        torch.manual_seed(self.rank)
        self.net = self.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith(self.trained))
        named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        self.parameters = [p for _, p in named]
        self.objective: nn.Module = Objective(self.net, self.loss).to(self.device)
        if self.world > 1:
            self.objective = DistributedDataParallel(self.objective, find_unused_parameters=True)
        self.optimizers = make_optimizers(named, self.lr, self.optimizer)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Resume from the folder's checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self.net.load_state_dict(state["net"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        part = self.checkpoint.with_suffix(".part")
        torch.save(
            {
                "net": self.net.state_dict(),
                "average": self.average,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
            },
            part,
        )
        os.replace(part, self.checkpoint)

    def train(self) -> None:
        """Train until the run's minutes are used up."""
        log = (self.folder / "log.csv").open("a", newline="")
        writer = csv.writer(log)
        last_save = last_log = time.monotonic()
        sums: dict[str, float] = {}
        count = 0
        for batch, spacing in batches(self.sampler, self.batch, seed=self.step * self.world + self.rank):
            started = time.monotonic()
            stats = self.update(batch, spacing)
            self.seconds += time.monotonic() - started
            self.step += 1
            count += 1
            for name, value in stats.items():
                sums[name] = sums.get(name, 0.0) + value
            done = self.agree(self.seconds >= 60 * self.minutes)
            if self.rank == 0 and (time.monotonic() - last_log > 20 or done):
                means = {name: value / count for name, value in sums.items()}
                if not log.tell():
                    writer.writerow(["step", "seconds", *means])
                writer.writerow([self.step, f"{self.seconds:.1f}", *(f"{v:.5f}" for v in means.values())])
                log.flush()
                text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
                print(f"{self.folder.name} step {self.step} {self.seconds / 60:.1f} min {text}", flush=True)
                sums, count, last_log = {}, 0, time.monotonic()
            if self.rank == 0 and (time.monotonic() - last_save > 120 or done):
                self.save()
                last_save = time.monotonic()
            if done:
                return

    def agree(self, done: bool) -> bool:
        """Whether any process is done: all of them stop at the same step."""
        if self.world == 1:
            return done
        vote = torch.tensor(float(done))
        distributed.all_reduce(vote)
        return bool(vote > 0)

    def update(self, batch: Tensor, spacing: int) -> dict[str, float]:
        """One step of the optimizers; a step whose gradient is not finite is left out."""
        progress = min(1.0, self.seconds / (60 * self.minutes))
        factor = min(1.0, (self.step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        batch = batch.to(self.device)
        qp = torch.randint(0, QPS, (len(batch),), device=self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss, stats = self.objective(batch, spacing, qp)
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 2.0)
        if math.isfinite(float(norm)):
            for optimizer in self.optimizers:
                optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            state = [(k, v) for k, v in self.net.state_dict().items() if v.is_floating_point()]
            torch._foreach_lerp_([self.average[k] for k, _ in state], [v for _, v in state], 1 - decay)
        return {
            "loss": float(loss.detach()),
            **{k: float(v.detach()) for k, v in stats.items()},
            "norm": float(norm),
        }


def join_processes() -> tuple[int, int]:
    """Rank and number of the processes that torchrun started; (0, 1) without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


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


TRIPLETS = {1: 0.3, 2: 0.25, 4: 0.2, 8: 0.15, 16: 0.1}
STAGES = {
    "intra": Stage(intra_loss, ("intra",), 1, {1: 1.0}, 8, 192, 1e-3),
    "motion": Stage(
        motion_loss, ("bframe.motion", "bframe.contexts", "reference"), 3, TRIPLETS, 4, 192, 1e-3
    ),
    "triplet": Stage(triplet_loss, ("bframe", "reference"), 3, TRIPLETS, 4, 192, 1e-3),
    "cascade": Stage(
        cascade_loss, ("bframe", "reference"), 5, {1: 0.4, 2: 0.3, 4: 0.2, 8: 0.1}, 2, 192, 5e-4
    ),
    "cascade9": Stage(cascade_loss, ("bframe", "reference"), 9, {1: 0.5, 2: 0.3, 4: 0.2}, 1, 256, 3e-4),
}


def start_networks(init: Path | None) -> Networks:
    """Networks with a checkpoint's averaged weights, or weights and tables of a weights file (.npz).

    An untrained B frame codec starts from the intra one.
    """
    net = Networks()
    if init:
        if init.suffix == ".npz":
            exported = load_networks(init)
            net.load_state_dict(exported.state_dict())
            net.tables = exported.tables
        else:
            net.load_state_dict(torch.load(init, weights_only=True)["average"])
        first = cast(nn.ModuleList, net.bframe.synthesis.inject)[0]
        if not bool(cast(Conv2d, first).weight.any()):
            net.bframe.start_from(net.intra)
    return net


@click.group()
def main() -> None:
    """Train the networks and export their weights."""


@main.command()
@click.argument("stage", type=click.Choice(list(STAGES)))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="folder of videos")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder of checkpoint and log")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
@click.option(
    "--init", type=click.Path(path_type=Path, exists=True), help="checkpoint or weights to start from"
)
@click.option(
    "--tables",
    type=click.Path(path_type=Path, exists=True),
    help="weights (.npz) by whose tables rates are measured; default: those of --init, if it has any",
)
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--batch", type=int, help="samples in a step; default: the stage's")
@click.option("--lr", type=float, help="learning rate; default: the stage's")
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="muon", show_default=True)
@click.option("--float32", is_flag=True, help="no autocast: train exactly what is coded")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
def run(
    *,
    stage: str,
    data: Path,
    out: Path,
    cache: Path,
    init: Path | None,
    tables: Path | None,
    minutes: float,
    batch: int | None,
    lr: float | None,
    optimizer: str,
    float32: bool,
    device: str,
) -> None:
    """Train one STAGE on the videos of a folder; resumes where the folder's checkpoint stands."""
    plan = STAGES[stage]
    sampler = Sampler(load_clips(data, cache, plan.crop, device), plan.crop, plan.frames, plan.spacings)
    net = start_networks(init)
    if tables:
        net.tables = load_networks(tables).tables
    Run(
        net,
        plan.loss,
        plan.trained,
        sampler,
        out,
        batch or plan.batch,
        minutes,
        lr or plan.lr,
        optimizer,
        autocast=not float32,
        device=device,
    ).train()


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.argument("weights", type=click.Path(path_type=Path))
def export(checkpoint: Path, weights: Path) -> None:
    """Write the averaged weights of CHECKPOINT as integers, with tables, to WEIGHTS (.npz)."""
    net = start_networks(checkpoint)
    save_networks(weights, net, make_tables(SMALLEST_SCALE, SCALE_RATIO))
    print(f"{weights}: model {load_networks(weights).model_id.hex()}, {weights.stat().st_size} bytes")


class _Counter(RangeWriter):
    """A writer that counts, for each table, the symbols that it writes."""

    def __init__(self, codec: FrameCodec, header: PacketHeader, counts: Symbols) -> None:
        worth = codec.networks.worth(*codec.qps(header), referenced=header.referenced)
        super().__init__(codec.tables, worth=worth)
        self.counts = counts

    def transfer(self, indices: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        written = super().transfer(indices, symbols)
        for table, positions in alike(indices):
            values, numbers = np.unique(written[positions], return_counts=True)
            self.counts[table].update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        return written


def count_symbols(net: Networks, sampler: Sampler, generator: np.random.Generator, groups: int) -> Symbols:
    """The symbols, for each table, of so many groups of frames, coded as they will be."""
    counts: Symbols = [Counter() for _ in net.tables]
    for _ in range(groups):
        batch, spacing = sampler.sample(generator, 1)
        base, lift = int(generator.integers(QPS)), int(generator.integers(3))
        chroma = OFFSETS[int(generator.integers(len(OFFSETS)))]
        codec = FrameCodec(net, sampler.crop, sampler.crop)
        last = batch.shape[1] - 1
        for slot in (intra_anchor(0, last), *window(0, last, last)):
            # In a GOP of 32 these frames would be the lowest layers, or the highest.
            qp = layer_qp(base, slot.temporal_layer + (lift if slot.temporal_layer else 0))
            kind = FrameType.I if slot.intra else FrameType.B
            poc, layer = slot.poc * spacing, slot.temporal_layer
            header = PacketHeader(poc, kind, layer, qp, slot.referenced, chroma)
            codec.keep(codec.code(_Counter(codec, header, counts), header, frame_of(batch, slot.poc)))
    return counts


@main.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("weights", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="folder of videos")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
@click.option("--groups", default=100, show_default=True, help="groups of nine frames to count symbols in")
def tables(source: Path, weights: Path, data: Path, cache: Path, groups: int) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS with tables fitted to the symbols they code."""
    net = load_networks(source)
    sampler = Sampler(load_clips(data, cache, 256), 256, 9, {1: 0.6, 2: 0.25, 4: 0.15})
    counts = count_symbols(net, sampler, np.random.default_rng(0), groups)
    save_networks(weights, net, fit_tables(make_tables(SMALLEST_SCALE, SCALE_RATIO), counts))
    print(f"{weights}: model {load_networks(weights).model_id.hex()}")


@main.command()
@click.argument("logs", type=click.Path(path_type=Path, exists=True), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG file")
def plot(logs: tuple[Path, ...], out: Path) -> None:
    """Draw the loss of stages (their LOGS, log.csv, in the order of training) against hours of training."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an optional extra)

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    hours = 0.0
    for path in logs:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        times = np.array([float(row["seconds"]) for row in rows]) / 3600
        losses = np.array([float(row["loss"]) for row in rows])
        width = max(1, len(losses) // 15)
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        (line,) = axes.plot(hours + times[width - 1 :], smooth, label=path.parent.name)
        axes.plot(hours + times, losses, color=line.get_color(), alpha=0.2, linewidth=0.7)
        hours += times[-1]
    axes.set(xlabel="hours of training", ylabel="loss: (R + lambda D) / lambda^0.45")
    axes.legend()
    figure.savefig(out)


if __name__ == "__main__":
    main()
