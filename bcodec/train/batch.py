"""A batch: samples that are trained on together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.frame import LEVELS, MIDDLE
from bcodec.train.recorded import Record

Stats = dict[str, Tensor]  # what the log tells of a step, []


class Batch(NamedTuple):
    """Samples that take the same steps: as many frames, references at the same distances."""

    frames: Tensor  # uint8 [B, T, 6, H/2, W/2]
    qp: Tensor  # int64 [B]
    spacing: int = 1  # of the frames, in those of the video
    tail: bool = False  # whether the last frame refers to the past alone (B*)
    motion: Record | None = None  # [B, T, ...], of frames that were recorded in this place of a GOP

    @property
    def kind(self) -> tuple[object, ...]:
        """What of the batch decides which operations a step is made of."""
        return (*self.frames.shape, self.spacing, self.tail, self.motion is not None)

    @property
    def searches(self) -> bool:
        """Whether motion has to be found while the batch is coded."""
        return self.motion is None and self.frames.shape[1] > 1

    @property
    def pixels(self) -> int:
        """Luma pixels that are coded with gradients: of all frames but the references at both ends."""
        samples, frames, _, height, width = self.frames.shape
        coded = max(frames - 2 + self.tail, 1)
        return samples * coded * 4 * height * width

    @property
    def tensors(self) -> list[Tensor]:
        """All its tensors, [B, ...]."""
        return [self.frames, self.qp, *(self.motion or ())]

    def each(self, do: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with something done to all its tensors, [B, ...]."""
        motion = self.motion and Record(*map(do, self.motion))
        return self._replace(frames=do(self.frames), qp=do(self.qp), motion=motion)


def to_planes(y: Tensor, uv: Tensor) -> Tensor:
    """uint8 y [.., H, W] and uv [.., 2, H/2, W/2] as networks see pictures, [.., 6, H/2, W/2]."""
    return torch.cat([F.pixel_unshuffle(y[..., None, :, :], 2), uv], -3)


def frame_of(batch: Batch, index: int) -> Tensor:
    """One frame of each sample, float32 [B, 6, H/2, W/2], (p - 128) / 64."""
    levels = batch.frames[:, index].float().contiguous(memory_format=torch.channels_last)
    return (levels - MIDDLE) / LEVELS
