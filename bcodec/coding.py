"""What the networks are handed: a coder of symbols and, when encoding, an encoder that decides.

The networks know no bitstream. They call `symbols.code(part, y, mean, scale, step)`, and the coder that
answers decides whether that encodes, decodes or measures:

| coder       | y given | does                                                     | returns               |
|-------------|---------|----------------------------------------------------------|-----------------------|
| RangeWriter | yes     | chooses a symbol, writes it                              | the dequantized value |
| RangeReader | None    | reads the symbol                                         | the dequantized value |
| RateMeter   | yes     | rounds with a straight-through gradient, adds up bits    | the dequantized value |
| Rounder     | either  | rounds, or takes the mean                                | the dequantized value |

In the same way they ask an `Encoder` for what a decoder reads: motion, block sizes, filters. A decoder has
none, and what an encoder answers is never more than the `y` of a symbol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from bcodec.fixedpoint import LATENT, snap
from bcodec.frame import Plane

# The steps in which a latent y is coded: each codes, at every position, one of so many channels in a row.
PRIOR_STEPS = 4
LATENT_PITCH = 16  # luma samples between the positions of a latent
TABLES = 64  # frequency tables of a family, one for each scale index
SMALLEST_SCALE = 0.1  # deviation of table 0, in quantization steps: what has it is not coded but zero
SCALE_RATIO = 1.1355  # between the deviations of neighbouring tables

Number = TypeVar("Number", float, Tensor)


class Part(Enum):
    """What a symbol is part of, in the order in which a frame is coded."""

    SHIFTS = auto()  # of the whole picture, towards either reference
    PRECISION = auto()  # of the vectors
    MOTION_HYPER = auto()  # the hyper-latent of motion
    MOTION = auto()  # vectors, preferences and flags, [B, C, H/16, W/16]
    HYPER = auto()  # the hyper-latent of the content
    SIZES = auto()  # flags of block sizes, [B, 1, H/16, W/16]
    CONTENT = auto()  # the latent y, [B, Y, H/16, W/16]
    FILTERS = auto()  # of the loop filter


OF_MOTION = frozenset({Part.SHIFTS, Part.PRECISION, Part.MOTION_HYPER, Part.MOTION})
PLACED = frozenset({Part.MOTION, Part.SIZES, Part.CONTENT})  # a position is a block of 16x16 of the picture


class Picked(NamedTuple):
    """Which symbols of a latent: those of some channels in some rows and columns."""

    channels: slice
    rows: slice
    columns: slice

    def of(self, field: Tensor) -> Tensor:
        """Of what broadcasts to the latent [B, C, H, W] what broadcasts to them, [B, c, h, w]."""
        for axis, some in enumerate(self, 1):
            if field.shape[axis] > 1:
                field = field[(slice(None),) * axis + (some,)]
        return field


class SymbolCoder(Protocol):
    """What a network asks of a symbol coder."""

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
        """Code (y - mean) / step, rounded, with the table of index `scale`; return the dequantized value.

        y (None when decoding), mean [B, C, H, W] on the latent grid; scale [B, C, H, W] = index 0..63, not
        yet rounded; step [B, C, 1, 1]; mask, if given, [1, C, H, W] bool: where to code, 0 is returned
        elsewhere. The symbols of the first `heavy` channels are mostly zero, and far from it otherwise.

        With a mask that has, everywhere, one of each PRIOR_STEPS channels, mean, scale and step may be given
        for these alone, [B, C / PRIOR_STEPS, H, W], and so is then what is returned.

        With `picked` all are given for these symbols of a latent alone, [B, c, h, w].
        """
        ...


def dequantize(symbol: Tensor, mean: Tensor, step: Tensor) -> Tensor:
    """mean + symbol * step on the latent grid, all of one shape or broadcast to it ([N], [B, C, H, W])."""
    return snap(mean + symbol * step, LATENT)


class Quarter:
    """What a mask [1, C, H, W] picks of a latent, everywhere one of each PRIOR_STEPS channels.

    No host need wait to know where it is.
    """

    def __init__(self, mask: Tensor, batch: int) -> None:
        self.shape = torch.Size((batch, *mask.shape[1:]))
        self.mask = mask.reshape(1, -1, PRIOR_STEPS, *mask.shape[2:])
        number = self.mask.to(torch.uint8).argmax(2, keepdim=True)
        self.number = number.expand(batch, -1, -1, -1, -1)

    def of(self, x: Tensor) -> Tensor:
        """[B, C, H, W], or what broadcasts to it -> [B, C / 4, H, W]."""
        batch, channels, height, width = self.shape
        each = x.expand(self.shape).reshape(batch, channels // PRIOR_STEPS, PRIOR_STEPS, height, width)
        return each.gather(2, self.number).squeeze(2)

    def back(self, x: Tensor) -> Tensor:
        """[B, C / 4, H, W] -> [B, C, H, W], 0 elsewhere."""
        return torch.where(self.mask, x[:, :, None], 0.0).flatten(1, 2)


class Rounder:
    """A symbol coder that writes and measures nothing: it rounds; without a latent it takes the mean."""

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
        """See SymbolCoder; [B, C, H, W]."""
        own = None if mask is None or mask.shape[1] == mean.shape[1] else Quarter(mask, len(mean))
        y = y if y is None or own is None else own.of(y)
        y_hat = mean.clone() if y is None else mean + torch.round((y.float() - mean) / step) * step
        y_hat = snap(y_hat, LATENT)
        return y_hat if mask is None or own is not None else y_hat * mask


# ---------------------------------------------------------------- scale indices


def scale_index(log_deviation: Number) -> Number:
    """The index of the table for the natural logarithm of a deviation in quantization steps, not rounded."""
    return (log_deviation - math.log(SMALLEST_SCALE)) / math.log(SCALE_RATIO)


def nearest_table(deviation: float) -> float:
    """The scale index, whole, of the table nearest to a deviation in quantization steps."""
    return float(round(scale_index(math.log(deviation))))


def deviation(index: Tensor) -> Tensor:
    """Deviations of tables' symbols, in quantization steps, for scale indices [..] as a coder takes them."""
    return SMALLEST_SCALE * torch.exp(math.log(SCALE_RATIO) * index.clamp(0, TABLES - 1))


# ---------------------------------------------------------------- what passes between networks and encoder


class CollocatedMotion(NamedTuple):
    """The motion that a frame was coded with: what later frames between it and its references expect."""

    past: Tensor  # [B, 2, H/8, W/8] = (x, y), luma samples
    future: Tensor
    distances: tuple[int, int]  # in frames, to where the fields point


class Reference(NamedTuple):
    """A decoded picture with everything that later frames take from it."""

    picture: Tensor  # [B, 6, H/2, W/2], on the pixel grid
    quarter_pel: Tensor  # [B, 1, 4H, 4W], luma interpolated to quarter samples, 0..255.75 by 1/4
    features: tuple[Tensor, Tensor, Tensor]  # [B, C_l, ..] at 1/4, 1/8, 1/16
    latent: Tensor  # [B, C_3, H/16, W/16], of y_hat
    qp: Tensor  # [B]
    motion: CollocatedMotion | None = None  # of a B frame


class ExpectedMotion(NamedTuple):
    """Motion that the decoder expects before anything is coded."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    mirror: float  # what straight motion towards the past is times to be motion towards the future


class Prediction(NamedTuple):
    """Motion that the decoder predicts from its references: fields, and how far the two differ along them."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    mismatch: Tensor  # [B, 1, H/8, W/8], mean absolute difference in 8-bit units
    mirror: float  # as of ExpectedMotion


Latents = tuple[Tensor, Tensor]  # of motion towards past and future, [B, C, H/16, W/16] on the latent grid


class FoundMotion(Protocol):
    """The motion that an encoder has found for a frame, and what of it pays."""

    past: Tensor  # [B, 2, H/8, W/8], luma samples
    future: Tensor
    preference: Tensor  # [B, 1, H/8, W/8], -1 (take the future) to 1 (take the past)
    flags: Tensor  # [B, 2, H/16, W/16], 0 or 1: vectors of whole samples, prediction by the mean
    precision: Tensor  # [B], of vectors: 0 whole, 1 half, 2 quarter samples

    def choose(
        self,
        latents: Latents,
        prediction: Prediction,
        direction: int,
        segment: int,
        mean: Tensor,
        scale: Tensor,
        step: Tensor,
    ) -> Tensor:
        """The latent to code of a direction (0 past, 1 future), [B, C, H/16, W/16], right in this segment.

        mean, scale and step as the symbol coder gets them. The flags in `latents` become those chosen.
        """
        ...


class ChosenSizes(Protocol):
    """The block sizes that an encoder chooses for a frame while they are coded."""

    def flag(self, number: int, mean: Tensor, index: Tensor) -> Tensor:
        """Flag 0 or 1 (is the block divided) or 2 (into sixteen), 0 or 1, [B, 1, H/16, W/16].

        Knowing that it will be coded with this mean and scale index, of the same shape.
        """
        ...

    def turned(self, size: Tensor) -> Tensor:
        """The latent to code, [B, Y, H/16, W/16], its blocks of the sizes [B, 1, H/16, W/16]."""
        ...


class Encoder(Protocol):
    """What a network asks of an encoder: the picture, and what is to be decided about it."""

    source: Tensor  # [B, 6, H/2, W/2], as bcodec.frame.to_tensor gives it

    def find_motion(
        self, past: Reference, future: Reference, expected: ExpectedMotion, qp: Tensor
    ) -> tuple[Tensor, FoundMotion]:
        """The shifts of the picture to code, [B, 4, 1, 1] in luma samples, and the motion beside them."""
        ...

    def choose_sizes(self, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> ChosenSizes:
        """Block sizes for a latent [B, Y, H/16, W/16], with the features [B, F, H/16, W/16] of its prior.

        qstep: quantization steps and scale offsets, [B, Y, 1, 1].
        """
        ...

    def fit_filters(self, planes: Sequence[Plane], steps: Sequence[float]) -> list[tuple[int, Tensor]]:
        """For the decoded planes Y, U, V: which shape of filter, and its shares [classes, width].

        `steps` are the planes' quantization steps, in ten-bit levels as the planes.
        """
        ...
