"""One command from packed data to weights: interrupted, it goes on; what it exports codes files."""

import csv
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY

from bcodec.cli.main import main as bcodec
from bcodec.networks import Networks, load_networks
from bcodec.train import run as running
from bcodec.train.__main__ import main
from bcodec.train.batch import Batch
from bcodec.train.checkpoint import load_facts
from bcodec.train.draw import write_clip
from bcodec.train.plan import Leg, Plan, read_plan
from bcodec.train.run import Run
from bcodec.video import VideoReader

PLAN = """
tables = 1
[[stage]]
stage = "intra"
minutes = 0.0166
batch = 2
crop = 64
[[stage]]
stage = "triplet"
minutes = 0.05
batch = 2
crop = 64
record = 1
float32 = true
"""


class Killed(Exception):
    """What ends a run in the middle."""


def invoke(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def moving_clip(path: Path) -> None:
    """A soft texture that moves."""
    rng = np.random.default_rng(0)
    canvas = np.kron(rng.integers(0, 256, (20, 30, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    write_clip(path, [canvas[t : t + 96, 3 * t : 3 * t + 128] for t in range(12)])


def test_a_plan_is_rehearsed_from_clips_to_a_coded_file(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcodec.train.stages.Networks", lambda: Networks(TINY))
    (tmp_path / "clips").mkdir()
    clip = tmp_path / "clips" / "clip.mkv"
    moving_clip(clip)
    (tmp_path / "plan.toml").write_text(PLAN)
    pack, out, cache = tmp_path / "data.pack", tmp_path / "out", ("--cache", tmp_path / "cache")
    small = ("--side", 64, "--frames", 3, "--count", 2)
    printed = invoke("pack", tmp_path / "clips", pack, "--init", tiny_weights, *small, *cache)
    assert "2 excerpts" in printed
    clip.rename(tmp_path / "clip.mkv")  # from here on there is only the pack
    words = ("run", "--plan", tmp_path / "plan.toml", "--data", pack, "--out", out, "--init", tiny_weights)

    # Killed in the second stage. By this clock a step takes a second: one of the first stage, three of it.
    monkeypatch.setattr(running, "monotonic", count().__next__)
    monkeypatch.setattr(running, "SAVE_EVERY", 0.0)
    taken, killed_at = [], [("2-triplet", 2)]
    update = Run.update

    def watched(self: Run, batch: Batch) -> dict[str, float]:
        taken.append((self.name, self.step))
        if taken[-1] in killed_at:
            raise Killed
        return update(self, batch)

    monkeypatch.setattr(Run, "update", watched)
    with pytest.raises(Killed):
        invoke(*words)
    assert (load_facts(out)["run"], load_facts(out)["step"]) == killed_at[0]
    assert not (out / "weights.npz").exists()

    # It goes on behind the last checkpoint, not from the start.
    taken.clear()
    killed_at.clear()
    printed = invoke(*words)
    assert taken == [("2-triplet", 2)]
    logged = rows(out)
    assert {row["run"] for row in logged} == {"1-intra", "2-triplet"}
    assert all(float(row["megapixels/s"]) > 0 for row in logged)
    assert max(path.stat().st_size for path in out.iterdir()) <= 16 << 20

    # What was exported codes a file, and is what was trained.
    loaded = load_networks(out / "weights.npz")
    assert loaded.model_id.hex() in printed
    assert not all(map(np.array_equal, loaded.tables, load_networks(tiny_weights).tables))
    monkeypatch.setattr("bcodec.networks.shipped_weights", lambda: out / "weights.npz")
    coded, decoded = tmp_path / "clip.bcv", tmp_path / "clip.y4m"
    assert bcodec(["encode", str(tmp_path / "clip.mkv"), "-o", str(coded), "--preset", "fast"]) == 0
    assert bcodec(["decode", str(coded), "-o", str(decoded)]) == 0
    with VideoReader(str(decoded)) as reader:
        assert len(list(reader)) == 12


def test_a_plan_says_what_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    first, second = Leg("intra", 0.0166, 2, crop=64), Leg("triplet", 0.05, 2, crop=64, float32=True, record=1)
    assert read_plan(tmp_path / "plan.toml") == Plan([first, second], 1)


def test_the_plan_among_the_examples_can_be_read() -> None:
    plan = read_plan(Path(__file__).parents[1] / "examples" / "training_plan.toml")
    assert sum(leg.minutes for leg in plan.stage) <= 8  # of ten: there is more to do than train


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no stage"),
        ("[[stage]]\nstage = 'intra'", "minutes"),
        ("[[stage]]\nstage = 'intar'\nminutes = 1", "no stage intar"),
        ("[[stage]]\nstage = 'intra'\nminutes = 0", "minutes above 0"),
        ("[[stage]]\nstage = 'intra'\nminutes = 1\noptimizer = 'sgd'", "muon and adamw"),
        ("[[stage]]\nstage = 'intra'\nminutes = 1\nbatches = 1", "batches"),
        ("[[stages]]\nstage = 'intra'\nminutes = 1", "nothing is called stages"),
        ("minutes =", "no training plan"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_plan(tmp_path / "plan.toml")
