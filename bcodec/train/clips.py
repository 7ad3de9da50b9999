"""Clips to train on: decoded once, cut into random crops, a few batches ahead of training."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bcodec.networks.latent import QPS
from bcodec.train.batch import Batch, to_planes

HALVED = 0.2  # of the crops that a large clip gives are shown at half its size


@dataclass(frozen=True)
class Clip:
    """Planes y [T, H, W] and uv [T, 2, H/2, W/2] of a clip, uint8 (memory-mapped, or on a GPU)."""

    y: Tensor
    uv: Tensor


def decode_clip(path: Path, cache: Path) -> list[Path]:
    """Decode a video, once, into the folder `cache`: the files of y and uv."""
    paths = [cache / f"{path.stem}.{plane}.npy" for plane in ("y", "uv")]
    if not paths[1].exists():
        from bcodec.video import VideoReader  # noqa: PLC0415 (training on packed data needs no PyAV)

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


class Sampler:
    """Random crops of random clips: `frames` frames at a spacing drawn anew for each batch.

    Some are shown at half their size, where a clip is large enough: sharper, with finer texture.
    """

    def __init__(
        self, clips: list[Clip], crop: int, frames: int, spacings: dict[int, float], tails: float = 0.0
    ) -> None:
        self.clips, self.crop, self.frames, self.tails = clips, crop, frames, tails
        longest = max((len(clip.y) for clip in clips), default=0)
        self.spacings = [spacing for spacing in spacings if spacing * (frames - 1) < longest]
        if not self.spacings:
            raise ValueError(f"no clip is of {frames} frames and of {crop} luma samples a side")
        self.odds = np.array([spacings[spacing] for spacing in self.spacings])
        # Between equal shares for clips and for pixels.
        self.shares = np.array([clip.y.numel() ** 0.5 for clip in clips])

    def sample(self, generator: np.random.Generator, count: int) -> Batch:
        """So many samples, flipped and reversed at random; a share of `tails` of the batches end with B*."""
        spacing, clips = self.draw(generator, count)
        pairs = [self.cut(generator, clip, spacing) for clip in clips]
        y, uv = (torch.stack(planes) for planes in zip(*pairs, strict=True))
        qp = torch.from_numpy(generator.integers(0, QPS, count))
        return Batch(to_planes(y, uv), qp, spacing, bool(generator.random() < self.tails))

    def draw(self, generator: np.random.Generator, count: int) -> tuple[int, list[Clip]]:
        """A spacing, and so many clips that are long enough for it."""
        spacing = int(generator.choice(self.spacings, p=self.odds / self.odds.sum()))
        reach = spacing * (self.frames - 1)
        fitting = [i for i, clip in enumerate(self.clips) if len(clip.y) > reach]
        shares = self.shares[fitting] / self.shares[fitting].sum()
        return spacing, [self.clips[i] for i in generator.choice(fitting, count, p=shares)]

    def cut(self, generator: np.random.Generator, clip: Clip, spacing: int) -> tuple[Tensor, Tensor]:
        """A crop of a clip: y [T, C, C] and uv [T, 2, C/2, C/2], flipped and reversed at random."""
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


class Samples(Protocol):
    """What batches are drawn from."""

    crop: int  # luma samples a side

    def sample(self, generator: np.random.Generator, count: int) -> Batch:
        """So many samples."""
        ...


def batches(samples: Samples, count: int, seed: int) -> Iterator[Batch]:
    """Batches of so many samples. A thread stays ahead, but not where a GPU cuts them at once."""
    generator = np.random.default_rng(seed)
    batch = samples.sample(generator, count)
    yield batch
    while batch.frames.is_cuda:
        yield samples.sample(generator, count)
    ready: queue.Queue[Batch | Exception] = queue.Queue(4)

    def work() -> None:
        try:
            while True:
                ready.put(samples.sample(generator, count))
        except Exception as error:
            ready.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        made = ready.get()
        if isinstance(made, Exception):
            raise made
        yield made
