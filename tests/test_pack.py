"""Packed data comes back as it was recorded, is cut right, and ends where it must."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.train.clips import Clip, Sampler
from bcodec.train.excerpts import Excerpts, mirrored
from bcodec.train.pack import Excerpt, Pack, read_pack, write_pack
from bcodec.train.recorded import Record
from bcodec.train.recording import cut_excerpts, spread_qps
from bcodec.train.squeeze import restore_integers, restore_pictures, squeeze_integers, squeeze_pictures

SIDE, FRAMES = 64, 5


def soft(*shape: int, seed: int = 0) -> Tensor:
    """Smooth planes, uint8."""
    noise = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()
    smooth = F.avg_pool2d(noise.view(-1, 1, *shape[-2:]), 5, 1, 2).view(shape)
    return ((smooth - 128) * 4 + 128).clamp(0, 255).byte()


def record_of(excerpt: Excerpt, seed: int = 0) -> Record:
    """Motion by chance, at two qps, of one preference in eighths."""
    generator = torch.Generator().manual_seed(seed)
    outer, side = (2, len(excerpt.y)), excerpt.y.shape[1]
    blocks = torch.randint(-700, 700, (*outer, 10, side // 8, side // 8), generator=generator)
    blocks[..., [4, 9], :, :] = blocks[..., [4, 9], :, :] % 9 * 32
    flags = torch.randint(0, 2, (*outer, 4, side // 16, side // 16), generator=generator)
    whole = torch.randint(-400, 400, (*outer, 5), generator=generator)
    return Record(blocks.short(), flags.to(torch.int8), whole.short())


def recorded(excerpt: Excerpt) -> Excerpt:
    return excerpt._replace(qps=[10, 50], motion=record_of(excerpt))


def excerpts(count: int = 3) -> list[Excerpt]:
    return [
        Excerpt(
            soft(FRAMES, SIDE, SIDE, seed=i), soft(FRAMES, 2, SIDE // 2, SIDE // 2, seed=i + 9), 1, i == 2
        )
        for i in range(count)
    ]


def test_integers_come_back(tmp_path: Path) -> None:
    values = torch.tensor([[0, -1, 1, 127, -128], [255, 256, -32768, 32767, 5]], dtype=torch.int16)
    assert torch.equal(restore_integers(squeeze_integers(values), (2, 5)), values)


@pytest.mark.parametrize("side", [64, 208])
def test_pictures_come_back_as_their_writer_said_and_nearly_as_they_were(side: int) -> None:
    y, uv = soft(3, side, side) // 2, soft(3, 2, side // 2, side // 2)
    data, *decoded = squeeze_pictures(y, uv)
    assert all(torch.equal(a, b) for a, b in zip(restore_pictures(data), decoded, strict=True))
    assert all((a.float() - b.float()).square().mean() < 4 for a, b in zip(decoded, (y, uv), strict=True))
    assert len(data) < 0.7 * 1.5 * y.numel()


def test_a_pack_comes_back_with_its_motion(tmp_path: Path) -> None:
    assert write_pack(tmp_path / "a.pack", excerpts(), recorded, 10**6) == 3
    pack = read_pack(tmp_path)
    assert pack.motion is not None
    for number, excerpt in enumerate(excerpts()):
        assert (pack.y[number].float() - excerpt.y.float()).square().mean() < 25  # it is nearly noise
        assert (pack.uv[number].float() - excerpt.uv.float()).square().mean() < 25
        assert all(torch.equal(a[number], b) for a, b in zip(pack.motion, record_of(excerpt), strict=True))
    assert (pack.spacings, pack.tails) == ([1, 1, 1], [False, False, True])
    assert pack.qps.tolist() == [[10, 50]] * 3


def test_packs_of_a_folder_are_read_as_one(tmp_path: Path) -> None:
    for name in ("a.pack", "b.pack"):
        write_pack(tmp_path / name, excerpts(2), lambda excerpt: excerpt, 10**6)
    pack = read_pack(tmp_path)
    assert len(pack.y) == 4
    assert pack.motion is None
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no excerpt"):
        read_pack(tmp_path / "none")


def test_a_pack_is_no_larger_than_it_may_be(tmp_path: Path) -> None:
    limit = 40_000
    written = write_pack(tmp_path / "a.pack", excerpts(20), recorded, limit)
    assert 1 <= written < 20
    assert limit / 2 < (tmp_path / "a.pack").stat().st_size <= limit
    assert len(read_pack(tmp_path / "a.pack").y) == written


def test_an_interrupt_leaves_a_pack_of_what_was_written(tmp_path: Path) -> None:
    def interrupted(excerpt: Excerpt) -> Excerpt:
        if excerpt.tail:
            raise KeyboardInterrupt
        return excerpt

    assert write_pack(tmp_path / "a.pack", excerpts(), interrupted, 10**6) == 2
    assert len(read_pack(tmp_path / "a.pack").y) == 2


def test_excerpts_are_cut_from_clips(tmp_path: Path) -> None:
    clip = Clip(soft(9, 80, 96), soft(9, 2, 40, 48))
    sampler = Sampler([clip], SIDE, FRAMES, {1: 0.5, 2: 0.5}, 0.5)
    drawn = list(islice(cut_excerpts(sampler, np.random.default_rng(0)), 12))
    assert {excerpt.spacing for excerpt in drawn} == {1, 2}
    assert {excerpt.tail for excerpt in drawn} == {False, True}
    assert all(excerpt.y.shape == (FRAMES, SIDE, SIDE) for excerpt in drawn)


def test_qps_are_spread() -> None:
    for seed in range(5):
        low, middle, high = spread_qps(np.random.default_rng(seed), 3)
        assert 0 <= low < 22 <= middle + 1 < 44 <= high + 2 < 66


def pack_of(frames: int = FRAMES) -> Pack:
    """Pictures that tell the place of each sample, and motion that tells its block."""
    time, down, across = torch.meshgrid(torch.arange(frames), *[torch.arange(SIDE)] * 2, indexing="ij")
    y = ((time * 50 + down * 3 + across * 7) % 256).byte()
    uv = torch.stack([y[:, ::2, ::2], y[:, 1::2, ::2]], 1)
    which, channel, row, column = torch.meshgrid(*map(torch.arange, (frames, 10, 8, 8)), indexing="ij")
    blocks = (which * 1000 + channel * 100 + row * 8 + column).short()
    flags = torch.zeros(frames, 4, 4, 4, dtype=torch.int8)
    whole = torch.arange(frames)[:, None].expand(-1, 5).short()
    motion = Record(*(torch.stack([part, -part])[None] for part in (blocks, flags, whole)))
    return Pack(y[None], uv[None], [1], [False], torch.tensor([[10, 50]]), motion)


def cut(record: Record, top: int, left: int, side: int) -> Record:
    """The motion of a crop at a place that is a multiple of 16."""
    blocks = record.blocks[..., top // 8 : (top + side) // 8, left // 8 : (left + side) // 8]
    return Record(blocks, record.flags[..., : side // 16, : side // 16], record.whole)  # all flags are alike


@pytest.mark.parametrize(("frames", "crop"), [(5, 64), (3, 32), (1, 48)])
def test_samples_are_cut_with_their_motion(frames: int, crop: int) -> None:
    """All samples are some part of the excerpt, moved; and recorded motion is cut and moved alike."""
    pack = pack_of()
    assert pack.motion is not None
    pictures = Excerpts(pack, SIDE, FRAMES, {1: 1.0})._pictures(
        torch.zeros(1, 1).long(), torch.arange(5)[None], torch.arange(64)[None], torch.arange(64)[None]
    )[0]
    batch = Excerpts(pack, crop, frames, {1: 0.5, 2: 0.5}).sample(np.random.default_rng(1), 16)
    assert batch.frames.shape == (16, frames, 6, crop // 2, crop // 2)
    moves = set()
    for number in range(16):
        found = []
        for first in range(0, 5, max(frames - 1, 1) * batch.spacing):
            times = torch.arange(first, first + (frames - 1) * batch.spacing + 1, batch.spacing)
            if times[-1] > 4:
                continue
            for top in range(0, SIDE - crop + 1, 16):
                for left in range(0, SIDE - crop + 1, 16):
                    half = (slice(top // 2, (top + crop) // 2), slice(left // 2, (left + crop) // 2))
                    part = pictures[times][:, :, *half]
                    place = int(abs(int(batch.qp[number]) - 10) > abs(int(batch.qp[number]) - 50))
                    record = cut(pack.motion.at(0, place, times), top, left, crop)
                    for mirror in (False, True):
                        for reverse in (False, True):
                            moved = mirrored(part) if mirror else part
                            moved = moved.flip(0) if reverse else moved
                            if torch.equal(moved, batch.frames[number]):
                                found.append((mirror, reverse))
                                other = record.mirrored() if mirror else record
                                if reverse:
                                    other = Record(*(x.flip(0) for x in other.reversed()))
                                if batch.motion is not None:
                                    ours = batch.motion.at(number)
                                    assert all(map(torch.equal, ours, other))
        assert found
        moves |= set(found)
    assert (batch.motion is None) == (frames == 1)
    assert len(moves) == 4


def test_groups_that_end_with_b_star_reach_to_the_end_of_an_excerpt() -> None:
    pack = pack_of()
    pack.tails = [True]
    for frames, stride in ((5, 1), (3, 2)):
        batch = Excerpts(pack, 32, frames, {stride: 1.0}, tails=1.0).sample(np.random.default_rng(0), 4)
        assert (batch.tail, batch.spacing) == (True, stride)
        assert batch.motion is not None
        assert batch.motion.whole[0, :, 0].abs().tolist() == list(range(0, 5, stride))
    assert not Excerpts(pack, 32, 4, {1: 1.0}, tails=1.0).sample(np.random.default_rng(0), 4).tail


def test_a_stage_that_excerpts_are_too_small_for_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        Excerpts(pack_of(), 128, 3, {1: 1.0})
    with pytest.raises(ValueError, match="too small"):
        Excerpts(pack_of(), 64, 9, {1: 1.0})
