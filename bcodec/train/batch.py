"""A batch: samples that are trained on together."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bcodec.frame import LEVELS, MIDDLE
from bcodec.train.recorded import Record


class Batch(NamedTuple):
    """Samples that take the same steps: as many frames, references at the same distances."""

    frames: Tensor  # uint8 [B, T, 6, H/2, W/2]
    spacing: int = 1  # of the frames, in those of the video
    tail: bool = False  # whether the last frame refers to the past alone (B*)
    motion: Record | None = None  # [B, T, ...], of frames that were recorded in this place of a GOP

    @property
    def kind(self) -> tuple[object, ...]:
        """What of the batch decides which operations a step is made of."""
        return (*self.frames.shape, self.spacing, self.tail, self.motion is not None)

    @property
    def tensors(self) -> list[Tensor]:
        """All its tensors, [B, ...]."""
        return [self.frames, *(self.motion or ())]

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device."""
        motion = self.motion and self.motion.to(device)
        return self._replace(frames=self.frames.to(device), motion=motion)


def to_planes(y: Tensor, uv: Tensor) -> Tensor:
    """uint8 y [.., H, W] and uv [.., 2, H/2, W/2] as networks see pictures, [.., 6, H/2, W/2]."""
    return torch.cat([F.pixel_unshuffle(y[..., None, :, :], 2), uv], -3)


def frame_of(batch: Batch, index: int) -> Tensor:
    """One frame of each sample, float32 [B, 6, H/2, W/2], (p - 128) / 64."""
    levels = batch.frames[:, index].float().contiguous(memory_format=torch.channels_last)
    return (levels - MIDDLE) / LEVELS
