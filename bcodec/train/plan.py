"""A training plan: stages one after the other, from data to weights, by one command.

A TOML file. Each [[stage]] has `stage` (a name of bcodec.train.stages.STAGES) and `minutes`, and what is to
be otherwise than the stage has it: `batch`, `lr`, `crop`, `optimizer` ("muon" or "adamw"), `float32` (no
autocast: train exactly what is coded), `record` (at so many qps the motion of packed data is first recorded
anew, with the weights that stand), `still` (beginnings of the names of what is not trained). At the top,
`tables` is the number of groups of frames that frequency tables are fitted to in the end; without it they
stay as they are.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from bcodec.entropy.tables import fit_tables, make_tables
from bcodec.frame import ALIGNMENT
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.train.checkpoint import INDEX, load_facts
from bcodec.train.clips import Sampler, Samples, load_clips
from bcodec.train.counting import count_symbols
from bcodec.train.excerpts import Excerpts
from bcodec.train.pack import Pack, read_pack
from bcodec.train.recording import record_pack
from bcodec.train.rounding import rounded_weights
from bcodec.train.run import Run
from bcodec.train.stages import STAGES

WEIGHTS = "weights.npz"
TABLE_SPACINGS = {1: 0.6, 2: 0.25, 4: 0.15}  # of the frames whose symbols tables are fitted to


@dataclass(frozen=True)
class Leg:
    """A stage as a plan has it; what is None is as the stage has it."""

    stage: str
    minutes: float
    batch: int | None = None
    lr: float | None = None
    crop: int | None = None
    optimizer: str = "muon"
    float32: bool = False
    record: int = 0
    still: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Stages in their order, and the groups of frames that tables are fitted to in the end."""

    stage: list[Leg] = field(default_factory=list)
    tables: int = 0


def read_plan(path: Path) -> Plan:
    """The plan of a TOML file. Raises ValueError for what it cannot mean."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        known = {each.name for each in fields(Plan)} & entries.keys()
        if unknown := entries.keys() - known:
            raise ValueError(f"nothing is called {', '.join(sorted(unknown))}")
        plan = Plan([_leg(entry) for entry in entries.get("stage", [])], entries.get("tables", 0))
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} is no training plan: {error}") from error
    if not plan.stage:
        raise ValueError(f"{path} has no stage")
    return plan


def _leg(entry: dict[str, Any]) -> Leg:
    leg = Leg(**{**entry, "still": tuple(entry.get("still", ()))})
    if leg.stage not in STAGES:
        raise ValueError(f"there is no stage {leg.stage}: there are {', '.join(STAGES)}")
    if leg.optimizer not in ("muon", "adamw") or leg.minutes <= 0:
        raise ValueError(f"stage {leg.stage}: optimizers are muon and adamw, and minutes above 0")
    return leg


@dataclass
class Course:
    """Carries out a plan; `data` is a pack, a folder of packs, or one of videos (decoded into `cache`)."""

    net: Networks
    data: Path
    out: Path
    device: str = "cpu"
    steps: str = "auto"
    cache: Path = Path("runs/cache")

    def __post_init__(self) -> None:
        packed = self.data.is_file() or any(self.data.glob("*.pack"))
        self.pack: Pack | None = read_pack(self.data, self.device) if packed else None

    def carry_out(self, plan: Plan) -> Path | None:
        """Train all stages, or what is left of them, then export; the file of weights.

        Of several processes that torchrun started, the first exports; the others return None.
        """
        begun = self._begun(plan)
        for number, leg in enumerate(plan.stage[begun:], begun):
            run = self._run(leg, name_of(plan, number))
            if run.seconds < 60 * leg.minutes:
                run.train()
            run.finish()
        return self._export(plan.tables) if run.rank == 0 else None

    def _begun(self, plan: Plan) -> int:
        """The number of the stage that the checkpoint is of, or 0."""
        if not (self.out / INDEX).exists():
            return 0
        names = [name_of(plan, number) for number in range(len(plan.stage))]
        name = load_facts(self.out)["run"]
        if name not in names:
            raise ValueError(f"the checkpoint in {self.out} is of {name}, which the plan has not")
        return names.index(name)

    def _run(self, leg: Leg, name: str) -> Run:
        stage = STAGES[leg.stage]
        run = Run(
            self.net,
            stage.loss,
            stage.trained,
            self._samples(leg),
            self.out,
            leg.batch or stage.batch,
            leg.minutes,
            leg.lr or stage.lr,
            leg.optimizer,
            autocast=not leg.float32,
            device=self.device,
            name=name,
            steps=self.steps,
            still=leg.still,
        )
        if leg.record and self.pack is not None:
            with rounded_weights(self.net):
                record_pack(self.net, self.pack, np.random.default_rng(0), leg.record, 2 * run.batch)
        return run

    def _samples(self, leg: Leg) -> Samples:
        stage = STAGES[leg.stage]
        crop = leg.crop or stage.crop
        if self.pack is not None:
            return Excerpts(self.pack, crop, stage.frames, stage.spacings, stage.tails)
        clips = load_clips(self.data, self.cache, crop, self.device)
        return Sampler(clips, crop, stage.frames, stage.spacings, stage.tails)

    def _export(self, groups: int) -> Path:
        """Write the weights as integers, and tables fitted to so many groups of frames, if to any."""
        weights = self.out / WEIGHTS
        tables = self.net.tables or make_tables()
        save_networks(weights, self.net, tables)
        if groups:
            net = load_networks(weights, self.device)
            counts = count_symbols(net, self._table_samples(), np.random.default_rng(0), groups)
            save_networks(weights, net, fit_tables(make_tables(), counts))
        return weights

    def _table_samples(self) -> Samples:
        """Groups of nine frames, or of as many as excerpts have."""
        if self.pack is not None:
            frames, side = self.pack.y.shape[1:3]
            return Excerpts(self.pack, side // ALIGNMENT * ALIGNMENT, frames, TABLE_SPACINGS)
        return Sampler(load_clips(self.data, self.cache, 256), 256, 9, TABLE_SPACINGS)


def name_of(plan: Plan, number: int) -> str:
    """What the log and the checkpoint call a plan's stage."""
    return f"{number + 1}-{plan.stage[number].stage}"
