"""The weights file: every number on the decoder's path as an integer, in a NumPy archive without pickles.

| array            | type  | shape               | meaning                                                   |
|------------------|-------|---------------------|-----------------------------------------------------------|
| NAME.weight      | int16 | C_out, C_in, k, k   | convolution weights in steps of 2^-exponent               |
| NAME.exponent    | int8  | C_out               | of each output channel                                    |
| NAME.bias        | int32 | C_out               | in units of the accumulator, 2^-(exponent + frac of input)|
| NAME.grid        | int16 | 3                   | of a layer in bytes: frac, bits, how many are below zero  |
| NAME.table       | int32 | 64, C               | quantization steps by qp, in units of 2^-14               |
| NAME.offsets     | int32 | 64, C               | scale offsets by qp, in sixteenths of a table index       |
| NAME.mean        | int32 | Z                   | of the hyper-latent, in units of 2^-6                     |
| channels         | int32 | 6                   | the widths, in the order of `Channels`                    |
| frequencies      | int32 | all tables in a row | of the range coder                                        |
| lengths          | int32 | 64                  | of the tables                                             |

The archive has, of each type, all arrays in one row, and `layout`: JSON in UTF-8, a list of name, type and
shape of each in the order of the rows. A thousand entries would take longer to find than to inflate.
The SHA-256 of the file stands beside it in NAME.sha256; its first eight bytes are the model's id.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bcodec.errors import WeightsError
from bcodec.fixedpoint import Conv2d, Grid
from bcodec.networks.latent import MEAN_UNIT, QPS, HyperEntropyModel, QStep
from bcodec.networks.layers import Channels

Arrays = dict[str, np.ndarray]


def to_arrays(net: nn.Module) -> Arrays:
    """The integers of all parameters."""
    arrays: Arrays = {}
    for name, module in net.named_modules():
        if isinstance(module, Conv2d):
            weight, bias, exponent = module.integers()
            arrays[f"{name}.weight"] = weight.to("cpu", torch.int16).numpy()
            arrays[f"{name}.bias"] = bias.to("cpu", torch.int32).numpy()
            arrays[f"{name}.exponent"] = exponent.to("cpu", torch.int8).numpy()
            if module.is_in_bytes and module.groups == 1:
                grid = module.grid_in
                arrays[f"{name}.grid"] = np.array([grid.frac, grid.bits, -grid.lowest], np.int16)
        elif isinstance(module, QStep):
            table, offsets = module.integers()
            arrays[f"{name}.table"] = table.to("cpu", torch.int32).numpy()
            arrays[f"{name}.offsets"] = offsets.to("cpu", torch.int32).numpy()
        elif isinstance(module, HyperEntropyModel):
            mean = torch.round(module.mean.detach().cpu() / MEAN_UNIT)
            arrays[f"{name}.mean"] = mean.to(torch.int32).numpy()
    return arrays


def from_arrays(net: nn.Module, arrays: Arrays) -> None:
    """Put the integers into the network's parameters and freeze them; raises KeyError and InexactWeights."""

    def tensor(name: str, like: Sequence[int]) -> Tensor:
        array = arrays[name]
        if array.shape != tuple(like):
            raise KeyError(name)
        return torch.from_numpy(array.astype(np.float32))

    for name, module in net.named_modules():
        if isinstance(module, Conv2d):
            c_out = module.weight.shape[:1]
            if f"{name}.grid" in arrays:
                module.in_bytes(Grid(*(int(number) for number in tensor(f"{name}.grid", (3,)))))
            module.freeze(
                tensor(f"{name}.weight", module.weight.shape),
                tensor(f"{name}.bias", c_out),
                tensor(f"{name}.exponent", c_out),
            )
        elif isinstance(module, QStep):
            shape = (QPS, *module.channel.shape)
            module.freeze(tensor(f"{name}.table", shape), tensor(f"{name}.offsets", shape))
        elif isinstance(module, HyperEntropyModel):
            with torch.no_grad():
                module.mean.copy_(tensor(f"{name}.mean", module.mean.shape) * MEAN_UNIT)


def write_weights(path: Path, net: nn.Module, channels: Channels, tables: Sequence[np.ndarray]) -> bytes:
    """Write the weights file and its checksum; returns the SHA-256."""
    arrays = to_arrays(net)
    arrays["channels"] = np.array(astuple(channels), np.int32)
    arrays["frequencies"] = np.concatenate(tables).astype(np.int32)
    arrays["lengths"] = np.array([len(t) for t in tables], np.int32)
    data = packed(arrays)
    path.write_bytes(data)
    digest = hashlib.sha256(data)
    path.with_suffix(".sha256").write_text(f"{digest.hexdigest()}  {path.name}\n")
    return digest.digest()


def packed(arrays: Arrays) -> bytes:
    """The bytes of a weights file."""
    layout = json.dumps([(name, str(array.dtype), array.shape) for name, array in arrays.items()])
    rows = {
        kind: np.concatenate([array.ravel() for array in arrays.values() if array.dtype == kind])
        for kind in sorted({str(array.dtype) for array in arrays.values()})
    }
    buffer = io.BytesIO()
    rows["layout"] = np.frombuffer(layout.encode(), np.uint8)
    np.savez_compressed(buffer, **rows)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_weights(path: Path) -> bytes:
    """A weights file that is whole; raises WeightsError."""
    try:
        data = path.read_bytes()
        expected = path.with_suffix(".sha256").read_text().split()[0]
    except (OSError, IndexError) as error:
        raise WeightsError(f"cannot read the weights {path}: {error}") from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise WeightsError(
            f"the weights {path} are damaged: their SHA-256 is not that in the file beside them"
        )
    return data


def parsed(data: bytes) -> tuple[Arrays, Channels, list[np.ndarray]]:
    """Arrays, widths and frequency tables of a weights file; raises WeightsError."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            rows: Arrays = dict(archive)
        arrays: Arrays = {}
        for name, kind, shape in json.loads(rows["layout"].tobytes()):
            arrays[name], rows[kind] = np.split(rows[kind], [math.prod(shape)])
            arrays[name] = arrays[name].reshape(shape)
        channels = Channels(*(int(c) for c in arrays["channels"]))
        tables = np.split(arrays["frequencies"], np.cumsum(arrays["lengths"])[:-1])
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"are not of a form that this bcodec knows: {error}") from error
    return arrays, channels, tables
