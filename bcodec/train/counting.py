"""Symbols counted as they are coded: what frequency tables are fitted to."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bcodec.bitstream import FrameType, PacketHeader
from bcodec.codec import FrameCodec
from bcodec.coding import Reference
from bcodec.dpb import DecodedPictureBuffer
from bcodec.encoder.analyst import Analyst
from bcodec.encoder.qp import coded_qp, layer_qp
from bcodec.encoder.rdoq import ThriftyWriter
from bcodec.encoder.worth import frame_worth
from bcodec.entropy.coder import by_table
from bcodec.entropy.signs import Groups
from bcodec.gop import intra_anchor, window
from bcodec.networks import Networks
from bcodec.networks.latent import QPS
from bcodec.train.batch import frame_of
from bcodec.train.clips import Samples
from bcodec.train.losses import OFFSETS

Symbols = list[Counter[int]]  # for each table


class _Counter(ThriftyWriter):
    """A writer that counts, for each table, the symbols that it writes."""

    def __init__(self, codec: FrameCodec, header: PacketHeader, beyond: int, counts: Symbols) -> None:
        super().__init__(codec.tables, worth=frame_worth(codec, header, beyond))
        self.counts = counts

    def transfer(
        self, indices: np.ndarray, symbols: np.ndarray | None, groups: Groups | None = None
    ) -> np.ndarray:
        written = super().transfer(indices, symbols, groups)
        for table, positions in by_table(indices):
            values, numbers = np.unique(written[positions], return_counts=True)
            self.counts[table].update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        return written


def count_symbols(net: Networks, sampler: Samples, generator: np.random.Generator, groups: int) -> Symbols:
    """The symbols, for each table, of so many groups of frames, coded as they will be."""
    counts: Symbols = [Counter() for _ in net.tables]
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
