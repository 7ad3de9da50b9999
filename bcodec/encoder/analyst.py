"""The encoder that networks ask: everything that is decided about one frame while it is coded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bcodec.coding import ExpectedMotion, Reference
from bcodec.encoder.blocksizes import CheapestSizes
from bcodec.encoder.effort import PLAIN, Effort
from bcodec.encoder.filters import NOTHING, Fitted, fit_filters
from bcodec.encoder.motion.choose import PayingMotion
from bcodec.encoder.motion.find import find_motion
from bcodec.fixedpoint import LATENT, snap
from bcodec.frame import DEPTH, Frame, Plane
from bcodec.networks.bframe import BFrameCodec
from bcodec.networks.intra import IntraCodec


class Analyst:
    """Decides about a picture, or a batch of them, that `codec` is to code; see bcodec.coding.Encoder.

    `source` [B, 6, H/2, W/2]; `effort` is how much is tried. Without `original`, the picture as it was, there
    are no loop filters; `worth` are the bits that a squared error of one 8-bit level is worth in a sample of
    Y, U and V. Once the latent is coded, it may be asked for a better one of the same picture.
    """

    def __init__(
        self,
        codec: IntraCodec | BFrameCodec,
        source: Tensor,
        effort: Effort = PLAIN,
        original: Frame | None = None,
        worth: Sequence[float] = (),
    ) -> None:
        self.codec, self.source, self.effort = codec, source, effort
        self.original, self.worth = original, worth
        self.latent: Tensor | None = None  # what the analysis network made of the picture, once it is known
        self.correction: Tensor | None = None  # to it, [B, Y, H/16, W/16]

    def find_motion(
        self, past: Reference, future: Reference, expected: ExpectedMotion, qp: Tensor
    ) -> tuple[Tensor, PayingMotion]:
        """The shifts of the picture to code, [B, 4, 1, 1] in luma samples, and the motion beside them."""
        if not isinstance(self.codec, BFrameCodec):
            raise TypeError("an I frame has no motion")
        with torch.autocast(qp.device.type, enabled=False):
            return find_motion(self.codec, past, future, expected, qp, self.source, self.effort)

    def choose_sizes(self, y: Tensor, prior: Tensor, qstep: tuple[Tensor, Tensor]) -> CheapestSizes:
        """Block sizes for a latent [B, Y, H/16, W/16]."""
        self.latent = y
        if self.correction is not None:
            y = snap(y + self.correction, LATENT)
        return CheapestSizes(self.codec.prior, y, prior, qstep)

    @torch.no_grad()
    def correct(self, y_hat: Tensor, picture: Tensor) -> None:
        """Ask for another latent, which leaves out what the decoder adds by itself.

        y_hat and `picture` [B, 6, H/2, W/2] are what was decoded: behind the inverse transform stand a
        network and filters. What is wrong at their end, transformed, is what y_hat should have been more.
        """
        assert self.latent is not None
        self.correction = y_hat + self.codec.analysis.linear(self.source - picture) - self.latent

    def fit_filters(self, planes: Sequence[Plane], steps: Sequence[float]) -> list[Fitted]:
        """Filters for the decoded planes Y, U, V; none where they are not wanted."""
        if self.original is None:
            return [NOTHING] * len(planes)
        return fit_filters(planes, steps, self.original.at_depth(DEPTH).planes, self.worth)
