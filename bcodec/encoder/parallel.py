"""Coding the groups of one video by a crew: the same packets as by one process, in the same order.

This process codes the anchors, one after the other, for they make a chain, and the frames in the middle
between them. The parts between these are coded by the crew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from bcodec.crew import Crew
from bcodec.encoder.effort import Preset
from bcodec.encoder.group import Anchor, GroupCoder, Part
from bcodec.encoder.groups import Group
from bcodec.encoder.trial import CodedFrame
from bcodec.networks import Networks


def code_in_parallel(
    groups: Iterable[Group],
    qp: float,
    networks: Networks,
    preset: Preset,
    crew: Crew,
    *,
    past: Anchor | None = None,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """What `code_groups` gives, computed by a crew; holds the frames of as many parts as that holds tasks.

    Raises what the crew raises, as ProcessKilled.
    """
    coder = GroupCoder(networks, preset, pictures=pictures)
    here = deque([list[CodedFrame]()])  # what is coded here before each part that is not coded, and behind

    def parts() -> Iterator[Part]:
        for each in coder.code(groups, qp, past):
            if isinstance(each, Part):
                here.append([])
                yield each
            else:
                here[-1].append(each)

    with closing(crew.work(partial(_coder, networks, preset, pictures), parts())) as results:
        for coded in results:
            yield from here.popleft()
            yield from coded
    yield from here.popleft()


def _coder(networks: Networks, preset: Preset, pictures: bool) -> Callable[[Part], list[CodedFrame]]:
    coder = GroupCoder(networks, preset, pictures=pictures)
    return lambda part: list(coder.part(part))
