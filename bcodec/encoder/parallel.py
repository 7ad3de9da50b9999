"""Coding the groups of one video in several processes: the same packets as in one, in the same order.

Each process codes whole groups. It needs no picture from another process: the I frame before a group is coded
again, which gives the same reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from bcodec.encoder.effort import Preset
from bcodec.encoder.group import CodedFrame, GroupCoder
from bcodec.encoder.groups import Group
from bcodec.networks import Networks
from bcodec.processes import in_processes


def code_in_parallel(
    parts: Iterable[Group],
    qp: float,
    networks: Networks,
    preset: Preset,
    jobs: int,
    *,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """What `code_groups` gives, computed by `jobs` processes; holds the frames of `jobs` + 1 groups.

    Raises ProcessKilled where a process dies.
    """
    coder = partial(_coder, networks, preset, qp, pictures=pictures)
    with closing(in_processes(coder, parts, jobs)) as groups:
        for group in groups:
            yield from group


def _coder(
    networks: Networks, preset: Preset, qp: float, *, pictures: bool
) -> Callable[[Group], list[CodedFrame]]:
    coder = GroupCoder(networks, preset, pictures=pictures)
    return lambda group: list(coder.code(group, qp))
