"""A training run: steps, their log, a moving average of the weights, and checkpoints to resume from."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from bcodec.networks import Networks
from bcodec.train.batch import Batch, Stats
from bcodec.train.checkpoint import INDEX, load_checkpoint, save_checkpoint
from bcodec.train.clips import Samples, batches
from bcodec.train.losses import Loss, symbol_costs
from bcodec.train.optimizers import make_optimizers
from bcodec.train.rounding import rounded_weights
from bcodec.train.step import Step, use_tensor_cores

SAVE_EVERY, TELL_EVERY = 120.0, 20.0  # seconds
COLUMNS = ["run", "step", "seconds", "megapixels/s", "loss", "bpp", "error", "motion", "norm"]
COLUMNS += [f"layer {layer}" for layer in range(6)]


class Objective(nn.Module):
    """Networks and a loss as one module, so that several processes can share its gradients."""

    def __init__(self, net: Networks, loss: Loss, autocast: bool) -> None:
        super().__init__()
        self.net, self.loss, self.autocast = net, loss, autocast
        self.costs = symbol_costs(net)

    def forward(self, batch: Batch) -> tuple[Tensor, Stats]:
        """The loss [] of a batch, and what the log says of it."""
        if not self.autocast:
            with rounded_weights(self.net):
                return self.loss(self.net, self.costs, batch)
        with torch.autocast(batch.frames.device.type, torch.bfloat16):
            return self.loss(self.net, self.costs, batch)


@dataclass
class Run:
    """A resumable training run: network, its moving average, optimizers, and how far it has come.

    Started by torchrun, every process draws batches of its own, and the gradients are averaged.
    """

    net: Networks
    loss: Loss
    trained: tuple[str, ...]  # beginnings of the names of what is
    samples: Samples
    folder: Path
    batch: int
    minutes: float
    lr: float
    optimizer: str
    autocast: bool = True
    device: str = "cpu"
    name: str = "run"
    steps: str = "auto"  # one of bcodec.train.step.STEPS
    still: tuple[str, ...] = ()  # beginnings of the names of what of it is not
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.rank, self.world = join_processes(self.device)
        torch.manual_seed(self.rank)
        self.net = self.net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device == "cuda":
            use_tensor_cores(self.net)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name.startswith(self.trained) and not name.startswith(self.still))
        named = [(n, p) for n, p in self.net.named_parameters() if p.requires_grad]
        self.learning = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.objective: nn.Module = Objective(self.net, self.loss, self.autocast).to(self.device)
        if self.world > 1:
            self.objective = DistributedDataParallel(self.objective, find_unused_parameters=True)
        steps = "plain" if self.world > 1 else self.steps
        self.gradients = Step(self.descend, self.parameters, self.device, steps, print)
        self.optimizers = make_optimizers(named, self.lr, self.optimizer)
        self.rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / INDEX).exists():
            self.load()

    def load(self) -> None:
        """Resume from the folder's checkpoint, if it is of this run."""
        tensors, facts = load_checkpoint(self.folder)
        if facts["run"] != self.name:
            return
        for name, weight in self.net.state_dict().items():
            weight.copy_(tensors[f"net/{name}"])
            self.average[name] = weight.clone()
            if f"average/{name}" in tensors:
                self.average[name] += tensors[f"average/{name}"].to(weight)
        for number, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                kind, _, rest = key.partition("/")
                if kind == f"optimizer{number}":
                    index, _, what = rest.partition("/")
                    state.setdefault(int(index), {})[what] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        self.step, self.seconds = facts["step"], facts["seconds"]

    def save(self) -> None:
        """Write the checkpoint, and go on from what is in it: averages and momenta in bfloat16."""
        weights = self.net.state_dict()
        tensors = {f"net/{name}": value for name, value in weights.items()}
        for name in self.learning:
            off = (self.average[name] - weights[name]).bfloat16()
            self.average[name] = weights[name] + off
            tensors[f"average/{name}"] = off
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                for what, value in state.items():
                    if what == "momentum":
                        value.copy_(value.bfloat16())
                    kept = value.bfloat16() if what == "momentum" else value
                    tensors[f"optimizer{number}/{index}/{what}"] = kept
        if self.rank == 0:
            facts = {"run": self.name, "step": self.step, "seconds": self.seconds}
            save_checkpoint(self.folder, tensors, facts)

    def finish(self) -> None:
        """Take the averaged weights over, and let the checkpoint have nothing else."""
        self.net.load_state_dict(self.average)
        if self.rank == 0:
            tensors = {f"net/{name}": value for name, value in self.average.items()}
            facts = {"run": self.name, "step": self.step, "seconds": self.seconds}
            save_checkpoint(self.folder, tensors, facts)

    def train(self) -> None:
        """Train until the run's minutes are used up."""
        log = Log(self.folder / "log.csv", self.name)
        last_save = clock = monotonic()
        for batch in batches(self.samples, self.batch, seed=self.step * self.world + self.rank):
            stats = self.update(batch)
            now = monotonic()
            self.seconds, clock = self.seconds + now - clock, now
            self.step += 1
            due = self.agree(now - last_save > SAVE_EVERY)
            done = self.seconds >= 60 * self.minutes
            if self.rank == 0:
                log.add(stats, batch.pixels * self.world)
                if done or now - log.last > TELL_EVERY:
                    log.tell(self.step, self.seconds)
            if done or due:
                self.save()
                last_save = now
            if done:
                return

    def agree(self, due: bool) -> bool:
        """Whether any process would save; all have the seconds of the slowest, hence its learning rate."""
        if self.world == 1:
            return due
        votes = torch.tensor([self.seconds, float(due)], dtype=torch.float64, device=self.device)
        distributed.all_reduce(votes, distributed.ReduceOp.MAX)
        self.seconds, vote = votes.tolist()
        return bool(vote)

    def descend(self, batch: Batch) -> Stats:
        """Leave the gradients of a batch's loss in the parameters; the stats, []."""
        loss, stats = self.objective(batch)
        loss.backward()
        return {"loss": loss.detach(), **{name: value.detach() for name, value in stats.items()}}

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizers for a loss []; a step whose gradient is not finite is left out."""
        progress = min(1.0, self.seconds / (60 * self.minutes))
        factor = min(1.0, (self.step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        stats = self.gradients(batch.each(lambda part: part.to(self.device)))
        norm = nn.utils.clip_grad_norm_(self.parameters, 2.0)
        if math.isfinite(float(norm)):
            for optimizer in self.optimizers:
                optimizer.step()
        decay = min(0.999, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            weights = self.net.state_dict()
            averages = [self.average[name] for name in self.learning]
            torch._foreach_lerp_(averages, [weights[name] for name in self.learning], 1 - decay)
        values = torch.stack([*stats.values(), norm]).tolist()  # at once: each would wait for the device
        return dict(zip([*stats, "norm"], values, strict=True))


class Log:
    """What a run tells, on the screen and in a CSV file: means since it told last."""

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self.begin()

    def begin(self) -> None:
        """Forget what was added."""
        self.sums: dict[str, list[float]] = {}
        self.pixels, self.last = 0, monotonic()

    def add(self, stats: dict[str, float], pixels: int) -> None:
        """Add what a step was."""
        self.pixels += pixels
        for name, value in stats.items():
            self.sums.setdefault(name, []).append(value)

    def tell(self, step: int, seconds: float) -> None:
        """Print and write a line, and begin anew."""
        means = {name: sum(values) / len(values) for name, values in self.sums.items()}
        pace = self.pixels / 1e6 / max(monotonic() - self.last, 1e-9)
        row = {name: f"{value:.5f}" for name, value in means.items()}
        row |= {
            "run": self.run,
            "step": str(step),
            "seconds": f"{seconds:.1f}",
            "megapixels/s": f"{pace:.3f}",
        }
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            if not file.tell():
                writer.writeheader()
            writer.writerow(row)
        text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
        print(f"{self.run} step {step} {seconds / 60:.1f} min {pace:.3f} Mpx/s {text}", flush=True)
        self.begin()


def join_processes(device: str) -> tuple[int, int]:
    """Rank and number of the processes that torchrun started; (0, 1) without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return distributed.get_rank(), distributed.get_world_size()
