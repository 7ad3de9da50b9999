"""Frames to packets: what an encoder may choose, and how the groups of a video are coded one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bcodec.bitstream import MAX_GOP_SIZE, MAX_QP, Packet
from bcodec.encoder.effort import PRESETS, Preset
from bcodec.encoder.group import Anchor, GroupCoder
from bcodec.encoder.groups import Group, groups
from bcodec.encoder.trial import CodedFrame
from bcodec.frame import Frame
from bcodec.gop import GOP_SIZE, KEYINT
from bcodec.networks import Networks


@dataclass(frozen=True)
class Settings:
    """What an encoder may choose: qp 0..63 (higher is better and bigger) and GOP size 1..64.

    A qp may lie between two integers, by eighths. `gop_size`: frames from one anchor to the next; `keyint`:
    from one I frame to the next at most, not below the GOP size; anchors between are I where that pays.
    `scene_cut`: begin each scene with an I frame. `preset`: "fast", "medium" or "slow", how much is tried.
    `temporal_filter`: filter frames that others refer to along motion. Raises ValueError for anything else.
    """

    qp: float = 32
    gop_size: int = GOP_SIZE
    keyint: int = KEYINT
    scene_cut: bool = True
    preset: str = "medium"
    temporal_filter: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.qp <= MAX_QP:
            raise ValueError(f"qp is {self.qp}, outside 0..{MAX_QP}")
        if not 1 <= self.gop_size <= MAX_GOP_SIZE:
            raise ValueError(f"GOP size is {self.gop_size}, outside 1..{MAX_GOP_SIZE}")
        if self.keyint < self.gop_size:
            raise ValueError(f"keyint is {self.keyint}, below the GOP size, which is {self.gop_size}")
        if self.preset not in PRESETS:
            raise ValueError(f"there is no preset {self.preset!r}, but {', '.join(PRESETS)}")


def encode(frames: Iterable[Frame], settings: Settings, networks: Networks) -> Iterator[Packet]:
    """Packets in coding order for frames in display order; holds one GOP window of frames.

    All frames must be of one size and depth; raises ValueError otherwise.
    """
    return (coded.packet for coded in code_frames(frames, settings, networks))


def code_frames(frames: Iterable[Frame], settings: Settings, networks: Networks) -> Iterator[CodedFrame]:
    """What `encode` does, with all that is known of each frame."""
    return code_groups(split(frames, settings), settings.qp, networks, PRESETS[settings.preset])


def split(frames: Iterable[Frame], settings: Settings) -> Iterator[Group]:
    """The groups that are coded one after the other, or in several processes at once."""
    return groups(
        frames,
        settings.gop_size,
        settings.keyint,
        scene_cut=settings.scene_cut,
        temporal_filter=settings.temporal_filter,
    )


def code_groups(
    parts: Iterable[Group],
    qp: float,
    networks: Networks,
    preset: Preset,
    *,
    past: Anchor | None = None,
    pictures: bool = False,
) -> Iterator[CodedFrame]:
    """The frames of groups, in coding order, behind the anchor `past` of those before, if they are coded.

    With decoded `pictures` if these are wanted.
    """
    coder = GroupCoder(networks, preset, pictures=pictures)
    return coder.whole(coder.code(parts, qp, past))
