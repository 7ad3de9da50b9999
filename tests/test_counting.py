"""What is counted is what a range coder writes."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bcodec.codec import Decoded, FrameCodec
from bcodec.coding import TABLES
from bcodec.entropy.coder import RangeReader
from bcodec.entropy.signs import Groups
from bcodec.networks import Networks
from bcodec.train.clips import Clip, Sampler
from bcodec.train.counting import Symbols, count_symbols

FRAMES = 3


def sampler() -> Sampler:
    """Crops of a soft texture that moves, [4, 80, 96]."""
    noise = torch.randint(0, 256, (1, 1, 84, 112), generator=torch.Generator().manual_seed(0)).float()
    canvas = (torch.nn.functional.avg_pool2d(noise, 5, 1)[0, 0] - 128) * 4 + 128
    y = torch.stack([canvas[:, 3 * time :][:, :96] for time in range(4)]).clamp(0, 255).byte()
    return Sampler([Clip(y, torch.stack([y[:, ::2, ::2], y[:, 1::2, 1::2]], 1))], 64, FRAMES, {1: 1.0})


def counted(networks: Networks, seed: int = 0, groups: int = 1) -> Symbols:
    return count_symbols(networks, sampler(), np.random.default_rng(seed), groups)


class Recorder(RangeReader):
    """A reader that notes, for each table, the symbols that it reads."""

    def __init__(self, codec: FrameCodec, payload: bytes, seen: Symbols) -> None:
        super().__init__(codec.tables, payload)
        self.seen = seen

    def transfer(
        self, indices: npt.NDArray[Any], symbols: npt.NDArray[Any] | None, groups: Groups | None = None
    ) -> npt.NDArray[np.int32]:
        read: npt.NDArray[np.int32] = super().transfer(indices, symbols, groups)
        for table, symbol in zip(indices.tolist(), read.tolist(), strict=True):
            if table % TABLES:
                self.seen[table][symbol] += 1
        return read


def test_the_symbols_counted_are_those_that_a_reader_finds_in_the_bytes(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Symbols = [Counter() for _ in tiny_networks.tables]
    frames = []
    code = FrameCodec.code

    def coded(self: FrameCodec, symbols: Any, header: Any, dpb: Any, encoder: Any) -> Decoded:
        """What the codec gives, decoded at once from the bytes."""
        ours = code(self, symbols, header, dpb, encoder)
        theirs = code(self, Recorder(self, symbols.payload, seen), header, dpb)
        assert torch.equal(ours.y_hat, theirs.y_hat)
        frames.append(header)
        return ours

    monkeypatch.setattr(FrameCodec, "code", coded)
    assert counted(tiny_networks, groups=2) == seen
    assert len(frames) == 2 * FRAMES
    assert sum(count.total() for count in seen) > 1000


def test_a_seed_counts_the_same_each_time_and_another_seed_others(tiny_networks: Networks) -> None:
    first, again, other = (counted(tiny_networks, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
