"""Symbols counted as they are coded: what tables, and scales of hyper-latents, are fitted to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bcodec.bitstream import FrameType, PacketHeader
from bcodec.codec import FrameCodec
from bcodec.coding import TABLES, Part, Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.qp import coded_qp, layer_qp
from bcodec.encoder.rdoq import ThriftyWriter
from bcodec.encoder.worth import latent_worth
from bcodec.entropy.coder import by_table
from bcodec.entropy.tables import MAGNITUDES, fit_tables, magnitude_bits, make_tables
from bcodec.gop import intra_anchor, window
from bcodec.networks import Networks
from bcodec.networks.latent import QPS, Hyperprior
from bcodec.networks.weights import HYPER_UNIT
from bcodec.train.batch import frame_of
from bcodec.train.clips import Samples
from bcodec.train.losses import OFFSETS

Symbols = list[Counter[int]]  # for each table
SPREAD = 4.0  # qps that the scales at a qp are fitted to, as a standard deviation


class Counts:
    """The symbols written with each table, and the magnitudes of those of hyper-latents by qp and channel."""

    def __init__(self, net: Networks) -> None:
        self.tables: Symbols = [Counter() for _ in net.tables]
        self.hyper = {
            prior: np.zeros((QPS, len(prior.mean), MAGNITUDES))
            for prior in net.modules()
            if isinstance(prior, Hyperprior)
        }


class _Counter(ThriftyWriter):
    """A writer that counts the symbols that it writes."""

    def __init__(self, codec: FrameCodec, header: PacketHeader, beyond: int, counts: Counts) -> None:
        qp, chroma_qp = (each + beyond for each in codec.qps(header))
        worth = latent_worth(qp, chroma_qp, codec.networks.channels.y, referenced=header.referenced)
        super().__init__(codec.tables, worth=worth)
        self.counts, self.qp = counts, header.qp
        bframe = codec.networks.bframe
        content = codec.networks.intra if header.frame_type is FrameType.I else bframe
        self.priors = {Part.HYPER: content.hyperprior, Part.MOTION_HYPER: bframe.motion.entropy.hyperprior}

    def choose(
        self,
        part: Part,
        ratio: Tensor,
        step: Tensor,
        indices: np.ndarray,
        shape: torch.Size,
        where: Tensor | None,
    ) -> np.ndarray:
        symbols = super().choose(part, ratio, step, indices, shape, where)
        if part in self.priors:
            seen = self.counts.hyper[self.priors[part]][self.qp]
            magnitudes = np.minimum(np.abs(symbols), MAGNITUDES - 1).reshape(-1, len(seen))
            np.add.at(seen, (np.arange(len(seen)), magnitudes), 1)
        return symbols

    def transfer(self, indices: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        written = super().transfer(indices, symbols)
        for table, positions in by_table(indices):
            values, numbers = np.unique(written[positions], return_counts=True)
            self.counts.tables[table].update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        return written


def count_symbols(net: Networks, sampler: Samples, generator: np.random.Generator, groups: int) -> Counts:
    """The symbols of so many groups of frames, coded as they will be."""
    counts = Counts(net)
    for _ in range(groups):
        batch = sampler.sample(generator, 1).each(lambda part: part.to(net.device))
        base, lift = int(generator.integers(QPS)), int(generator.integers(3))
        chroma = OFFSETS[int(generator.integers(len(OFFSETS)))]
        codec = FrameCodec(net, sampler.crop, sampler.crop)
        dpb: DecodedPictureBuffer[Reference] = DecodedPictureBuffer()
        last = batch.frames.shape[1] - 1
        for slot in (intra_anchor(0, last), *window(0, last, last)):
            # In a GOP of 32 these frames would be the lowest layers, or the highest.
            qp = layer_qp(base, slot.temporal_layer + (lift if slot.temporal_layer else 0))
            kind = FrameType.I if slot.intra else FrameType.B
            poc, layer = slot.poc * batch.spacing, slot.temporal_layer
            header = PacketHeader(poc, kind, layer, coded_qp(qp), slot.referenced, chroma)
            analyst = Analyst(net.intra if slot.intra else net.bframe, frame_of(batch, slot.poc))
            counter = _Counter(codec, header, qp - header.qp, counts)
            codec.keep(codec.code(counter, header, dpb, analyst), dpb)
    return counts


def fit(counts: Counts) -> list[np.ndarray]:
    """Tables fitted to the symbols counted; the networks get the scales that suit their hyper-latents."""
    tables = fit_tables(make_tables(), counts.tables)
    fit_hyper_scales(counts, tables)
    return tables


def fit_hyper_scales(counts: Counts, tables: Sequence[np.ndarray]) -> None:
    """Give the hyper-latents of networks the scales, by qp and channel, that their symbols take least with.

    They are in the offsets that a step has for each qp, in sixteenths of a table index.
    """
    bits = magnitude_bits(tables)[1:TABLES]  # with the first nothing can be coded
    apart = np.arange(QPS)[:, None] - np.arange(QPS)
    near = np.exp(-0.5 * (apart / SPREAD) ** 2)
    for prior, seen in counts.hyper.items():
        usual = seen.sum(0, keepdims=True)
        weighed = np.einsum("pq,qcm->pcm", near, seen) + usual / usual.sum(2, keepdims=True)
        best = 1 + np.einsum("pcm,tm->pct", weighed, bits).argmin(2)
        scale = torch.round(prior.scale.detach() * HYPER_UNIT) / HYPER_UNIT
        table, _ = prior.step.integers()
        prior.step.freeze(table, 16 * (torch.from_numpy(best) - 4 * scale))
