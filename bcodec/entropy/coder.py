"""The range coder, either way: constriction's, with the tables of the weights.

Of all latents the symbols are coded position by position, grouped by table: first magnitudes, then signs. A
symbol beyond its table is an escape, behind all which it follows in sixteen plain bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import constriction
import numpy as np
import torch
from torch import Tensor

from bcodec.coding import TABLES, Part, Picked, dequantize
from bcodec.entropy.signs import Groups
from bcodec.entropy.tables import Tables
from bcodec.errors import EntropyError

SLACK = 64  # bits of the range coder's state, which a payload may do without
TOO_SHORT = "the payload ends before its last symbol"
AT_HIGH_RATES = 6 / math.log(2)  # bits that a squared error of one step is worth there
ESCAPE_RANGE = 1 << 15  # escaped symbols lie in [-2^15, 2^15)


def table_of(scale: Tensor) -> Tensor:
    """Table numbers 0..63 for scale indices [..]."""
    return torch.round(scale).clamp(0, TABLES - 1)


def alike(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables that occur [T], how often [T], and where [N]: for each in turn its positions, ascending.

    A family's first codes nothing, and is left out.
    """
    coded = np.flatnonzero((indices & TABLES - 1) != 0)  # a power of two; of bools, it takes half the time
    tables = indices[coded]
    counts = np.bincount(tables, minlength=1)
    occurring = np.flatnonzero(counts)
    return occurring, counts[occurring], coded[np.argsort(tables, kind="stable")]


def by_table(indices: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(table, positions) for each table that occurs and codes something, positions ascending."""
    tables, counts, places = alike(indices)
    return zip(tables.tolist(), np.split(places, np.cumsum(counts)[:-1]), strict=False)


class CodingOrder:
    """The symbols [N] that a call codes of a latent: position by position, channels fastest.

    They are those at the places `where` [N] among all of `shape` [1, C, H, W] (None: everywhere). Those
    `picked` of a latent are all of their own `shape`.
    """

    def __init__(self, shape: torch.Size, where: Tensor | None = None, picked: Picked | None = None) -> None:
        self._shape, self._where, self._picked = shape, where, picked

    def of(self, x: Tensor) -> Tensor:
        """The values [N] of what broadcasts to the shape."""
        values = x.expand(self._shape).permute(0, 2, 3, 1).reshape(-1)
        return values if self._where is None else values[self._where]

    def of_latent(self, x: Tensor) -> Tensor:
        """The values [N] of what broadcasts to the latent."""
        return self.of(x if self._picked is None else self._picked.of(x))

    def back(self, values: Tensor) -> Tensor:
        """The inverse of `of`; zero where nothing was coded."""
        if self._where is not None:
            everything = torch.zeros(self._shape.numel(), device=values.device)
            values = everything.index_copy_(0, self._where, values)
        batch, channels, height, width = self._shape
        return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _signed(sizes: np.ndarray, groups: Groups | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of signs that are written, those of signs that magnitudes [N] tell, and which are negative."""
    places = np.flatnonzero(sizes)
    if groups is None:
        return places, places[:0], np.zeros(0, bool)
    told, negative = groups.told(sizes)
    return np.setdiff1d(places, told, assume_unique=True), told, negative


class RangeCoder:
    """What writer and reader share: which symbols are coded, in what order, and what they mean."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def transfer(
        self, indices: np.ndarray, symbols: np.ndarray | None, groups: Groups | None = None
    ) -> np.ndarray:
        """Write the symbols [N], or read them, with the tables [N]; return them as a reader does, int32.

        In `groups`, if any, magnitudes tell signs, which are not written.
        """
        raise NotImplementedError

    def worths(self, part: Part, step: Tensor, order: CodingOrder) -> Tensor:
        """Bits that a squared error of one step is worth in each symbol [N], for steps [N].

        As at high rates.
        """
        return torch.full_like(step, AT_HIGH_RATES)

    def choose(
        self, part: Part, ratio: Tensor, worth: Tensor, indices: np.ndarray, order: CodingOrder
    ) -> np.ndarray:
        """The symbols [N], int32, for a latent's distances from its mean in steps [N]: the nearest.

        `worth` and `indices` (of tables) are [N], too.
        """
        symbols = torch.round(ratio).clamp(-ESCAPE_RANGE, ESCAPE_RANGE - 1)
        nearest: np.ndarray = symbols.to(torch.int32).cpu().numpy()
        return nearest

    def code(
        self,
        part: Part,
        y: Tensor | None,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
        mask: Tensor | None = None,
        *,
        heavy: int = 0,
        picked: Picked | None = None,
    ) -> Tensor:
        """See bcodec.coding.SymbolCoder; a batch of one, [1, C, H, W]."""
        shape = mean.shape if mask is None else mask.shape
        alone = mean.shape != shape  # of only what is coded
        where = None
        if mask is not None and not (alone and y is None):
            where = CodingOrder(shape).of(mask).nonzero().view(-1)
        if heavy:
            is_heavy = torch.arange(shape[1], device=scale.device) < heavy
            scale = table_of(scale) + TABLES * is_heavy.view(1, -1, 1, 1)
        order = CodingOrder(shape, where, picked)
        given = CodingOrder(mean.shape) if alone else order
        mean, scale, step = (given.of(x) for x in (mean, scale, step))
        indices = (scale if heavy else table_of(scale)).to(torch.uint8).cpu().numpy()
        groups = Groups(self.tables, indices) if part is Part.CONTENT else None
        symbols = None
        if y is not None:
            ratio = (order.of(y.float()) - mean) / step
            worth = self.worths(part, step, order)
            symbols = self.choose(part, ratio, worth, indices, order)
            if groups:
                groups.agree(symbols, ratio.cpu().numpy(), worth.cpu().numpy())
        decoded = torch.from_numpy(self.transfer(indices, symbols, groups)).to(mean.device)
        return given.back(dequantize(decoded.float(), mean, step))


class RangeWriter(RangeCoder):
    """Writes symbols; `payload` has the bytes of what was coded."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.encoder = constriction.stream.queue.RangeEncoder()

    def transfer(
        self, indices: np.ndarray, symbols: np.ndarray | None, groups: Groups | None = None
    ) -> np.ndarray:
        """Write `symbols` and return those that a reader will see (zero where nothing is coded)."""
        if symbols is None:
            raise TypeError("a writer needs the latent")
        coded = np.where(indices % TABLES > 0, symbols, 0).astype(np.int32)
        reach = self.tables.reach[indices]
        letters = np.minimum(np.abs(coded), reach + 1).astype(np.int32)
        for table, positions in by_table(indices):
            self.encoder.encode(letters[positions], self.tables.models[table])
        escaped = letters > reach
        signed, _, _ = _signed(np.where(escaped, 0, letters), groups)
        self.encoder.encode((coded[signed] < 0).astype(np.int32), self.tables.sign)
        if escaped.any():
            plain = coded[escaped] + ESCAPE_RANGE
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


class RangeReader(RangeCoder):
    """Reads symbols from a payload; raises EntropyError if it ends too early.

    Behind the end the range coder would read on, for ever. Symbols that cannot have been written in so few
    bytes are refused: no large picture is computed for a small payload.
    """

    def __init__(self, tables: Tables, payload: bytes) -> None:
        super().__init__(tables)
        words = np.frombuffer(payload + bytes(8 + -len(payload) % 4), ">u4").astype(np.uint32)
        self.decoder = constriction.stream.queue.RangeDecoder(words)
        self.spare = 8.0 * len(payload) + SLACK  # bits that symbols have not used

    def transfer(
        self, indices: np.ndarray, symbols: np.ndarray | None, groups: Groups | None = None
    ) -> np.ndarray:
        """Read the symbols."""
        decoded = np.zeros(len(indices), np.int32)
        tables, counts, places = alike(indices)
        if not len(tables):
            return decoded
        try:
            parts = zip(tables, counts, strict=True)
            letters = np.concatenate([self.decoder.decode(self.tables.models[t], int(n)) for t, n in parts])
            self._use(float(self.tables.costs[np.repeat(self.tables.starts[tables], counts) + letters].sum()))
            decoded[places] = letters
            escaped = places[letters > np.repeat(self.tables.reach[tables], counts)]
            decoded[escaped] = 0
            signed, told, negative = _signed(decoded, groups)
            self._use(len(signed))
            decoded[signed] *= 1 - 2 * self.decoder.decode(self.tables.sign, len(signed))
            decoded[told[negative]] *= -1
            if len(escaped):
                self._use(16 * len(escaped))
                escaped.sort()
                plain = self.decoder.decode(self.tables.byte, 2 * len(escaped)).reshape(-1, 2)
                decoded[escaped] = (plain[:, 0] << 8) + plain[:, 1] - ESCAPE_RANGE
        except AssertionError as error:
            raise EntropyError(TOO_SHORT) from error
        return decoded

    def _use(self, bits: float) -> None:
        self.spare -= bits
        if self.spare < 0:
            raise EntropyError(TOO_SHORT)
