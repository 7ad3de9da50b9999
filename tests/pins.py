"""What must never change unnoticed: a .bcv file, the pictures that it decodes to, and the bytes of encodes.

    python tests/pins.py           tells what is not as it is pinned
    python tests/pins.py --write   pins what this checkout does: new arithmetic, new weights, a new encoder

The file has all that the decoder's path knows: I, B and B* frames, scene cuts, odd sizes, a pan that only a
shift of the whole picture follows, text that stands still (whole samples), what is predicted by its mean, all
block sizes, all precisions of vectors, offsets of chroma, loop filters, an escaped symbol, and sound.
"""

import ast
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from clips import smoothed
from torch import Tensor

import bcodec
from bcodec.bitstream import (
    ARITHMETIC_VERSION,
    AuxiliaryPacket,
    BitstreamReader,
    BitstreamWriter,
    SequenceHeader,
    VideoFormat,
)
from bcodec.decoder import decode
from bcodec.encoder import worth
from bcodec.encoder.effort import PRESETS, Effort, Preset
from bcodec.encoder.encode import Settings, encode, split
from bcodec.encoder.group import Anchor, GroupCoder
from bcodec.encoder.trial import CodedFrame
from bcodec.frame import Frame, picture_hash, plane_shapes
from bcodec.networks import Networks, load_networks
from bcodec.networks.motion import shift

FILE = Path(__file__).with_name("pinned.bcv")
PINS = Path(__file__).with_name("pins.json")
WIDTH, HEIGHT = 83, 61
GOP = 4
# Of each group: its qp, and how much coarser its vectors are than usual there; so all precisions come.
CHOICES = ((26, 0), (17, 1), (2, 0), (30, 0), (12, 2), (40, 0))
PANNED, PAN = 1, (14.0, -6.0, -8.0, 2.0)  # the group whose B frames have shifts, towards past and future
FILTERED, WORTH = 5, 50.0  # the group whose loop filters have all shares, and by how much they are overpaid
NO_BITS = ("__main__", "budget", "weights")  # modules among the networks
SOUND = AuxiliaryPacket(1, 1, 0, 0, 0, b"not sound, but kept")


def scene(seed: int, count: int, *, pan: int, contrast: tuple[int, int], light: int) -> Iterator[Frame]:
    """Soft texture that pans, ruled text that stands on it, a square that turns up, and a little noise."""
    rng = np.random.default_rng(seed)
    shapes = plane_shapes(WIDTH, HEIGHT)
    canvases = [
        smoothed(rng.integers(0, 256, (rows + 8, columns + pan * count)), 3) for rows, columns in shapes
    ]
    text = rng.integers(0, 2, (6, 20)).repeat(2, 0).repeat(2, 1) * 200 + 20
    for index in range(count):
        planes = []
        for number, (canvas, (rows, columns)) in enumerate(zip(canvases, shapes, strict=True)):
            step = pan * index // (2 if number else 1)
            plane = (canvas[index % 3 :, step:][:rows, :columns] - 128) * contrast[number > 0] // 2 + 128
            plane = plane + rng.integers(-1, 2, (rows, columns))
            if number == 0:
                plane += light
                plane[40:52, 10:50] = text
                plane[4:36, 48:80] = 128 + 3 * index  # flat, and brighter in each frame
                if index > 2:
                    plane[10:26, 5 + 5 * index :][:, :16] = 255 - plane[10:26, 5 + 5 * index :][:, :16] // 2
            planes.append(np.clip(plane, 0, 255).astype(np.uint8))
        yield Frame(*map(np.ascontiguousarray, planes))


def frames() -> list[Frame]:
    """Two scenes: a dark one that pans fast with pale colours, and a bright one with strong colours."""
    dark = scene(1, 7, pan=24, contrast=(4, 0), light=-40)
    return [*dark, *scene(2, 7, pan=2, contrast=(3, 9), light=30)]


def coded(networks: Networks) -> Iterator[CodedFrame]:
    """The frames as they are in the file."""
    coder = GroupCoder(networks, PRESETS["medium"])
    past: Anchor | None = None
    parts = split(frames(), Settings(gop_size=GOP, keyint=GOP, scene_cut=True, temporal_filter=False))
    for number, (group, (qp, coarser)) in enumerate(zip(parts, CHOICES, strict=True)):
        coder.preset = Preset(Effort(coarser=coarser), tuned=False)
        with ExitStack() as stack:
            if number == PANNED:
                stack.enter_context(patch("bcodec.networks.bframe.code_shifts", _panned))
            if number == FILTERED:
                stack.enter_context(patch("bcodec.encoder.trial.sample_worth", _overpaid))
            closed = coder.close(group, qp, past)
            yield from (closed.coded, *coder.rest(closed))
        past = closed.anchor


def _panned(symbols: Any, shifts: Any, *more: Any) -> Tensor:
    """A shift of the whole picture, which so small a picture never needs."""
    return shift.code_shifts(symbols, shifts + torch.tensor(PAN).view(1, 4, 1, 1), *more)


def _overpaid(*qps: Any) -> tuple[float, ...]:
    return tuple(each * WORTH for each in worth.sample_worth(*qps))


def make_file(networks: Networks) -> bytes:
    """The pinned file."""
    file = io.BytesIO()
    video = VideoFormat(WIDTH, HEIGHT, Fraction(25), Fraction(1, 25))
    header = SequenceHeader(video, GOP, ARITHMETIC_VERSION, networks.model_id)
    with BitstreamWriter(file, header) as writer:
        writer.write(SOUND)
        for frame in coded(networks):
            writer.write(frame.packet)
    return file.getvalue()


def pictures_of(data: bytes, networks: Networks) -> list[str]:
    """The hash of each decoded picture, in display order."""
    reader = BitstreamReader(io.BytesIO(data))
    return [f"{picture_hash(frame):04x}" for frame in decode(reader, reader.header, networks)]


def encode_md5(preset: str, networks: Networks) -> str:
    """MD5 of the payloads of a clip of five frames and a cut, encoded with a preset."""
    digest = hashlib.md5()
    for packet in encode(frames()[3:9], Settings(24, GOP, scene_cut=True, preset=preset), networks):
        digest.update(packet.payload)
    return digest.hexdigest()


def constants() -> dict[str, str]:
    """The constants of the modules that decide a decoded bit, in words: some matter to no clip so small."""
    package = Path(bcodec.__file__).parent
    paths = [package / f"{name}.py" for name in ("coding", "fixedpoint", "frame", "entropy/coder")]
    paths += [path for path in sorted(package.glob("networks/**/*.py")) if path.stem not in NO_BITS]
    found: dict[str, str] = {}
    for path in paths:
        parts = path.relative_to(package.parent).with_suffix("").parts
        module = import_module(".".join(parts).removesuffix(".__init__"))
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            for target in statement.targets if isinstance(statement, ast.Assign) else ():
                names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
                values = {name: getattr(module, name) for name in names if name.isupper()}
                numbers = {n: v for n, v in values.items() if isinstance(v, int | float | tuple)}
                found |= {f"{module.__name__}.{n}": repr(v) for n, v in numbers.items()}
    return found


def pinned() -> dict[str, Any]:
    """What pins.json says."""
    pins: dict[str, Any] = json.loads(PINS.read_text())
    return pins


def main() -> None:
    networks = load_networks()
    data = make_file(networks)
    pins = {
        "arithmetic_version": ARITHMETIC_VERSION,
        "model": networks.model_id.hex(),
        "pictures": pictures_of(data, networks),
        "constants": constants(),
        "encodes": {"file": hashlib.md5(data).hexdigest()}
        | {preset: encode_md5(preset, networks) for preset in PRESETS},
    }
    if "--write" in sys.argv[1:]:
        FILE.write_bytes(data)
        PINS.write_text(json.dumps(pins, indent=2) + "\n")
    different = [name for name, value in pins.items() if pinned().get(name) != value]
    print(f"{len(data)} bytes; different from what is pinned: {', '.join(different) or 'nothing'}")


if __name__ == "__main__":
    main()
