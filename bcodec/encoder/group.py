"""One group of frames coded, in coding order: the anchor that closes it, then all between two anchors.

A frame may be coded more than once: to find the qp of chroma, whether an anchor is to be I or B*, and how
precise and how dear motion should be. Anchors make a chain, for each B* refers to the one before it; what is
between two of them depends on nothing else. So do, once the frames in their middle are coded, the parts
between these: they can be coded anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from time import perf_counter
from typing import NamedTuple, Self

import torch

from bcodec.codec import Decoded, FrameCodec
from bcodec.dpb import DecodedPictureBuffer, HeldPicture
from bcodec.encoder.effort import Effort, Preset
from bcodec.encoder.groups import Group
from bcodec.encoder.importance import importance, place_offset, telling
from bcodec.encoder.qp import BALANCE, chroma_offset, layer_qp
from bcodec.encoder.temporalfilter import Source, aligned, filtered, filters
from bcodec.encoder.trial import CodedFrame, Dpb, Task, Trial, code_again, code_frame, rd_cost
from bcodec.encoder.tuning import Attempt, Tuning
from bcodec.frame import DEPTH, Frame
from bcodec.gop import Closing, Slot, intra_anchor, parts
from bcodec.networks import Networks
from bcodec.networks.motion.vectors import usual_precision


class Anchor(NamedTuple):
    """A decoded anchor, and the offset of its chroma's qp, which all frames up to the next I frame share."""

    decoded: Decoded
    chroma_offset: int

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """As it was coded at last."""
        return cls(trial.decoded, trial.task.chroma_offset)


class ClosedGroup(NamedTuple):
    """A group whose closing anchor is coded, behind the anchor `past`."""

    group: Group
    qp: float
    past: Anchor | None
    coded: CodedFrame
    anchor: Anchor
    effort: Effort  # what suited the anchor, if it is B*


class Part(NamedTuple):
    """Frames in coding order that refer to each other and to some decoded ones: all that coding them takes.

    `known` are the decoded frames, in coding order; `effort` is what suited others of the group.
    """

    slots: list[Slot]
    sources: list[Source]
    known: list[Decoded]
    qp: float
    chroma_offset: int
    effort: Effort


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
        codec = self.codec_for(group.frames[0].frame)
        if past is None and group.past and group.gop_size > 1:
            slot = intra_anchor(group.start - 1, group.gop_size)
            past = Anchor.of(self._again(codec, self._intra(codec, self._task(slot, group.past, qp))))
        began = perf_counter()
        first, *others = (group.slots(closing)[0] for closing in group.closings)
        task = self._task(first, group.frame(first), qp, past.chroma_offset if past else BALANCE)
        trials = []
        for slot in (first, *others):
            task = task._replace(slot=slot)
            if slot.intra:
                trials.append((self._intra(codec, task), self.preset.effort))
            else:
                trials.append(self._predicted(codec, task, past))
        trial, effort = min(trials, key=lambda made: rd_cost(made[0].coded, task))
        trial = self._again(codec, trial)
        coded = trial.coded._replace(seconds=perf_counter() - began)
        return ClosedGroup(group, qp, past, coded, Anchor.of(trial), effort)

    def chain(self, parts: Iterable[Group], qp: float, past: Anchor | None = None) -> Iterator[ClosedGroup]:
        """Close one group after the other.

        Groups that do not follow one another begin with an I frame each, which is not among what is coded.
        """
        end = None
        for group in parts:
            closed = self.close(group, qp, past if end in (None, group.start) else None)
            yield closed
            past, end = closed.anchor, group.end + 1

    def code(
        self, groups: Iterable[Group], qp: float, past: Anchor | None = None
    ) -> Iterator[CodedFrame | Part]:
        """All frames of groups, in coding order: coded, or in parts that are still to be coded."""
        coming = iter(groups)
        for group in coming:
            if group.gop_size == 1:  # no frame refers to another
                yield Part([intra_anchor(group.start, 1)], group.frames, [], qp, BALANCE, self.preset.effort)
                continue
            for closed in self.chain(chain([group], coming), qp, past):
                yield self.shown(closed.coded)
                yield from self.split(closed)

    def split(self, closed: ClosedGroup) -> Iterator[CodedFrame | Part]:
        """What lies between a group's anchors, in coding order: frames coded here, and parts for anyone."""
        group, qp, past, _, anchor, effort = closed
        closing = Closing.INTRA if anchor.decoded.motion is None else Closing.TAIL
        slots = group.slots(closing)[1:]
        if not slots:
            return
        assert past
        codec, dpb = self.codec_for(group.frames[0].frame), DecodedPictureBuffer[Decoded]()
        for known in (past, anchor):
            dpb.insert(held(known.decoded))
        tuning: Tuning[Trial] | None = Tuning(effort) if self.preset.tuned else None
        for place in parts([slot.temporal_layer for slot in slots]):
            first = slots[place] if isinstance(place, int) else slots[place.start]
            beside = [each.picture for each in dpb.references(first.poc)]
            if isinstance(place, int):
                began = perf_counter()
                task = self._task(first, group.frame(first), qp, anchor.chroma_offset)
                trial, effort = self._best(codec, behind(codec, beside), task, tuning)
                trial = self._again(codec, trial)
                dpb.insert(held(trial.decoded))
                yield self.shown(trial.coded._replace(seconds=perf_counter() - began))
            else:
                own = slots[place.start : place.stop]
                frames = [group.frame(slot) for slot in own]
                # Where no frame refers to it, it is not filtered by its neighbours.
                sources = [f if s.referenced else Source(f.frame) for s, f in zip(own, frames, strict=True)]
                yield Part(own, sources, beside, qp, anchor.chroma_offset, effort)

    def part(self, part: Part) -> Iterator[CodedFrame]:
        """Code the frames of a part, in coding order."""
        codec = self.codec_for(part.sources[0].frame)
        dpb = behind(codec, part.known)
        for slot, source in zip(part.slots, part.sources, strict=True):
            began = perf_counter()
            task = self._task(slot, source, part.qp, part.chroma_offset)
            if slot.intra:
                trial = self._intra(codec, task)
            else:
                trial = self._again(codec, self._attempt(codec, dpb, task, part.effort).coded)
            codec.keep(trial.decoded, dpb)
            yield self.shown(trial.coded._replace(seconds=perf_counter() - began))

    def rest(self, closed: ClosedGroup) -> Iterator[CodedFrame]:
        """Code the frames of a group between its anchors, in coding order."""
        return self.whole(self.split(closed))

    def whole(self, split: Iterable[CodedFrame | Part]) -> Iterator[CodedFrame]:
        """What is coded already, and the frames of parts, coded here."""
        for each in split:
            yield from self.part(each) if isinstance(each, Part) else [each]

    def shown(self, coded: CodedFrame) -> CodedFrame:
        """The frame without its picture, if that is not wanted."""
        return coded if self.pictures else coded._replace(picture=None)

    def codec_for(self, frame: Frame) -> FrameCodec:
        """What codes frames of the size of this one."""
        if self.codec is None:
            self.codec = FrameCodec(self.networks, frame.width, frame.height, frame.bit_depth)
        return self.codec

    def _task(self, slot: Slot, source: Source, qp: float, offset: int = BALANCE) -> Task:
        """What to code in a slot: where others refer to it, filtered, and its blocks by their importance.

        For an I frame both go by the step of B frames, too, which is coarser: it is they that refer to it.
        """
        layer, frame = slot.temporal_layer, source.frame
        task = Task(slot, frame, frame, layer_qp(qp, layer), offset)
        if not slot.referenced or not source.beside:
            return task
        luma, *_ = self.networks.level_steps(task.header.qp, task.header.qp, intra=False)
        step = luma / (1 << DEPTH - 8)
        known = telling(source.beside)
        if filters(source, step, layer):
            moved = aligned(frame, source.beside)
            task = task._replace(source=filtered(frame, moved, step, layer))
            moved = [each for each in moved if each.distance == known[0].distance]
        else:
            moved = aligned(frame, known)
        qp_offset, share = importance(frame, moved, step, self.codec_for(frame).latent_size)
        return task._replace(qp=task.qp + qp_offset + place_offset(source, slot), share=share)

    def _intra(self, codec: FrameCodec, task: Task) -> Trial:
        """Code an I frame, where others refer to it with the qp that suits its chroma."""
        trial = code_frame(codec, Dpb(), task._replace(chroma_offset=BALANCE), self.preset.effort)
        assert trial.coded.quality
        wanted = self.preset.chroma and task.slot.referenced
        offset = chroma_offset(trial.coded.quality) if wanted else BALANCE
        if offset != BALANCE:
            trial = code_frame(codec, Dpb(), task._replace(chroma_offset=offset), self.preset.effort)
        return trial

    def _predicted(self, codec: FrameCodec, task: Task, past: Anchor | None) -> tuple[Trial, Effort]:
        """Code a B* frame behind an anchor."""
        assert past
        tuning: Tuning[Trial] | None = Tuning(self.preset.effort) if self.preset.tuned else None
        return self._best(codec, behind(codec, [past.decoded]), task, tuning)

    def _best(
        self, codec: FrameCodec, dpb: Dpb, task: Task, tuning: Tuning[Trial] | None
    ) -> tuple[Trial, Effort]:
        """Code a B frame with the effort that suits it: the usual one or, if that is tuned, what is found."""
        attempt = partial(self._attempt, codec, dpb, task)
        if tuning:
            coarsest = int(usual_precision(torch.tensor([task.header.qp])))
            best = tuning.code(task.slot.temporal_layer, coarsest, attempt)
        else:
            best = attempt(self.preset.effort)
        return best.coded, best.effort

    def _attempt(self, codec: FrameCodec, dpb: Dpb, task: Task, effort: Effort) -> Attempt[Trial]:
        """Code a B frame at each of the preset's prices; what has least bits and errors, by their worth."""
        attempts = []
        for price in self.preset.prices:
            trial = code_frame(codec, dpb, task, effort.at_price(price))
            motion = trial.coded.motion_bits / max(1, 8 * len(trial.coded.packet.payload))
            attempts.append(Attempt(effort, trial.cost, motion, trial))
        return min(attempts, key=lambda made: made.cost)

    def _again(self, codec: FrameCodec, trial: Trial) -> Trial:
        """What many frames inherit is coded again."""
        slot, again = trial.task.slot, self.preset.again
        rounds = again[slot.temporal_layer] if slot.referenced and slot.temporal_layer < len(again) else 0
        return code_again(codec, trial, rounds)


def held(decoded: Decoded) -> HeldPicture[Decoded]:
    """A decoded frame in its place."""
    return HeldPicture(decoded.header.poc, decoded.header.temporal_layer, decoded)


def behind(codec: FrameCodec, known: Iterable[Decoded]) -> Dpb:
    """A DPB of decoded frames, in whatever order they come; one may come twice."""
    dpb = Dpb()
    for _, decoded in sorted({(d.header.temporal_layer, d.header.poc): d for d in known}.items()):
        codec.keep(decoded, dpb)
    return dpb
