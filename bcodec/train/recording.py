"""Recording the motion of data: by the search of the encoder, and with the networks that stand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bcodec.networks import Networks
from bcodec.networks.latent import QPS
from bcodec.train.batch import Batch, frame_of, to_planes
from bcodec.train.clips import Sampler
from bcodec.train.losses import cascade_loss, symbol_costs
from bcodec.train.pack import Excerpt, Pack
from bcodec.train.recorded import Record, Recorder


@torch.no_grad()
def record_motion(net: Networks, batch: Batch) -> Record:
    """The motion [B, T, ...] that the networks code the batch's GOPs with; 0 of frames without any."""
    recorders: dict[int, Recorder] = {}

    def choose_recorder(net: Networks, batch: Batch, poc: int) -> Recorder:
        recorders[poc] = Recorder(net.bframe, frame_of(batch, poc))
        return recorders[poc]

    cascade_loss(net, symbol_costs(net), batch, choose_recorder)
    records = {poc: recorder.record for poc, recorder in recorders.items()}
    nothing = Record(*(torch.zeros_like(part) for part in records[1]))
    whole = [records.get(poc, nothing) for poc in range(batch.frames.shape[1])]
    return Record(*(torch.stack(parts, 1) for parts in zip(*whole, strict=True)))


def spread_qps(generator: np.random.Generator, count: int) -> list[int]:
    """So many qps, one from each part of their range."""
    edges = np.linspace(0, QPS, count + 1)
    return [int(generator.uniform(low, high)) for low, high in pairwise(edges)]


def record_excerpt(net: Networks, excerpt: Excerpt, qps: list[int]) -> Excerpt:
    """The excerpt with its motion at some qps."""
    planes = to_planes(excerpt.y, excerpt.uv)
    frames = planes.expand(len(qps), *planes.shape)
    batch = Batch(frames, torch.tensor(qps), excerpt.spacing, excerpt.tail)
    return excerpt._replace(qps=qps, motion=record_motion(net, batch))


def cut_excerpts(sampler: Sampler, generator: np.random.Generator) -> Iterator[Excerpt]:
    """Excerpts as the sampler draws them, for ever."""
    while True:
        spacing, (clip,) = sampler.draw(generator, 1)
        y, uv = sampler.cut(generator, clip, spacing)
        yield Excerpt(y, uv, spacing, bool(generator.random() < sampler.tails))


def record_pack(net: Networks, pack: Pack, generator: np.random.Generator, count: int, batch: int) -> None:
    """Record the motion of all excerpts of a pack anew, at `count` qps each, so many excerpts at once."""
    pack.qps = torch.tensor([spread_qps(generator, count) for _ in pack.spacings])
    kinds = list(zip(pack.spacings, pack.tails, strict=True))
    parts: list[Tensor] = []
    for spacing, tail in sorted(set(kinds)):
        alike = torch.tensor([i for i, kind in enumerate(kinds) if kind == (spacing, tail)])
        for some in torch.split(alike, batch):
            here = some.to(pack.y.device)
            frames = to_planes(pack.y[here], pack.uv[here])
            for place in range(count):
                qp = pack.qps[some, place].to(here.device)
                record = record_motion(net, Batch(frames, qp, spacing, tail))
                parts = parts or [p.new_zeros(len(kinds), count, *p.shape[1:]) for p in record]
                for whole, part in zip(parts, record, strict=True):
                    whole[here, place] = part
    pack.motion = Record(*parts)
