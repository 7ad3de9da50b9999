"""Some of the macroblocks of pictures, so that what concerns these is computed for these alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Cells(NamedTuple):
    """Macroblocks: of which picture of a batch, in which row and column, [N] each."""

    picture: Tensor
    row: Tensor
    column: Tensor

    def of(self, field: Tensor) -> Tensor:
        """Of values of all macroblocks, [B, C, H/16, W/16], those of these, [1, C, 1, N]."""
        return field[self.picture, :, self.row, self.column].mT[None, :, None]

    def squares_of(self, field: Tensor) -> Tensor:
        """Of the values of all blocks of 8x8, [B, C, H/8, W/8], those in these, [1, C, 2, 2 N]."""
        return F.pixel_shuffle(self.of(F.pixel_unshuffle(field, 2)), 2)

    def put(self, values: Tensor, field: Tensor) -> None:
        """Write the values of these, [1, C, 1, N], into those of all, [B, C, H/16, W/16]."""
        field[self.picture, :, self.row, self.column] = values[0, :, 0].mT


def all_cells(like: Tensor) -> Cells:
    """All macroblocks of a field [B, C, H/16, W/16]."""
    batch, _, rows, columns = like.shape
    place = torch.arange(batch * rows * columns, device=like.device)
    return Cells(place // (rows * columns), place // columns % rows, place % columns)


def cells_where(mask: Tensor) -> Cells:
    """The macroblocks where a mask [B, 1, H/16, W/16] is true."""
    return Cells(*mask[:, 0].nonzero().unbind(1))
