"""Symbol coders: the answers to `symbols.code(y, mean, scale, step)`, the third in bcodec.entropy.meter.

| coder       | y given | does                                                     | returns               |
|-------------|---------|----------------------------------------------------------|-----------------------|
| RangeWriter | yes     | rounds, writes the symbol                                | the dequantized value |
| RangeReader | None    | reads the symbol                                         | the dequantized value |
| RateMeter   | yes     | rounds with a straight-through gradient, adds up bits    | the dequantized value |

The range coder is constriction's. Each of the 64 scale indices has a table of integer frequencies for each
family of distributions, made once when weights are exported and shipped with them; index 0 means that the
symbol is zero and nothing is coded. The last entry of a table is an escape, behind which the symbol follows
in sixteen plain bits.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import constriction
import numpy as np
import torch
from torch import Tensor

from bcodec.entropy.distributions import FAMILIES, LOGISTIC
from bcodec.errors import EntropyError
from bcodec.fixedpoint import LATENT, snap

TABLES = 64  # of each family
REACH = 13  # deviations, times that of the logistic distribution's scale, beyond which a symbol escapes
LONGEST = 2200  # symbols on either side of zero in a table
MAGNITUDES = 16  # of symbols that may be taken nearer to zero
PRIOR = 300.0  # symbols that a table made of its family weighs against symbols counted
TOTAL = 1 << 20  # sum of the frequencies of a table
SLACK = 64  # bits of the range coder's state, which a payload may do without
TOO_SHORT = "the payload ends before its last symbol"
ESCAPE_RANGE = 1 << 15  # escaped symbols lie in [-2^15, 2^15)


def scales(smallest: float, ratio: float) -> Tensor:
    """Standard deviations [64] of the tables, in quantization steps."""
    return smallest * ratio ** torch.arange(TABLES, dtype=torch.float64)


def make_tables(smallest: float, ratio: float) -> list[np.ndarray]:
    """Frequency tables, int32 [2 A + 2] with sum 2^20: symbols -A..A, then the escape; 64 for each family.

    The distributions are integrated over each symbol; the range A leaves out about 2^-18 of the probability.
    """
    tables = []
    for family in FAMILIES:
        widest = max(multiple for _, multiple in family)
        for sigma in scales(smallest, ratio).tolist():
            reach = min(max(1, math.ceil(REACH * LOGISTIC * sigma * widest)), LONGEST)
            edges = np.arange(-reach, reach + 2) - 0.5
            cdf = np.zeros(len(edges))
            for share, multiple in family:
                cdf += share * _logistic(edges / (LOGISTIC * sigma * multiple))
            mass = np.append(np.diff(cdf), 2 * cdf[0])
            frequencies = 1 + np.floor(mass / mass.sum() * (TOTAL - len(mass))).astype(np.int32)
            frequencies[reach] += TOTAL - frequencies.sum()
            tables.append(frequencies)
    return tables


def fit_tables(tables: Sequence[np.ndarray], counts: Sequence[Counter[int]]) -> list[np.ndarray]:
    """Tables nearer to the symbols counted under each, as many of either sign.

    So they know what no family does: how often an encoder that weighs bits against errors takes zero.
    """
    fitted = []
    for table, count in zip(tables, counts, strict=True):
        reach = len(table) // 2 - 1
        seen = np.zeros(len(table))
        for symbol, number in count.items():
            if abs(symbol) <= reach:
                seen[reach + symbol] += number / 2
                seen[reach - symbol] += number / 2
            else:
                seen[-1] += number
        mass = (seen + PRIOR * table / TOTAL) / (seen.sum() + PRIOR)
        frequencies = np.maximum(1, np.round(mass * TOTAL)).astype(np.int32)
        frequencies[reach] += TOTAL - frequencies.sum()
        fitted.append(frequencies)
    return fitted


def _logistic(x: np.ndarray) -> np.ndarray:
    """The logistic distribution's function."""
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))  # type: ignore[no-any-return]


def dequantize(symbol: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    """mean + symbol * step on the latent grid."""
    return snap(mean + symbol * step, LATENT)


def table_of(scale: Tensor) -> Tensor:
    """Table numbers 0..63 for scale indices."""
    return torch.round(scale).clamp(0, TABLES - 1)


def magnitude_bits(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Bits of the magnitudes 0..15 in each table, [N, 16]; what a table leaves out costs an escape."""
    bits = np.full((len(tables), MAGNITUDES), 40.0)
    for row, table in zip(bits, tables, strict=True):
        reach = len(table) // 2 - 1
        inside = -np.log2(table[reach : 2 * reach + 1][:MAGNITUDES] / TOTAL)
        row[: len(inside)] = inside
    return bits


class Tables:
    """The frequency tables as constriction's models. Raises TypeError for anything but integers."""

    def __init__(self, tables: Sequence[np.ndarray]) -> None:
        count = TABLES * len(FAMILIES)
        if len(tables) != count or not all(np.issubdtype(t.dtype, np.integer) for t in tables):
            raise TypeError(f"{count} tables of integers are needed")
        self.reach = np.array([len(t) // 2 - 1 for t in tables])
        self.models = [
            constriction.stream.model.Categorical(t.astype(np.float64) / TOTAL, perfect=False) for t in tables
        ]
        self.byte = constriction.stream.model.Uniform(256)
        self.bits = magnitude_bits(tables)
        # Bits of each letter, at the least: a model gives it up to 2^-23 of probability more than its table.
        self.costs = [-np.log2((t + TOTAL / (1 << 23)) / TOTAL) for t in tables]


def alike(indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(table, positions) for each table that occurs, positions ascending; a family's first codes nothing."""
    order = np.argsort(indices, kind="stable")
    bounds = np.searchsorted(indices[order], np.arange(TABLES * len(FAMILIES) + 1))
    for table, (low, high) in enumerate(itertools.pairwise(bounds)):
        if high > low and table % TABLES:
            yield table, order[low:high]


def _flat(x: Tensor, shape: torch.Size, where: Tensor | None) -> Tensor:
    """The values of `x`, expanded to `shape`, in coding order: position by position, channels fastest."""
    values = x.expand(shape).permute(0, 2, 3, 1).reshape(-1)
    return values if where is None else values[where]


def _unflat(values: Tensor, shape: torch.Size, where: Tensor | None) -> Tensor:
    """The inverse of `_flat`; zero where nothing was coded."""
    if where is not None:
        values = torch.zeros(shape.numel(), device=values.device).index_copy_(0, where, values)
    batch, channels, height, width = shape
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


class _RangeCoder:
    """What writer and reader share: which symbols are coded, in what order, and what they mean."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def choose(
        self, ratio: Tensor, step: Tensor, indices: np.ndarray, shape: torch.Size, where: Tensor | None
    ) -> np.ndarray:
        """Symbols for the latent's distances from its mean, in steps."""
        raise NotImplementedError

    def transfer(self, indices: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def code(
        self,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
    ) -> Tensor:
        """See bcodec.networks.latent.SymbolCoder; a batch of one."""
        shape = mean.shape
        where = None if mask is None else _flat(mask, shape, None).nonzero().view(-1)
        offset = TABLES * (torch.arange(shape[1], device=scale.device) < heavy).view(1, -1, 1, 1)
        mean, scale, step = (_flat(x, shape, where) for x in (mean, table_of(scale) + offset, step))
        indices = scale.to(torch.uint8).cpu().numpy()
        symbols = None
        if y is not None:
            ratio = (_flat(y.float(), shape, where) - mean) / step
            symbols = self.choose(ratio, step, indices, shape, where)
        decoded = torch.from_numpy(self.transfer(indices, symbols)).to(mean.device)
        return _unflat(dequantize(decoded.float(), mean, step), shape, where)


class RangeWriter(_RangeCoder):
    """Writes symbols; `payload` has the bytes of what was coded.

    `shown` [1, 1, H, W] bool: latents of that size are given no symbols where it is False (padding).
    `worth` [1, C, 1, 1]: the bits that a squared error of 1 is worth in latents of C channels; there a symbol
    is taken one step nearer to zero where that saves more bits than its error is worth (RDOQ).
    """

    def __init__(self, tables: Tables, shown: Tensor | None = None, worth: Tensor | None = None) -> None:
        super().__init__(tables)
        self.shown, self.worth = shown, worth
        self.encoder = constriction.stream.queue.RangeEncoder()

    def choose(
        self, ratio: Tensor, step: Tensor, indices: np.ndarray, shape: torch.Size, where: Tensor | None
    ) -> np.ndarray:
        """The nearest symbols, none in the padding, thrifty ones where their worth is known."""
        if self.shown is not None and self.shown.shape[2:] == shape[2:]:
            ratio = ratio * _flat(self.shown, shape, where)
        symbols = torch.round(ratio).clamp(-ESCAPE_RANGE, ESCAPE_RANGE - 1)
        nearest: np.ndarray = symbols.to(torch.int32).cpu().numpy()
        if self.worth is None or self.worth.shape[1] != shape[1]:
            return nearest
        places = np.flatnonzero((np.abs(nearest) < MAGNITUDES) & (nearest != 0))
        picked = torch.from_numpy(places).to(ratio.device)
        worth = (_flat(self.worth, shape, where)[picked] * step[picked].square()).cpu().numpy()
        size, exact = np.abs(nearest[places]), ratio[picked].abs().cpu().numpy()
        saved = self.tables.bits[indices[places], size] - self.tables.bits[indices[places], size - 1]
        nearest[places] -= np.sign(nearest[places]) * (saved > worth * (2 * (exact - size) + 1))
        return nearest

    def transfer(self, indices: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """Write `symbols` and return those that a reader will see (zero where nothing is coded)."""
        if symbols is None:
            raise TypeError("a writer needs the latent")
        coded = np.where(indices % TABLES > 0, symbols, 0).astype(np.int32)
        escapes = []
        for table, positions in alike(indices):
            reach = int(self.tables.reach[table])
            values = coded[positions]
            outside = np.abs(values) > reach
            if outside.any():
                escapes.append(values[outside])
            letters = np.where(outside, 2 * reach + 1, values + reach).astype(np.int32)
            self.encoder.encode(letters, self.tables.models[table])
        if escapes:
            plain = np.concatenate(escapes) + ESCAPE_RANGE
            octets = np.stack([plain >> 8, plain & 255], 1).reshape(-1).astype(np.int32)
            self.encoder.encode(octets, self.tables.byte)
        return coded

    @property
    def payload(self) -> bytes:
        """The range-coded bytes, as few as a reader needs that takes zeros to follow."""
        return fewest_bytes(self.encoder)


def fewest_bytes(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    """What a range encoder has written: 32-bit words, big-endian, without the bytes that could be anything.

    At the end of its words may stand any number of 64 bits in [low, low + width): here the one that ends with
    the most zeros, which are left out.
    """
    words = encoder.get_compressed().astype(">u4").tobytes()
    written, (low, width) = encoder.pos()
    start = 4 * written
    before, chosen = int.from_bytes(words[:start]), int.from_bytes(words[start : start + 8].ljust(8, b"\0"))
    if chosen < low:  # the number has overflowed into the words before
        before -= 1
    low += before << 64
    count = next(n for n in range(9) if _round_up(low, 64 - 8 * n) < low + width)
    return _round_up(low, 64 - 8 * count).to_bytes(start + 8)[: start + count]


def _round_up(value: int, bits: int) -> int:
    """The next number whose last bits are zero."""
    return -(-value >> bits) << bits


class RangeReader(_RangeCoder):
    """Reads symbols from a payload; raises EntropyError if it ends too early.

    Behind the end the range coder would read on, for ever. Symbols that cannot have been written in so few
    bytes are refused: no large picture is computed for a small payload.
    """

    def __init__(self, tables: Tables, payload: bytes) -> None:
        super().__init__(tables)
        words = np.frombuffer(payload + bytes(8 + -len(payload) % 4), ">u4").astype(np.uint32)
        self.decoder = constriction.stream.queue.RangeDecoder(words)
        self.spare = 8.0 * len(payload) + SLACK  # bits that symbols have not used

    def transfer(self, indices: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        """Read the symbols."""
        decoded = np.zeros(len(indices), np.int32)
        escaped = []
        try:
            for table, positions in alike(indices):
                reach = int(self.tables.reach[table])
                letters = self.decoder.decode(self.tables.models[table], len(positions))
                self._use(float(self.tables.costs[table][letters].sum()))
                decoded[positions] = letters - reach
                escaped.append(positions[letters > 2 * reach])
            places = np.concatenate(escaped) if escaped else np.zeros(0, np.int64)
            if len(places):
                self._use(16 * len(places))
                plain = self.decoder.decode(self.tables.byte, 2 * len(places)).reshape(-1, 2)
                decoded[places] = (plain[:, 0] << 8) + plain[:, 1] - ESCAPE_RANGE
        except AssertionError as error:
            raise EntropyError(TOO_SHORT) from error
        return decoded

    def _use(self, bits: float) -> None:
        self.spare -= bits
        if self.spare < 0:
            raise EntropyError(TOO_SHORT)
