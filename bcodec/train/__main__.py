"""The commands of training: draw clips, run a stage, export and fit its weights, plot its log."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from tqdm import tqdm

from bcodec.entropy.tables import fit_tables, make_tables
from bcodec.frame import ALIGNMENT
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.train.clips import Sampler, load_clips
from bcodec.train.counting import count_symbols
from bcodec.train.eightbits import round_inputs, watched
from bcodec.train.encodes import random_encodes
from bcodec.train.hyperlatents import fit_hyperlatents, merged, record_hyperlatents
from bcodec.train.latents import fit_latents, record_latents
from bcodec.train.likelihood import Seen, fit_motion, record_motion
from bcodec.train.pack import Excerpt, write_pack
from bcodec.train.plan import Course, Leg, Plan, read_plan
from bcodec.train.recording import cut_excerpts, record_excerpt, spread_qps
from bcodec.train.rounding import rounded_weights
from bcodec.train.stages import STAGES, start_networks
from bcodec.train.step import STEPS

# Excerpts of nine frames serve stages of fewer at two and four times the spacing.
PACKED_SPACINGS = {1: 0.5, 2: 0.3, 4: 0.2}
PACKED_TAILS = 0.2


@click.group()
def main() -> None:
    """Draw clips, train the networks and export their weights."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["screen", "grid"]), default="screen", show_default=True)
@click.option("--count", default=40, show_default=True, help="clips to draw")
@click.option("--seed", default=0, show_default=True)
def draw(folder: Path, kind: str, count: int, seed: int) -> None:
    """Draw clips of screens, or of grids of thin lines, into FOLDER: what cameras see little of."""
    from bcodec.train.draw import KINDS, write_clip  # noqa: PLC0415 (training needs no PyAV)

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pictures = KINDS[kind](np.random.default_rng((seed, number)))
        write_clip(folder / f"{kind}_{number:03}.mkv", pictures)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("packed", type=click.Path(path_type=Path))
@click.option("--init", type=click.Path(path_type=Path, exists=True), help="whose motion is recorded")
@click.option("--qps", default=1, show_default=True, help="of each excerpt's motion; 0: none is recorded")
@click.option("--megabytes", default=60.0, show_default=True, help="most that the pack may take")
@click.option("--count", type=int, help="excerpts, if there is room for them")
@click.option("--frames", default=9, show_default=True)
@click.option("--side", default=256, show_default=True, help="luma samples")
@click.option("--seed", default=0, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
def pack(
    *,
    folder: Path,
    packed: Path,
    init: Path | None,
    qps: int,
    megabytes: float,
    count: int | None,
    frames: int,
    side: int,
    seed: int,
    cache: Path,
) -> None:
    """Cut excerpts from the videos of FOLDER, record their motion, and write both to PACKED (.pack)."""
    if side % ALIGNMENT:
        raise click.UsageError(f"--side {side} is no multiple of {ALIGNMENT}")
    generator = np.random.default_rng(seed)
    sampler = Sampler(load_clips(folder, cache, side), side, frames, PACKED_SPACINGS, PACKED_TAILS)
    net = start_networks(init)

    def record(excerpt: Excerpt) -> Excerpt:
        return record_excerpt(net, excerpt, spread_qps(generator, qps)) if qps else excerpt

    excerpts = tqdm(itertools.islice(cut_excerpts(sampler, generator), count), unit="excerpt")
    with rounded_weights(net):
        written = write_pack(packed, excerpts, record, int(megabytes * 1e6))
    print(f"{packed}: {written} excerpts, {packed.stat().st_size} bytes")


@main.command()
@click.argument("stage", type=click.Choice(list(STAGES)), required=False)
@click.option(
    "--plan", type=click.Path(path_type=Path, exists=True), help="TOML file of stages, not one STAGE"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="folder of videos, or a pack, or a folder of packs",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder of checkpoint and log")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True)
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True),
    help="folder of a checkpoint, or weights to start from",
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
@click.option(
    "--step",
    type=click.Choice(list(STEPS)),
    default="auto",
    show_default=True,
    help="whether steps are CUDA graphs: auto is, where there is CUDA and recorded motion",
)
def run(
    *,
    stage: str | None,
    plan: Path | None,
    data: Path,
    out: Path,
    cache: Path,
    init: Path | None,
    tables: Path | None,
    step: str,
    device: str,
    **leg: Any,
) -> None:
    """Train one STAGE, or those of a plan, and export; goes on where the folder's checkpoint stands."""
    if (stage is None) == (plan is None):
        raise click.UsageError("name one STAGE, or a --plan of several")
    stages = Plan([Leg(stage, **leg)]) if stage else read_plan(cast(Path, plan))
    net = start_networks(init)
    if tables:
        net.tables = load_networks(tables).tables
    weights = Course(net, data, out, device, step, cache).carry_out(stages)
    if weights:
        print(f"{weights}: model {load_networks(weights).model_id.hex()}, {weights.stat().st_size} bytes")


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.argument("weights", type=click.Path(path_type=Path))
def export(checkpoint: Path, weights: Path) -> None:
    """Write the averaged weights of CHECKPOINT as integers, with tables, to WEIGHTS (.npz)."""
    net = start_networks(checkpoint)
    save_networks(weights, net, make_tables())
    print(f"{weights}: model {load_networks(weights).model_id.hex()}, {weights.stat().st_size} bytes")


def _from_weights(command: Callable[..., None]) -> Callable[..., None]:
    """Add what commands take that make other weights of weights, by videos."""
    options = [
        click.argument("source", type=click.Path(path_type=Path, exists=True)),
        click.argument("weights", type=click.Path(path_type=Path)),
        click.option(
            "--data",
            type=click.Path(path_type=Path, exists=True),
            required=True,
            help="folder of videos",
        ),
        click.option(
            "--cache", type=click.Path(path_type=Path), default=Path("runs/cache"), show_default=True
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@main.command()
@_from_weights
@click.option("--groups", default=100, show_default=True, help="groups of nine frames to count symbols in")
def tables(source: Path, weights: Path, data: Path, cache: Path, groups: int) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS with tables fitted to the symbols they code."""
    net, sampler = load_networks(source), _groups_of_nine(data, cache)
    counts = count_symbols(net, sampler, np.random.default_rng(0), groups)
    save_networks(weights, net, fit_tables(make_tables(), counts))
    print(f"{weights}: model {load_networks(weights).model_id.hex()}")


@main.command()
@_from_weights
@click.option("--groups", default=60, show_default=True, help="groups of nine frames to look at")
def eightbits(source: Path, weights: Path, data: Path, cache: Path, groups: int) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS with layers that int8 kernels can compute."""
    net, sampler = load_networks(source), _groups_of_nine(data, cache)
    generator = np.random.default_rng(0)
    with watched(net, generator) as samples:
        count_symbols(net, sampler, generator, groups)
    round_inputs(net, samples)
    _save(weights, net)


@main.command()
@_from_weights
@click.option("--frames", default=3000, show_default=True, help="B frames to encode and to learn from")
@click.option("--minutes", default=20.0, show_default=True, help="of the training behind that")
@click.option("--lr", default=5e-4, show_default=True, help="learning rate")
def motion(
    *, source: Path, weights: Path, data: Path, cache: Path, frames: int, minutes: float, lr: float
) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS, the entropy model of motion trained on real encodes."""
    net, seen, gops = load_networks(source), list[Seen](), (8, 16, 32)
    sampler = Sampler(load_clips(data, cache, 256), 256, max(gops) + 1, {1: 1.0})
    encodes = random_encodes(sampler, np.random.default_rng(0), gops)
    with tqdm(total=frames, unit="frame") as bar:
        while len(seen) < frames:
            some = record_motion(net, next(encodes))
            seen += some
            bar.update(len(some))
    _fit(fit_motion(net, seen, minutes, lr))
    _save(weights, net)


@main.command()
@_from_weights
@click.option("--encodes", default=600, show_default=True, help="groups of up to nine frames to learn from")
@click.option("--minutes", default=3.0, show_default=True, help="of the training of each model behind that")
@click.option("--lr", default=2e-3, show_default=True, help="learning rate")
def hyperlatents(
    *, source: Path, weights: Path, data: Path, cache: Path, encodes: int, minutes: float, lr: float
) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS, what is expected of hyper-latents trained on encodes."""
    net = load_networks(source)
    # A third of them are I frames alone.
    drawn = random_encodes(_groups_of_nine(data, cache), np.random.default_rng(0), (1, 4, 8))
    seen = [record_hyperlatents(net, next(drawn)) for _ in tqdm(range(encodes), unit="encode")]
    _fit(fit_hyperlatents(net, merged(seen), minutes, lr))
    _save(weights, net)


@main.command()
@_from_weights
@click.option("--encodes", default=300, show_default=True, help="of up to nine I frames to learn from")
@click.option("--minutes", default=60.0, show_default=True, help="of the training behind that")
@click.option("--lr", default=1e-3, show_default=True, help="learning rate")
def latents(
    *, source: Path, weights: Path, data: Path, cache: Path, encodes: int, minutes: float, lr: float
) -> None:
    """Write the weights of SOURCE (.npz) to WEIGHTS, what I frames are expected by trained on encodes."""
    net = load_networks(source)
    drawn = random_encodes(_groups_of_nine(data, cache), np.random.default_rng(0), (1,))
    seen = [each for _ in tqdm(range(encodes), unit="encode") for each in record_latents(net, next(drawn))]
    _fit(fit_latents(net, seen, minutes, lr))
    _save(weights, net)


def _save(weights: Path, net: Networks) -> None:
    """Write the weights, with the tables that the networks had, and tell their model id."""
    save_networks(weights, net, net.tables)
    print(f"{weights}: model {load_networks(weights).model_id.hex()}")


def _fit(costs: Iterator[float]) -> None:
    """Train, and tell how it went."""
    for number, part in enumerate(np.array_split(list(costs), 10)):
        print(f"tenth {number + 1}: {part.mean():.4f}, {len(part)} steps")


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


def _groups_of_nine(data: Path, cache: Path) -> Sampler:
    """Groups of frames as far apart as those of a GOP are, of the videos of a folder."""
    return Sampler(load_clips(data, cache, 256), 256, 9, {1: 0.6, 2: 0.25, 4: 0.15})


if __name__ == "__main__":
    main()
