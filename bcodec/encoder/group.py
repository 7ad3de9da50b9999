"""One group of frames coded, in coding order: the anchor that closes it, then all between two anchors.

A frame may be coded more than once: to find the qp of chroma, whether an anchor is to be I or B*, and how
precise and how dear motion should be. Anchors make a chain, for each B* refers to the one before it; what is
between two of them depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import NamedTuple, TypeAlias

import torch

from bcodec.codec import Decoded, FrameCodec
from bcodec.encoder.effort import Effort, Preset
from bcodec.encoder.groups import Group
from bcodec.encoder.qp import chroma_offset, layer_qp
from bcodec.encoder.temporalfilter import Source, filtered
from bcodec.encoder.trial import CodedFrame, Dpb, Task, code_frame, rd_cost
from bcodec.encoder.tuning import Attempt, Tuning
from bcodec.frame import DEPTH
from bcodec.gop import Closing, Slot, intra_anchor
from bcodec.networks import Networks
from bcodec.networks.motion.vectors import usual_precision

_Attempt: TypeAlias = Attempt[tuple[CodedFrame, Decoded]]
_Tuning: TypeAlias = Tuning[tuple[CodedFrame, Decoded]]


class Anchor(NamedTuple):
    """A decoded anchor, and the offset of its chroma's qp, which all frames up to the next I frame share."""

    decoded: Decoded
    chroma_offset: int = 0


class ClosedGroup(NamedTuple):
    """A group whose closing anchor is coded, and what it takes to code the rest of it, on any machine."""

    group: Group
    qp: float
    past: Anchor | None
    coded: CodedFrame
    anchor: Anchor
    effort: Effort  # what suited the anchor, if it is B*


class GroupCoder:
    """Codes groups one after the other: each begins with the anchor that the one before it has ended with.

    `pictures`: the decoded pictures are wanted, too.
    """

    def __init__(self, networks: Networks, preset: Preset, *, pictures: bool = False) -> None:
        self.networks, self.preset, self.pictures = networks, preset, pictures
        self.codec: FrameCodec | None = None

    def close(self, group: Group, qp: float, past: Anchor | None = None) -> ClosedGroup:
        """Code the anchor that closes a group: of the ways that it may close, the one that costs least.

        Without the anchor `past` of the group before it, that is coded as an I frame first.
        """
        codec = self.codec_for(group)
        if past is None and group.past and group.gop_size > 1:
            slot = intra_anchor(group.start - 1, group.gop_size)
            _, past, _ = self._intra(codec, self._task(slot, group.past, qp))
        began = perf_counter()
        first, *others = (group.slots(closing)[0] for closing in group.closings)
        task = self._task(first, group.frame(first), qp, past.chroma_offset if past else 0)
        trials = []
        for slot in (first, *others):
            task = task._replace(slot=slot)
            trials.append(self._intra(codec, task) if slot.intra else self._predicted(codec, task, past))
        coded, anchor, effort = min(trials, key=lambda trial: rd_cost(trial[0], task))
        coded = coded._replace(seconds=perf_counter() - began)
        return ClosedGroup(group.between(), qp, past, coded, anchor, effort)

    def chain(self, parts: Iterable[Group], qp: float, past: Anchor | None = None) -> Iterator[ClosedGroup]:
        """Close one group after the other.

        Groups that do not follow one another begin with an I frame each, which is not among what is coded.
        """
        end = None
        for group in parts:
            closed = self.close(group, qp, past if end in (None, group.start) else None)
            yield closed
            past, end = closed.anchor, group.end + 1

    def rest(self, closed: ClosedGroup) -> Iterator[CodedFrame]:
        """Code the frames of a group between its anchors, in coding order."""
        group, qp, past, _, anchor, effort = closed
        closing = Closing.INTRA if anchor.decoded.motion is None else Closing.TAIL
        slots = group.slots(closing)[1:]
        if not slots:
            return
        codec = self.codec_for(group)
        dpb = Dpb()
        for known in (past, anchor):
            assert known
            codec.keep(known.decoded, dpb)
        tuning: _Tuning | None = Tuning(effort) if self.preset.tuned else None
        for slot in slots:
            began = perf_counter()
            task = self._task(slot, group.frame(slot), qp, anchor.chroma_offset)
            coded, decoded, _ = self._best(codec, dpb, task, tuning)
            codec.keep(decoded, dpb)
            yield self.shown(coded._replace(seconds=perf_counter() - began))

    def shown(self, coded: CodedFrame) -> CodedFrame:
        """The frame without its picture, if that is not wanted."""
        return coded if self.pictures else coded._replace(picture=None)

    def codec_for(self, group: Group) -> FrameCodec:
        """What codes frames of the size of these."""
        first = group.frames[0].frame
        if self.codec is None:
            self.codec = FrameCodec(self.networks, first.width, first.height, first.bit_depth)
        return self.codec

    def _task(self, slot: Slot, source: Source, qp: float, offset: int = 0) -> Task:
        """What to code in a slot: where others refer to it, the picture is filtered.

        That of an I frame goes by the step of B frames, too, which is coarser: it is they that refer to it.
        """
        layer, seen = slot.temporal_layer, source.frame
        own = layer_qp(qp, layer)
        if slot.referenced:
            luma, *_ = self.networks.level_steps(own, own, intra=False)
            seen = filtered(source, luma / (1 << DEPTH - 8), layer)
        return Task(slot, source.frame, seen, own, offset)

    def _intra(self, codec: FrameCodec, task: Task) -> tuple[CodedFrame, Anchor, Effort]:
        """Code an I frame, where others refer to it with the qp that suits its chroma."""
        effort = self.preset.effort
        task = task._replace(chroma_offset=0)
        coded, decoded = code_frame(codec, Dpb(), task, effort)
        assert coded.quality
        offset = chroma_offset(coded.quality) if self.preset.chroma and task.slot.referenced else 0
        if offset:
            task = task._replace(chroma_offset=offset)
            coded, decoded = code_frame(codec, Dpb(), task, effort)
        return coded, Anchor(decoded, offset), effort

    def _predicted(
        self, codec: FrameCodec, task: Task, past: Anchor | None
    ) -> tuple[CodedFrame, Anchor, Effort]:
        """Code a B* frame behind an anchor."""
        assert past
        dpb = Dpb()
        codec.keep(past.decoded, dpb)
        tuning: _Tuning | None = Tuning(self.preset.effort) if self.preset.tuned else None
        coded, decoded, effort = self._best(codec, dpb, task, tuning)
        return coded, Anchor(decoded, task.chroma_offset), effort

    def _best(
        self, codec: FrameCodec, dpb: Dpb, task: Task, tuning: _Tuning | None
    ) -> tuple[CodedFrame, Decoded, Effort]:
        """Code a B frame; of what is tried, that with the least bits and errors, by their worth, is kept."""

        def attempt(effort: Effort) -> _Attempt:
            attempts = []
            for price in self.preset.prices:
                priced = effort._replace(motion_price=effort.motion_price * price)
                coded, decoded = code_frame(codec, dpb, task, priced)
                motion = coded.motion_bits / max(1, 8 * len(coded.packet.payload))
                attempts.append(Attempt(effort, rd_cost(coded, task), motion, (coded, decoded)))
            return min(attempts, key=lambda made: made.cost)

        if tuning:
            coarsest = int(usual_precision(torch.tensor([task.qp])))
            best = tuning.code(task.slot.temporal_layer, coarsest, attempt)
        else:
            best = attempt(self.preset.effort)
        coded, decoded = best.coded
        return coded, decoded, best.effort
