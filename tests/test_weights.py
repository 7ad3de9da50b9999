"""Weights are loaded whole or not at all."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from latents import FREQUENCIES

from bcodec.errors import WeightsError
from bcodec.fixedpoint import Conv2d
from bcodec.networks import Networks, load_networks, save_networks
from bcodec.networks.weights import packed, parsed, read_weights, to_arrays
from bcodec.samples import finish


def sealed(path: Path, data: bytes) -> Path:
    """Write a file with its own, correct checksum beside it."""
    path.write_bytes(data)
    path.with_suffix(".sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    return path


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def test_loaded_weights_give_the_outputs_of_those_exported(tmp_path: Path, tiny_networks: Networks) -> None:
    """Seen in the convolutions; only quantization steps are rounded by the export."""
    networks = Networks(tiny_networks.channels)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        save_networks(tmp_path / "net.npz", networks, FREQUENCIES)
        loaded = load_networks(tmp_path / "net.npz")
        picture = finish(torch.randn(1, 6, 64, 64))
        y_hat = torch.round(torch.randn(1, networks.channels.y, 8, 8) * 64) / 64
        assert torch.equal(loaded.intra.analysis(picture), networks.intra.analysis(picture))
        qp = torch.tensor([30])
        assert torch.equal(*(net.intra.synthesis(y_hat, qp)[0] for net in (loaded, networks)))
        references = [net.reference(picture, y_hat, qp) for net in (loaded, networks)]
        for ours, theirs in zip(references[0].features, references[1].features, strict=True):
            assert torch.equal(ours, theirs)
        qp = torch.arange(64)
        step, rounded = networks.intra.step(qp)[0], loaded.intra.step(qp)[0]
    assert (step - rounded).abs().max() <= 2**-15


def test_exporting_twice_and_exporting_what_was_loaded_give_identical_bytes(
    tmp_path: Path, tiny_weights: Path, tiny_networks: Networks
) -> None:
    networks = Networks(tiny_networks.channels)
    for name in ("first", "second"):
        save_networks(tmp_path / f"{name}.npz", networks, FREQUENCIES)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    save_networks(tmp_path / "again.npz", tiny_networks, tiny_networks.tables)
    assert (tmp_path / "again.npz").read_bytes() == tiny_weights.read_bytes()


def test_model_id_begins_the_sha256_of_the_file(tiny_weights: Path, tiny_networks: Networks) -> None:
    assert tiny_networks.model_id == hashlib.sha256(tiny_weights.read_bytes()).digest()[:8]


def test_loading_draws_no_weights(tiny_weights: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_networks(tiny_weights)
    assert torch.equal(torch.get_rng_state(), before)
    Networks(load_networks(tiny_weights).channels)
    assert not torch.equal(torch.get_rng_state(), before)


def test_weights_that_were_loaded_are_not_trained(tiny_networks: Networks) -> None:
    assert not any(p.requires_grad for p in tiny_networks.parameters())
    assert all(m.frozen is not None for m in tiny_networks.modules() if isinstance(m, Conv2d))


def test_a_flipped_byte_is_refused(tmp_path: Path, tiny_weights: Path) -> None:
    data = tiny_weights.read_bytes()
    path = sealed(tmp_path / "net.npz", data)
    for position in (0, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(WeightsError, match="damaged"):
            load_networks(path)


def test_missing_weights_and_missing_or_empty_checksums_are_refused(
    tmp_path: Path, tiny_weights: Path
) -> None:
    path = tmp_path / "net.npz"
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)
    path.write_bytes(tiny_weights.read_bytes())
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)
    path.with_suffix(".sha256").write_text("")
    with pytest.raises(WeightsError, match="cannot read"):
        load_networks(path)


def test_networks_are_pickled_as_their_file_until_they_are_trained(
    tiny_networks: Networks, tiny_weights: Path
) -> None:
    data = pickle.dumps(tiny_networks)
    assert len(data) < tiny_weights.stat().st_size + 500
    loaded = pickle.loads(data)
    assert loaded.model_id == tiny_networks.model_id
    own, others = to_arrays(tiny_networks), to_arrays(loaded)
    assert own.keys() == others.keys()
    assert all(np.array_equal(own[name], others[name]) for name in own)
    loaded.requires_grad_(True)
    with torch.no_grad():
        loaded.reference.latent.bias += 1
    assert torch.equal(pickle.loads(pickle.dumps(loaded)).reference.latent.bias, loaded.reference.latent.bias)


def test_files_of_another_kind_are_refused(tmp_path: Path, tiny_weights: Path) -> None:
    arrays, *_ = parsed(read_weights(tiny_weights))
    lost = {k: v for k, v in arrays.items() if k != "reference.latent.bias"}
    reshaped = arrays | {"reference.latent.bias": np.zeros(3, np.int32)}
    channels = arrays | {"channels": np.zeros(0, np.int32)}
    longer = archive(
        layout=np.frombuffer(b'[["channels", "int32", [6]]]', np.uint8), int32=np.zeros(5, np.int32)
    )
    files = [b"", b"PK", b"not an archive", archive(foreign=np.arange(3)), longer]
    files += [packed(x) for x in (lost, reshaped, channels)]
    files += [tiny_weights.read_bytes()[:2000]]
    for data in files:
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))


@pytest.mark.parametrize("place", [0.001, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_damaged_archive_with_a_sound_checksum_is_refused(
    tmp_path: Path, tiny_weights: Path, place: float
) -> None:
    data = bytearray(tiny_weights.read_bytes())
    first = int(place * len(data))
    data[first : first + 40] = bytes(255 - byte for byte in data[first : first + 40])
    with pytest.raises(WeightsError):
        load_networks(sealed(tmp_path / "net.npz", bytes(data)))


def test_weights_that_are_not_exact_are_refused(tmp_path: Path, tiny_weights: Path) -> None:
    arrays, *_ = parsed(read_weights(tiny_weights))
    name = "reference.latent.bias"
    broken = arrays | {name: np.full_like(arrays[name], 2**24)}
    with pytest.raises(WeightsError, match="not exact"):
        load_networks(sealed(tmp_path / "net.npz", packed(broken)))


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.target,))  # type: ignore[return-value]


def test_pickles_are_refused_and_not_run(tmp_path: Path, tiny_weights: Path) -> None:
    rows = dict(np.load(tiny_weights))
    target = tmp_path / "executed"
    bomb = np.array([Bomb(target)], dtype=object)
    for name in ("layout", "int32", "unknown"):
        data = archive(**(rows | {name: bomb}))
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("channels.npy", bomb.dumps())
    for data in (bomb.dumps(), buffer.getvalue()):
        with pytest.raises(WeightsError):
            load_networks(sealed(tmp_path / "net.npz", data))
    assert not target.exists()


def test_every_number_of_the_networks_is_exported(tiny_networks: Networks) -> None:
    arrays = to_arrays(tiny_networks)
    parameters = {name.rpartition(".")[0] for name, _ in tiny_networks.named_parameters()}
    assert {name.rpartition(".")[0] for name in arrays} == parameters
    assert all(np.issubdtype(a.dtype, np.integer) for a in arrays.values())
