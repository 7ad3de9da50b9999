"""Checkpoints in pieces: what a run is resumed from, in files small enough to be carried anywhere.

    checkpoint.json              names, types and shapes of tensors; the pieces' SHA-256; facts about the run
    checkpoint-STEP.0, .1, ..    the tensors' bytes, one stream cut every 16 MiB

The bytes of a tensor lie apart by their place in a number (all first bytes, then all second ones, ..), coded
by Huffman's method: exponents take few bits. New pieces are there before the index names them, and old ones
go after: whenever a run ends, one checkpoint is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PIECE = 16 << 20  # bytes
INDEX = "checkpoint.json"

Facts = dict[str, Any]  # what else is known of a checkpoint, as JSON has it


def save_checkpoint(folder: Path, tensors: dict[str, Tensor], facts: Facts) -> None:
    """Write tensors [..] and facts, among them "step", in place of the folder's checkpoint."""
    packed = {name: _pack(tensor) for name, tensor in tensors.items()}
    stream = b"".join(packed.values())
    pieces = {}
    for number, start in enumerate(range(0, len(stream), PIECE)):
        piece = stream[start : start + PIECE]
        path = folder / f"checkpoint-{facts['step']}.{number}"
        _write(path, piece)
        pieces[path.name] = hashlib.sha256(piece).hexdigest()
    parts = {
        name: [len(packed[name]), str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
        for name, tensor in tensors.items()
    }
    _write(folder / INDEX, json.dumps({"facts": facts, "pieces": pieces, "tensors": parts}).encode())
    for old in folder.glob("checkpoint-*"):
        if old.name not in pieces:
            old.unlink()


def load_facts(folder: Path) -> Facts:
    """What is known of a folder's checkpoint."""
    facts: Facts = json.loads((folder / INDEX).read_bytes())["facts"]
    return facts


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], Facts]:
    """The tensors [..], on the CPU, and facts of a folder's checkpoint.

    Raises ValueError if a piece is not as it was written.
    """
    index = json.loads((folder / INDEX).read_bytes())
    stream = bytearray()
    for name, digest in index["pieces"].items():
        piece = (folder / name).read_bytes()
        if hashlib.sha256(piece).hexdigest() != digest:
            raise ValueError(f"{folder / name} is damaged")
        stream += piece
    tensors, start = {}, 0
    for name, (length, kind, shape) in index["tensors"].items():
        tensors[name] = _unpack(bytes(stream[start : start + length]), getattr(torch, kind), shape)
        start += length
    return tensors, index["facts"]


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """The averaged weights [..] of a folder's checkpoint: the weights, and how far the averages are off."""
    tensors, _ = load_checkpoint(folder)
    weights = {name.removeprefix("net/"): value for name, value in tensors.items() if name.startswith("net/")}
    return {name: value + tensors.get(f"average/{name}", 0) for name, value in weights.items()}


def _pack(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().view(-1)
    places = flat.view(torch.uint8).view(-1, flat.element_size()).t().contiguous()
    coder = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    return coder.compress(places.numpy().tobytes()) + coder.flush()


def _unpack(data: bytes, kind: torch.dtype, shape: list[int]) -> Tensor:
    places = np.frombuffer(zlib.decompress(data), np.uint8).reshape(kind.itemsize, -1)
    return torch.from_numpy(places.T.copy()).view(-1).view(kind).view(shape)


def _write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)
