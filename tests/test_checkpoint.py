"""A checkpoint comes back as it was written, in pieces, and is whole whenever it is looked at."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bcodec.train import checkpoint
from bcodec.train.checkpoint import load_checkpoint, load_facts, save_checkpoint


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    kernel = torch.randn(8, 4, 3, 3, generator=generator)
    return {
        "kernel": kernel.to(memory_format=torch.channels_last),
        "half": kernel.bfloat16(),
        "number": torch.tensor(3.25),
        "bytes": torch.arange(200, dtype=torch.uint8).view(2, 100),
        "none": torch.zeros(0, 5),
    }


def test_tensors_and_facts_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE", 300)
    save_checkpoint(tmp_path, tensors(), {"step": 7, "run": "x"})
    pieces = sorted(tmp_path.glob("checkpoint-7.*"))
    assert len(pieces) > 4
    assert max(piece.stat().st_size for piece in pieces) <= 300
    loaded, facts = load_checkpoint(tmp_path)
    assert facts == load_facts(tmp_path) == {"step": 7, "run": "x"}
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_a_new_checkpoint_leaves_nothing_of_the_old(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, tensors(step), {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2.0", "checkpoint.json"]


def test_what_ends_while_it_is_written_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, tensors(1), {"step": 1})

    def full(self: Path, data: bytes) -> int:
        raise OSError("no space")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path, tensors(2), {"step": 2})
    loaded, facts = load_checkpoint(tmp_path)
    assert facts["step"] == 1
    assert torch.equal(loaded["kernel"], tensors(1)["kernel"])


def test_a_damaged_piece_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tensors(), {"step": 1})
    piece = tmp_path / "checkpoint-1.0"
    data = bytearray(piece.read_bytes())
    data[len(data) // 2] ^= 1
    piece.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(tmp_path)


def test_weights_take_less_than_they_do_in_memory(tmp_path: Path) -> None:
    kernel = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.05
    save_checkpoint(tmp_path, {"single": kernel, "half": kernel.bfloat16()}, {"step": 0})
    assert (tmp_path / "checkpoint-0.0").stat().st_size < 0.9 * 6 * kernel.numel()
