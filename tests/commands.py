"""What tests of commands share: their options, what a command leaves, and files that are taken apart."""

import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bcodec.bitstream import BitstreamReader, FrameType
from bcodec.encoder.trial import CodedFrame, Task
from bcodec.video import VideoReader

WIDTH, HEIGHT, COUNT, GOP = 64, 48, 9, 4  # of the clip that is coded most often: I frames 0, 4, 8
QUICK = ("--threads", 1)  # tiny pictures gain nothing from more
FAST = (*QUICK, "--preset", "fast")  # where the claim is not about what an encoder tries


@dataclass
class Result:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: bytes
    err: str


Command = Callable[..., Result]


def dear_i_frames(coded: CodedFrame, _: Task) -> float:
    """Stand in for rd_cost where anchors are to be B*."""
    return float(coded.packet.header.frame_type is FrameType.I)


def one_error(result: Result, status: int, *parts: str) -> None:
    """Claim that a command failed as it should: its status, and one clear line."""
    assert result.status == status, result.err
    assert re.fullmatch(r"bcodec: error: .+\n", result.err), result.err
    for part in parts:
        assert part in result.err
    assert ".part" not in result.err


class Pipe(io.BytesIO):
    """Bytes that can be read once."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("a pipe")


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Let a command find these bytes at its standard input, a pipe."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(data)))


def pictures(path: Path, **raw: Any) -> list[bytes]:
    """The planes of each picture of a video."""
    with VideoReader(path, **raw) as reader:
        return [frame.to_bytes() for frame in reader]


def packet_ends(path: Path) -> list[int]:
    """Byte offsets behind each frame packet."""
    with path.open("rb") as file:
        reader = BitstreamReader(file)
        return [file.tell() for _ in reader.frames()]


def flipped(data: bytes, place: int) -> bytes:
    """Data of which one bit is another."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def count_frames(path: Path) -> int:
    """The frames of a .bcv file."""
    with path.open("rb") as file:
        return sum(1 for _ in BitstreamReader(file).frames())
