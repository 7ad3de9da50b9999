"""A training run: steps, their log, a moving average of the weights, and checkpoints to resume from."""

from __future__ import annotations

import csv
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bcodec.networks import Networks
from bcodec.networks.latent import QPS
from bcodec.train.batch import Batch
from bcodec.train.clips import Sampler, batches
from bcodec.train.losses import Loss, Stats, symbol_costs
from bcodec.train.optimizers import make_optimizers


class Objective(nn.Module):
    """Networks and a loss as one module, so that several processes can share its gradients."""

    def __init__(self, net: Networks, loss: Loss) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.costs = symbol_costs(net)

    def forward(self, batch: Batch, qp: Tensor) -> tuple[Tensor, Stats]:
        """The loss of a batch with qp [B], and what the log says of it."""
        return self.loss(self.net, self.costs, batch, qp)


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
        for batch in batches(self.sampler, self.batch, seed=self.step * self.world + self.rank):
            started = time.monotonic()
            stats = self.update(batch)
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

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizers for a loss []; a step whose gradient is not finite is left out."""
        progress = min(1.0, self.seconds / (60 * self.minutes))
        factor = min(1.0, (self.step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        batch = batch.to(self.device)
        qp = torch.randint(0, QPS, (len(batch.frames),), device=self.device)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
            loss, stats = self.objective(batch, qp)
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
