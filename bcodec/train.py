"""Training: clips, losses and stages; run as `python -m bcodec.train`.

The loss is R + lambda D: bits per luma pixel and squared error in 8-bit units. Every stage starts from the last one's
weights, can be stopped at any moment, and resumes from its checkpoint.
"""

from __future__ import annotations

import csv
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from bcodec.entropy import RateMeter
from bcodec.networks.intra import Channels, IntraCodec
from bcodec.networks.latent import QPS, SCALE_RATIO, SMALLEST_SCALE
from bcodec.video import VideoReader

CHROMA_WEIGHT = 2.0  # beside 6 for luma: PSNR-YUV averages decibels, and chroma's error is a fraction of luma's
LOSS_EXPONENT = 0.45  # the loss of each sample is divided by lambda to this power: all rates count alike


def lagrangian(qp: Tensor) -> Tensor:
    """Lambda, in bits per pixel for a squared error of 1: 0.0012 at qp 0, doubled every seven steps."""
    return 0.0012 * torch.exp2(qp.float() / 7)


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Clip:
    """Planes y [T, H, W] and uv [T, 2, H/2, W/2] of a clip, uint8 (memory-mapped)."""

    y: np.ndarray
    uv: np.ndarray


def load_clips(folder: Path, cache: Path, smallest: int) -> list[Clip]:
    """Every video of `folder` of at least `smallest` samples a side, decoded once into the folder `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    clips = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
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
        clip = Clip(*(np.load(p, mmap_mode="r") for p in paths))
        if min(clip.y.shape[1:]) >= smallest:
            clips.append(clip)
    return clips


def to_planes(y: np.ndarray, uv: np.ndarray) -> Tensor:
    """uint8 y [.., H, W] and uv [.., 2, H/2, W/2] -> [.., 6, H/2, W/2] float32, (p - 128) / 64."""
    luma = torch.nn.functional.pixel_unshuffle(torch.from_numpy(y.copy())[..., None, :, :], 2)
    return (torch.cat([luma, torch.from_numpy(uv.copy())], -3).float() - 128) / 64


class Sampler:
    """Random crops of random clips: each sample [T, 6, C/2, C/2] at the frame offsets that `pick` chooses."""

    def __init__(self, clips: list[Clip], crop: int, pick: Callable[[np.random.Generator, int], list[int]]) -> None:
        self.clips, self.crop, self.pick = clips, crop, pick
        areas = np.array([len(c.y) * c.y.shape[1] * c.y.shape[2] for c in clips], np.float64) ** 0.5
        self.odds = areas / areas.sum()

    def sample(self, random: np.random.Generator, count: int) -> Tensor:
        """[count, T, 6, C/2, C/2]; all samples of a batch have the same offsets, flipped or reversed at random."""
        while True:
            offsets = self.pick(random, 0)
            fitting = [i for i, clip in enumerate(self.clips) if len(clip.y) > max(offsets)]
            if fitting:
                break
        odds = self.odds[fitting] / self.odds[fitting].sum()
        return torch.stack([self._one(random, self.clips[random.choice(fitting, p=odds)], offsets) for _ in range(count)])

    def _one(self, random: np.random.Generator, clip: Clip, offsets: list[int]) -> Tensor:
        length, height, width = clip.y.shape
        first = int(random.integers(length - max(offsets)))
        top = 2 * int(random.integers((height - self.crop) // 2 + 1))
        left = 2 * int(random.integers((width - self.crop) // 2 + 1))
        frames = [first + offset for offset in offsets]
        y = clip.y[frames, top : top + self.crop, left : left + self.crop]
        half = self.crop // 2
        uv = clip.uv[frames, :, top // 2 : top // 2 + half, left // 2 : left // 2 + half]
        if random.random() < 0.5:
            y, uv = y[..., ::-1], uv[..., ::-1]
        if random.random() < 0.5:
            y, uv = y[::-1], uv[::-1]
        return to_planes(y, uv)


def batches(sampler: Sampler, count: int, seed: int) -> Iterator[Tensor]:
    """Batches made by a thread that stays a few ahead of training."""
    ready: queue.Queue[Tensor | Exception] = queue.Queue(4)

    def work() -> None:
        random = np.random.default_rng(seed)
        try:
            while True:
                ready.put(sampler.sample(random, count))
        except Exception as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        yield batch


# ---------------------------------------------------------------- loss


def squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Weighted squared error of each sample, [B], in 8-bit units: luma 6/8, chroma CHROMA_WEIGHT/8 each."""
    error = ((x_hat - x) * 64).square().mean((2, 3))
    weight = torch.tensor([6 / 4] * 4 + [CHROMA_WEIGHT] * 2, device=error.device) / 8
    return (error * weight).sum(1)


def meter() -> RateMeter:
    """A new rate meter with the scales of the tables."""
    return RateMeter(SMALLEST_SCALE, SCALE_RATIO)


def rate_distortion(bpp: Tensor, error: Tensor, qp: Tensor) -> Tensor:
    """R + lambda D of each sample over lambda^LOSS_EXPONENT, [B]."""
    weight = lagrangian(qp)
    return (bpp + weight * error) / weight**LOSS_EXPONENT


def intra_loss(net: nn.Module, batch: Tensor, qp: Tensor) -> tuple[Tensor, dict[str, float]]:
    """The intra codec on single frames [B, 1, 6, H/2, W/2]."""
    x = batch[:, 0].contiguous(memory_format=torch.channels_last)
    rate = meter()
    x_hat, _ = net(rate, qp, (x.shape[2] // 8, x.shape[3] // 8), x)
    bpp, error = rate.bits / (4 * x.shape[2] * x.shape[3]), squared_error(x_hat, x)
    return rate_distortion(bpp, error, qp).mean(), {"bpp": float(bpp.mean()), "error": float(error.mean())}


# ---------------------------------------------------------------- optimizer


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices [N, R, C] with all singular values moved near 1, by the Newton-Schulz iteration of Muon.

    K. Jordan et al., Muon (2024), https://kellerjordan.github.io/posts/muon/.
    """
    x = (matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    wide = x if x.shape[1] <= x.shape[2] else x.mT
    for _ in range(5):
        square = wide @ wide.mT
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return (wide if x.shape[1] <= x.shape[2] else wide.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalized updates for convolution weights [C_out, ...], as matrices [C_out, rest]."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
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
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(p.grad))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    directions.append(p.grad.lerp(buffer, group["momentum"]).flatten(1))
                scale = 0.2 * math.sqrt(max(shape))
                for p, change in zip(parameters, orthogonal(torch.stack(directions)), strict=True):
                    p.add_(change.view(p.shape), alpha=-group["lr"] * scale)


def make_optimizers(net: nn.Module, lr: float, kind: str) -> list[torch.optim.Optimizer]:
    """Muon for the convolutions' kernels and AdamW for the rest, or AdamW for all."""
    named = list(net.named_parameters())
    transforms = [p for n, p in named if "transform" in n]
    steps = [p for n, p in named if ".step." in n or n.startswith("step.")]
    special = {id(p) for p in transforms + steps}
    kernels = [p for _, p in named if p.ndim == 4 and id(p) not in special]
    other = [p for _, p in named if p.ndim != 4 and id(p) not in special]
    slow = [{"params": transforms, "lr": lr / 10}, {"params": steps, "lr": lr}]
    if kind == "adamw":
        return [torch.optim.AdamW([{"params": kernels + other}, *slow], lr=lr, betas=(0.9, 0.98), weight_decay=0.0)]
    adam = torch.optim.AdamW([{"params": other}, *slow], lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(kernels, lr), adam]


# ---------------------------------------------------------------- the run


@dataclass
class Run:
    """A resumable training run: network, its moving average, optimizers, and how far it has come."""

    net: nn.Module
    loss: Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, dict[str, float]]]
    sampler: Sampler
    folder: Path
    batch: int
    minutes: float
    lr: float
    optimizer: str
    autocast: bool = True
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.net = self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimizers = make_optimizers(self.net, self.lr, self.optimizer)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Resume from the folder's checkpoint."""
        state = torch.load(self.checkpoint, weights_only=True)
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
        for batch in batches(self.sampler, self.batch, seed=self.step):
            started = time.monotonic()
            stats = self.update(batch)
            self.seconds += time.monotonic() - started
            self.step += 1
            count += 1
            for name, value in stats.items():
                sums[name] = sums.get(name, 0.0) + value
            done = self.seconds >= 60 * self.minutes
            if time.monotonic() - last_log > 20 or done:
                means = {name: value / count for name, value in sums.items()}
                writer.writerow([self.step, f"{self.seconds:.1f}", *(f"{v:.5f}" for v in means.values())])
                log.flush()
                text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
                print(f"{self.folder.name} step {self.step} {self.seconds / 60:.1f} min {text}", flush=True)
                sums, count, last_log = {}, 0, time.monotonic()
            if time.monotonic() - last_save > 120 or done:
                self.save()
                last_save = time.monotonic()
            if done:
                return

    def update(self, batch: Tensor) -> dict[str, float]:
        """One step of the optimizers; a step whose gradient is not finite is left out."""
        progress = min(1.0, self.seconds / (60 * self.minutes))
        factor = min(1.0, (self.step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        qp = torch.randint(0, QPS, (len(batch),))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss, stats = self.loss(self.net, batch, qp)
        self.net.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        if math.isfinite(float(norm)):
            for optimizer in self.optimizers:
                optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            state = [(k, v) for k, v in self.net.state_dict().items() if v.is_floating_point()]
            torch._foreach_lerp_([self.average[k] for k, _ in state], [v for _, v in state], 1 - decay)
        return {"loss": float(loss.detach()), **stats, "norm": float(norm)}


@click.command()
@click.argument("stage", type=click.Choice(["intra"]))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
@click.option("--init", type=click.Path(path_type=Path, exists=True), help="checkpoint to start from")
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--batch", default=8, show_default=True)
@click.option("--crop", default=192, show_default=True)
@click.option("--lr", default=1e-3, show_default=True)
@click.option("--optimizer", type=click.Choice(["adamw", "muon"]), default="muon", show_default=True)
def main(
    stage: str, data: Path, out: Path, cache: Path, init: Path | None, minutes: float, batch: int, crop: int, lr: float, optimizer: str
) -> None:
    """Train one STAGE on the videos of a folder."""
    torch.manual_seed(0)
    clips = load_clips(data, cache, crop)
    sampler = Sampler(clips, crop, lambda random, _: [0])
    net = IntraCodec(Channels())
    if init:
        net.load_state_dict(torch.load(init, weights_only=True)["average"])
    Run(net, intra_loss, sampler, out, batch, minutes, lr, optimizer).train()


if __name__ == "__main__":
    main()
