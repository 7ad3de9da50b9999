"""Training: crops show what the clip shows, and a run goes on as if it had not been ended."""

import os
import socket
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from bcodec.entropy.meter import SymbolCosts
from bcodec.networks import Networks
from bcodec.train import clips
from bcodec.train.batch import Batch, frame_of
from bcodec.train.clips import Clip, Sampler
from bcodec.train.losses import (
    Loss,
    cascade_loss,
    intra_loss,
    motion_loss,
    symbol_costs,
    triplet_loss,
)
from bcodec.train.run import Run


def clip(frames: int = 5, height: int = 96, width: int = 128) -> Clip:
    """Luma that tells the frame and the place of each sample, chroma likewise."""
    time, down, across = torch.meshgrid(*map(torch.arange, (frames, height, width)), indexing="ij")
    y = (time * 50 + down * 3 + across * 7) % 256
    return Clip(y.byte(), torch.stack([y[:, ::2, ::2], y[:, 1::2, ::2]], 1).byte())


def planes(sample: Tensor) -> tuple[Tensor, Tensor]:
    """The y and uv of a sample [T, 6, H/2, W/2], as they are in a clip."""
    return torch.nn.functional.pixel_shuffle(sample[:, :4], 2)[:, 0], sample[:, 4:]


def places(source: Clip, y: Tensor, uv: Tensor, spacing: int) -> list[tuple[int, int, int]]:
    """First frame, top and left of all places of the clip, on even lines, that look so."""
    count, height, width = y.shape
    found = []
    for first in range(len(source.y) - spacing * (count - 1)):
        frames = slice(first, first + spacing * (count - 1) + 1, spacing)
        for top in range(0, source.y.shape[1] - height + 1, 2):
            for left in range(0, source.y.shape[2] - width + 1, 2):
                here = source.y[frames, top : top + height, left : left + width]
                half = (slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2))
                if torch.equal(here, y) and torch.equal(source.uv[frames, :, *half], uv):
                    found.append((first, top, left))
    return found


@pytest.mark.parametrize("spacing", [1, 2])
def test_crops_are_cut_from_all_planes_and_frames_alike(
    spacing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "HALVED", 0.0)
    source = clip()
    batch = Sampler([source], 64, 3, {spacing: 1.0}).sample(np.random.default_rng(0), 6)
    assert (batch.frames.shape, batch.spacing) == ((6, 3, 6, 32, 32), spacing)
    for sample in batch.frames:
        y, uv = planes(sample)
        flips = [(), (-1,), (0,), (-1, 0)]
        assert any(places(source, y.flip(axes), uv.flip(axes), spacing) for axes in flips)


def test_large_clips_are_shown_at_half_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "HALVED", 1.0)
    source = clip(height=256, width=128)
    halved = torch.nn.functional.avg_pool2d(source.y.float(), 2)
    batch = Sampler([source], 64, 1, {1: 1.0}).sample(np.random.default_rng(0), 4)
    for sample in batch.frames:
        y, _ = planes(sample)
        windows = torch.round(halved).byte().unfold(1, 64, 1).transpose(2, 3)
        assert any(
            torch.equal(window, seen) for window in windows.flatten(0, 1) for seen in (y[0], y[0].flip(-1))
        )


def run(folder: Path, loss: Loss = intra_loss) -> Run:
    torch.manual_seed(0)
    sampler = Sampler([clip()], 64, 1, {1: 1.0})
    return Run(Networks(TINY), loss, ("intra",), sampler, folder, 2, 1.0, 1e-3, "muon", autocast=False)


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_ended(tmp_path: Path) -> None:
    batches = [run(tmp_path).samples.sample(np.random.default_rng(i), 2) for i in range(2)]

    def updated(state: Run, batch: Batch) -> dict[str, float]:
        torch.manual_seed(state.step)
        state.step += 1
        return state.update(batch)

    whole = run(tmp_path / "whole")
    expected = [updated(whole, batches[0])]
    whole.save()  # and goes on from what is in the checkpoint
    expected.append(updated(whole, batches[1]))
    ended = run(tmp_path / "ended")
    first = updated(ended, batches[0])
    ended.save()
    again = run(tmp_path / "ended")
    assert again.step == 1
    assert [first, updated(again, batches[1])] == expected
    for name, value in whole.average.items():
        assert torch.equal(again.average[name], value), name


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("loss", [intra_loss, motion_loss, triplet_loss, cascade_loss])
def test_every_stage_trains_in_float32_and_in_bfloat16(loss: Loss, autocast: bool) -> None:
    torch.manual_seed(0)
    net = Networks(TINY)
    batch = Sampler([clip()], 64, 3, {1: 1.0}).sample(np.random.default_rng(0), 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value, _ = loss(net, symbol_costs(net), batch)
    value.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(g.isfinite().all()) for g in gradients)


def even_loss(net: Networks, costs: SymbolCosts, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """One without chance, in which every sample counts alike."""
    y = net.intra.analysis(frame_of(batch, 0))
    return y.square().mean(), {}


def trained(folder: Path, batches: list[Batch]) -> dict[str, Tensor]:
    """The weights after a step with each batch."""
    state = run(folder, even_loss)
    for batch in batches:
        state.update(batch)
    return state.net.state_dict()


def train_a_half(rank: int, folder: Path, port: int, batches: list[Batch]) -> None:
    """One of two processes, as torchrun starts them."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    weights = trained(folder, [batch.each(lambda part: part[rank::2]) for batch in batches])
    torch.save(weights, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:Grad strides do not match:UserWarning")  # of kernels of 1x1
def test_two_processes_train_as_one_with_the_double_batch(tmp_path: Path) -> None:
    batches = [run(tmp_path).samples.sample(np.random.default_rng(i), 4) for i in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # What other tests leave behind, threads and their locks, cannot fork.
    start_processes(train_a_half, (tmp_path, port, batches), nprocs=2, start_method="spawn")  # type: ignore[no-untyped-call]
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    start, whole = run(tmp_path).net.state_dict(), trained(tmp_path, batches)
    assert sum(not torch.equal(whole[name], start[name]) for name in whole) >= 4
    for name, weights in whole.items():
        assert torch.equal(halves[0][name], halves[1][name])
        torch.testing.assert_close(halves[0][name], weights, rtol=0, atol=2e-5)


def last_weights(rank: int, folder: Path, port: int) -> None:
    """What one of two processes has trained after a few seconds, of which the second takes more."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    state = run(folder, even_loss)
    state.minutes = 4 / 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcodec.train.run.monotonic", count(0, 1 + rank).__next__)
        state.train()
    torch.save({**state.net.state_dict(), "seconds": state.seconds}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:Grad strides do not match:UserWarning")  # of kernels of 1x1
def test_processes_of_different_pace_keep_the_same_weights(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start_processes(last_weights, (tmp_path, port), nprocs=2, start_method="spawn")  # type: ignore[no-untyped-call]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.pop("seconds") == other.pop("seconds") >= 4
    assert all(torch.equal(one[name], other[name]) for name in one)
