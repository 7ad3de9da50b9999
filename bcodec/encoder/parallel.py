"""Coding the groups of one video by a crew: the same packets as by one process, in the same order.

This process codes the anchors, one after the other: they make a chain. What lies between two of them needs
nothing else, and is coded by the crew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from bcodec.crew import Crew
from bcodec.encoder.effort import Preset
from bcodec.encoder.group import Anchor, ClosedGroup, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.encoder.trial import CodedFrame
from bcodec.networks import Networks


def code_in_parallel(
    parts: Iterable[Group],
    qp: float,
    networks: Networks,
    preset: Preset,
    crew: Crew,
    *,
    past: Anchor | None = None,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """What `code_groups` gives, computed by a crew; holds the frames of as many groups as that holds tasks.

    Raises what the crew raises, as ProcessKilled.
    """
    coder = GroupCoder(networks, preset, pictures=pictures)
    anchors = deque[CodedFrame]()  # whose groups are being coded

    def closed_groups() -> Iterator[ClosedGroup]:
        for closed in coder.chain(parts, qp, past):
            anchors.append(coder.shown(closed.coded))
            yield closed._replace(coded=anchors[-1])

    with closing(crew.work(partial(_coder, networks, preset, pictures), closed_groups())) as groups:
        for rest in groups:
            yield anchors.popleft()
            yield from rest


def _coder(networks: Networks, preset: Preset, pictures: bool) -> Callable[[ClosedGroup], list[CodedFrame]]:
    coder = GroupCoder(networks, preset, pictures=pictures)
    return lambda closed: list(coder.rest(closed))
