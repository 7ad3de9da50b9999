"""Imports only run down the map in the docstring of bcodec, and every file is on it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import bcodec

PACKAGE = Path(bcodec.__file__).parent
NO_TORCH = ("bitstream", "gop", "dpb", "metrics", "errors")
NOT_FOR_NETWORKS = ("entropy", "dpb")  # networks are handed a symbol coder
SCREEN = ("click", "tqdm")
KNOW_THE_SCREEN = ("cli", "train")
PRINTING = ("train.__main__", "train.run", "train.draw", "networks.__main__")  # for developers

ROOM = re.compile(r"^    ([\w/]+(?:/|\.py)) +(\S.*)$")
MORE = re.compile(r"^ {20,}(\S.*)$")


def rooms(text: str) -> dict[str, list[set[str]]]:
    """Of each room on a map, from top to bottom, its floors of files; of a file that is a room, none."""
    found: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if room := ROOM.match(line):
            last = room[1]
            found[last] = room[2]
        elif last.endswith("/") and (more := MORE.match(line)):
            found[last] += f" {more[1]}"
        else:
            last = ""
    return {
        name.removesuffix(".py").strip("/").replace("/", "."): [set(f.split()) for f in files.split(">")]
        if name.endswith("/")
        else []
        for name, files in found.items()
    }


MAP = rooms(bcodec.__doc__ or "")


def places() -> dict[str, tuple[int, int]]:
    """Of each file on the map the room and the floor, as numbers that grow downward."""
    found: dict[str, tuple[int, int]] = {}
    inside = [room for room in MAP if "." in room]
    for number, (room, floors) in enumerate(MAP.items()):
        if not floors:
            found[room] = number, 0
        for floor, files in enumerate(floors):
            for file in files - {name.rpartition(".")[2] for name in inside if name.startswith(f"{room}.")}:
                found[f"{room}.{file}"] = number, floor
    return found


PLACES = places()


def name_of(path: Path) -> str:
    """The dotted name inside bcodec: gop, __init__, networks.latent, networks.__init__."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# A folder's docstring alone needs no place.
EMPTY = {n for n, p in FILES.items() if n.endswith(".__init__") and not ast.parse(p.read_text()).body[1:]}


def file_of(dotted: str) -> str | None:
    """The file that a name inside bcodec is, or is in; None for a folder that holds only a docstring."""
    parts = dotted.split(".") if dotted else []
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        if name in PLACES:
            return name
        if f"{name}.__init__" in PLACES:
            return f"{name}.__init__"
    return None if parts and (PACKAGE / parts[0]).is_dir() else "__init__"


def imports(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module, name in it) for all that a file imports, wherever in the file it does."""
    package = ["bcodec", *name.split(".")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((source, alias.name) for alias in node.names)


def goes_down(importer: str, imported: str) -> bool:
    """Whether one file stands above another: in a higher room, or on a higher floor of one."""
    (room, floor), (below, floor_below) = PLACES[importer], PLACES[imported]
    one, other = (list(MAP)[number] for number in (room, below))
    if one == other:
        return floor < floor_below
    if MAP[other] and other.startswith(f"{one}."):  # a room within the room
        return floor < floor_of(other, one)
    if MAP[one] and one.startswith(f"{other}."):
        return floor_of(one, other) < floor_below
    return room < below


def floor_of(room: str, outer: str) -> int:
    """On which floor of another room a room is."""
    return next(i for i, files in enumerate(MAP[outer]) if room.removeprefix(f"{outer}.") in files)


def violations(name: str, source: str) -> list[str]:
    return [*import_violations(name, ast.parse(source)), *screen_violations(name, ast.parse(source))]


def import_violations(name: str, tree: ast.Module) -> Iterator[str]:
    top = name.partition(".")[0]
    if name not in PLACES:
        if name not in EMPTY:
            yield f"{name}: is not on the map"
        return
    for module, what in imports(name, tree):
        root, _, inside = module.partition(".")
        if root == "bcodec":
            imported = file_of(f"{inside}.{what}".strip("."))
            if imported is None or not goes_down(name, imported):
                yield f"{name}: imports {module}.{what}"
            if name.startswith("networks.") and name != "networks.__main__":
                if inside.partition(".")[0] in NOT_FOR_NETWORKS:
                    yield f"{name}: imports {module}"
                if inside.startswith("bitstream") and not what.isupper():
                    yield f"{name}: imports {what}, which is no limit of the format"
        if root == "torch" and top in NO_TORCH:
            yield f"{name}: imports torch"
        if root in SCREEN and top not in KNOW_THE_SCREEN:
            yield f"{name}: imports {root}"
        if (module, what) == ("sys", "exit") and name != "cli.main":
            yield f"{name}: imports exit"


def screen_violations(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree) if name != "cli.main" else ():
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"sys.exit", "exit", "quit"} or (called == "print" and name not in PRINTING):
                yield f"{name}:{node.lineno}: calls {called}"


@pytest.mark.parametrize("name", FILES)
def test_imports_only_run_down_the_map(name: str) -> None:
    assert violations(name, FILES[name].read_text(encoding="utf-8")) == []


def test_every_file_on_the_map_is_there() -> None:
    assert set(PLACES) <= set(FILES)


def shapeless(tree: ast.Module) -> Iterator[str]:
    """The public functions that take or give a tensor and state no shape, such as [B, C, H, W]."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    bodies = [("", tree.body), *((ast.get_docstring(each) or "", each.body) for each in classes)]
    for told, body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)]
                types = " ".join(ast.unparse(each) for each in (*arguments, node.returns) if each)
                if "Tensor" in types and "[" not in f"{told} {ast.get_docstring(node)}":
                    yield node.name


@pytest.mark.parametrize("name", FILES)
def test_public_functions_state_the_shapes_of_tensors(name: str) -> None:
    assert list(shapeless(ast.parse(FILES[name].read_text(encoding="utf-8")))) == []


def test_a_function_without_shapes_is_found() -> None:
    source = 'def f(x: Tensor) -> None:\n    "Do it."\nclass A:\n    def g(self) -> Tensor:\n        "[B]."'
    assert list(shapeless(ast.parse(source))) == ["f"]


def test_the_storeys_are_in_order() -> None:
    order = list(MAP)
    expected = ["cli", "pipeline", "video", "encoder", "codec", "networks", "entropy", "coding", "errors"]
    assert [room for room in order if room in expected] == expected


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli.main", "import click, sys\nfrom bcodec import codec, video\nprint(1)\nsys.exit(2)"),
        ("cli.main", "from bcodec import __version__"),
        ("__main__", "from bcodec.cli.main import main"),
        ("__init__", "from bcodec.codec import decode\nfrom .video import VideoReader"),
        ("train.run", "from bcodec.train.clips import batches\nprint('step')"),
        ("train.clips", "from bcodec.video import VideoReader"),
        ("train.losses", "from bcodec.encoder.analyst import Analyst"),
        ("codec", "from bcodec import gop, networks\nfrom .networks import load_networks\nimport torch"),
        ("encoder.group", "from bcodec.codec import FrameCodec\nfrom bcodec.networks.latent import QPS"),
        ("encoder.analyst", "from .motion.find import find_motion"),
        ("encoder.motion.find", "from bcodec.encoder.effort import Effort"),
        ("networks.__init__", "from bcodec.networks.bframe import BFrame\nfrom . import intra"),
        ("networks.bframe", "from .motion.codec import Motion\nfrom ..fixedpoint import snap"),
        ("networks.motion.codec", "from bcodec.networks.latent import QStep"),
        ("networks.latent", "from bcodec.bitstream import MAX_QP"),
        ("gop", "from dataclasses import dataclass"),
    ],
)
def test_rule_allows_what_the_map_allows(name: str, source: str) -> None:
    assert violations(name, source) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("utils", "import math"),
        ("networks.brand_new", "from .layers import Block"),
        ("codec", "from bcodec.video import VideoReader"),
        ("codec", "from bcodec.encoder.effort import Effort"),
        ("codec", "from bcodec import __version__"),
        ("codec", "import bcodec.cli.main"),
        ("codec", "import click"),
        ("codec", "print('frame')"),
        ("networks.bframe", "from bcodec.encoder.analyst import Analyst"),
        ("networks.prior", "def late():\n    from bcodec.encoder import blocksizes"),
        ("networks.latent", "from bcodec.entropy.coder import RangeWriter"),
        ("networks.intra", "from ..dpb import HeldPicture"),
        ("networks.intra", "from ..bitstream import BitstreamReader"),
        ("networks.latent", "from . import intra"),
        ("networks.latent", "from .motion.codec import Motion"),
        ("networks.motion.codec", "from ..context import Context"),
        ("networks.motion.codec", "from .. import load_networks"),
        ("entropy.coder", "from bcodec.networks.latent import QPS"),
        ("encoder.effort", "from .group import GroupCoder"),
        ("encoder.motion.search", "from ..analyst import Analyst"),
        ("encoder.group", "from bcodec.pipeline import encode"),
        ("gop", "import torch"),
        ("dpb", "from torch.nn import functional"),
        ("bitstream.reader", "def late():\n    import torch"),
        ("bitstream.reader", "from ..gop import Slot"),
        ("metrics", "from . import video"),
        ("video.__init__", "from bcodec import networks\nimport sys\nsys.exit(1)"),
        ("pipeline.encode", "import tqdm"),
        ("pipeline.encode", "from bcodec.cli.console import log"),
        ("train.run", "from bcodec.cli.main import main"),
        ("train.run", "from sys import exit"),
        ("train.losses", "from bcodec.train.run import Run"),
        ("gop", "from bcodec.nowhere import thing"),
    ],
)
def test_rule_refuses_what_the_map_refuses(name: str, source: str) -> None:
    assert violations(name, source) != []
