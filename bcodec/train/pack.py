"""Packed data: excerpts of videos, with their motion, in one file that is read in seconds.

A pack is a ZIP archive: `index.json`, which says what is in it, and of each excerpt the members N/pictures
(bcodec.train.squeeze) and, of recorded motion, N/blocks, N/flags and N/whole.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bcodec.train.recorded import KIND, WEIGHED, Record
from bcodec.train.squeeze import restore_integers, restore_pictures, squeeze_integers, squeeze_pictures

INDEX = "index.json"
COARSENESS = 32  # of preferences, in their units: an eighth says enough
OVERHEAD = 300  # bytes that the archive and its index take for a member, at most

Shape = tuple[int, ...]


class Excerpt(NamedTuple):
    """Some frames of a square part of a video, and the motion recorded of them at some qps."""

    y: Tensor  # uint8 [T, S, S]
    uv: Tensor  # uint8 [T, 2, S/2, S/2]
    spacing: int  # of the frames, in those of the video
    tail: bool  # whether the motion is that of a GOP that ends with B*
    qps: Sequence[int] = ()
    motion: Record | None = None  # [Q, T, ...]


@dataclass
class Pack:
    """Excerpts of one size, together on a device."""

    y: Tensor  # uint8 [N, T, S, S]
    uv: Tensor  # uint8 [N, T, 2, S/2, S/2]
    spacings: list[int]
    tails: list[bool]
    qps: Tensor  # int64 [N, Q]
    motion: Record | None  # [N, Q, T, ...]


def write_pack(
    path: Path, excerpts: Iterable[Excerpt], record: Callable[[Excerpt], Excerpt], limit: int
) -> int:
    """Write excerpts until `limit` bytes are full; returns how many there are.

    `record` adds motion to an excerpt as it will be decoded. An interrupt only ends the pack early.
    """
    part, size = path.with_name(f".{path.name}.part"), OVERHEAD
    facts: list[dict[str, Any]] = []
    with zipfile.ZipFile(part, "w") as archive:
        try:
            for source in excerpts:
                members, fact = _squeeze(source, record)
                size += sum(len(data) + OVERHEAD for data in members.values())
                if size > limit:
                    break
                for name, data in members.items():
                    archive.writestr(f"{len(facts)}/{name}", data)
                facts.append(fact)
        except KeyboardInterrupt:
            pass  # what is written is whole
        archive.writestr(INDEX, json.dumps(facts))
    os.replace(part, path)
    return len(facts)


def read_pack(path: Path, device: str = "cpu") -> Pack:
    """All excerpts of a pack, or of all packs (*.pack) of a folder. Raises ValueError if there are none."""
    excerpts: list[Excerpt] = []
    for file in sorted(path.glob("*.pack")) if path.is_dir() else [path]:
        with zipfile.ZipFile(file) as archive, ThreadPoolExecutor() as pool:
            facts = json.loads(archive.read(INDEX))
            names = archive.namelist()
            members = [
                {n.split("/")[1]: archive.read(n) for n in names if n.startswith(f"{number}/")}
                for number in range(len(facts))
            ]
            excerpts += pool.map(_restore, members, facts)
    if not excerpts:
        raise ValueError(f"there is no excerpt in {path}")
    motions = [excerpt.motion for excerpt in excerpts if excerpt.motion]
    motion = None
    if len(motions) == len(excerpts):
        motion = Record(*(torch.stack(parts).to(device) for parts in zip(*motions, strict=True)))
    return Pack(
        torch.stack([excerpt.y for excerpt in excerpts]).to(device),
        torch.stack([excerpt.uv for excerpt in excerpts]).to(device),
        [excerpt.spacing for excerpt in excerpts],
        [excerpt.tail for excerpt in excerpts],
        torch.tensor([excerpt.qps for excerpt in excerpts] if motion else []),
        motion,
    )


def _squeeze(
    source: Excerpt, record: Callable[[Excerpt], Excerpt]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The members of an excerpt, and what the index says of it."""
    pictures, y, uv = squeeze_pictures(source.y, source.uv)
    excerpt = record(source._replace(y=y, uv=uv))
    members, motion = {"pictures": pictures}, excerpt.motion
    if motion is not None:
        parts = {"blocks": _differences(motion.blocks), "flags": motion.flags, "whole": motion.whole}
        members |= {name: squeeze_integers(part) for name, part in parts.items()}
    return members, {"spacing": excerpt.spacing, "tail": excerpt.tail, "qps": list(excerpt.qps)}


def _restore(members: dict[str, bytes], fact: dict[str, Any]) -> Excerpt:
    y, uv = restore_pictures(members["pictures"])
    excerpt = Excerpt(y, uv, fact["spacing"], fact["tail"], fact["qps"])
    if "blocks" not in members:
        return excerpt
    frames, side, _ = y.shape
    outer = (len(excerpt.qps), frames)
    blocks = restore_integers(members["blocks"], (*outer, 2 * KIND, side // 8, side // 8))
    flags = restore_integers(members["flags"], (*outer, 4, side // 16, side // 16))
    whole = restore_integers(members["whole"], (*outer, 5))
    return excerpt._replace(motion=Record(_summed(blocks), flags.to(torch.int8), whole))


def _differences(blocks: Tensor) -> Tensor:
    """What was chosen, from block to block, and by how much what was found is off: [.., 2 KIND, H, W]."""
    found, chosen = (half.clone() for half in blocks.chunk(2, -3))
    for half in (found, chosen):
        half[..., WEIGHED, :, :] = torch.round(half[..., WEIGHED, :, :] / COARSENESS).to(half.dtype)
    return torch.cat([found - chosen, chosen.diff(prepend=torch.zeros_like(chosen[..., :1]))], -3)


def _summed(differences: Tensor) -> Tensor:
    """The inverse of `_differences`, but for preferences' coarseness."""
    off, chosen = differences.chunk(2, -3)
    chosen = chosen.cumsum(-1).to(off.dtype)
    halves = off + chosen, chosen
    for half in halves:
        half[..., WEIGHED, :, :] *= COARSENESS
    return torch.cat(halves, -3)
