"""Imports only run downward, and the core knows no files, flags or screens."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bcodec"

FLOORS = {
    8: ["__main__"],
    7: ["cli"],
    6: ["commands"],
    5: ["train", "screens", "encoding", "compare", "batch", "demo", "failures", "__init__"],
    4: ["arguments", "journal", "output", "parallel", "ratecontrol", "resume", "spool"],
    3: ["codec"],
    2: ["chroma", "console", "groups", "inspection", "networks", "ratemeter", "video"],
    1: ["gop", "dpb", "entropy", "frame", "metrics", "scenes", "streams", "tuning"],
    0: ["bitstream", "distributions", "fixedpoint", "presets"],
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

# inside networks/: the B frame codec > its parts > what motion and latents are made of
NETWORK_FLOORS = {
    "__init__": 8,
    "bframe": 7,
    "directions": 6,
    "context": 5,
    "search": 5,
    "intra": 5,
    "motion": 4,
    "motionprior": 3,
    "vectors": 2,
    "loopfilter": 2,
    "prior": 2,
    "shift": 2,
    "latent": 1,
    "segments": 1,
    "transform": 1,
    "layers": 0,
}

# inside video/: video > demux (FFmpeg's files in), mux (and out) > raw, tracks (sound and subtitles)
VIDEO_FLOORS = {"__init__": 2, "demux": 1, "mux": 1, "matroska": 0, "raw": 0, "tracks": 0, "wholeness": 0}

# inside bitstream/: its names > reading and writing > the bytes of each record > the records
BITSTREAM_FLOORS = {"__init__": 3, "reader": 2, "writer": 2, "layout": 1, "records": 0, "versions": 0}

# inside commands/: encode > decode (which verifies); no other command knows another
COMMAND_FLOORS = {"encode": 1, "decode": 0, "compare": 0, "demo": 0, "info": 0}

# inside train/: its commands > a run, the stages, counting > clips, losses, optimizers
TRAIN_FLOORS = {
    "__main__": 2,
    "run": 1,
    "stages": 1,
    "counting": 1,
    "clips": 0,
    "losses": 0,
    "optimizers": 0,
    "__init__": 0,
}

INSIDE = {
    "bitstream": BITSTREAM_FLOORS,
    "networks": NETWORK_FLOORS,
    "video": VIDEO_FLOORS,
    "commands": COMMAND_FLOORS,
    "train": TRAIN_FLOORS,
}

NO_TORCH = {"gop", "dpb", "bitstream", "streams"}
NOT_FOR_NETWORKS = {"bitstream", "dpb", "entropy"}  # networks are handed a symbol coder
SCREEN = {"click", "tqdm"}
KNOW_THE_SCREEN = {"cli", "commands", "failures", "arguments", "console", "encoding", "train", "screens"}
PRINTING = {"train.__main__", "train.run", "networks.__main__"}  # for developers


def name_of(path: Path) -> str:
    """The dotted name inside bcodec: gop, __init__, networks.latent, networks.__init__."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def submodule(dotted: str) -> bool:
    """Whether a name inside bcodec is a file or folder, be it there yet or not; else it is a name in one."""
    parent, _, last = dotted.rpartition(".")
    return last in {"": FLOOR_OF, **INSIDE}.get(parent, {}) or dotted in FILES


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Yield the dotted, absolute name of each module that a file imports, wherever in the file it does."""
    package = ["bcodec", *name.split(".")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (
                    inner
                    if inner.startswith("bcodec.") and submodule(inner.removeprefix("bcodec."))
                    else source
                )


def may_import(importer: str, imported: str) -> bool:
    """Whether one file of bcodec may import another, both as dotted names inside bcodec."""
    (above, _, importer), (below, _, imported) = importer.partition("."), imported.partition(".")
    if above == below and above in INSIDE:
        high, low = INSIDE[above].get(importer), INSIDE[above].get(imported or "__init__")
        return high is None or low is None or high > low
    if below == "video":
        return FLOOR_OF[above] >= 5 and imported in ("", "__init__")
    if above == "networks" and below in NOT_FOR_NETWORKS:
        return False
    if below == "__init__":
        return FLOOR_OF[above] >= 5  # the package's public names stand above what they are made of
    return FLOOR_OF[above] > FLOOR_OF.get(below, max(FLOORS))


def import_violations(name: str, tree: ast.Module) -> Iterator[str]:
    top = name.partition(".")[0]
    if top not in FLOOR_OF:
        yield f"{name}: its floor is unknown"
        return
    for imported in imports(name, tree):
        root, _, inside = imported.partition(".")
        if root == "bcodec" and not may_import(name, inside or "__init__"):
            yield f"{name}: imports {imported}"
        if root == "torch" and top in NO_TORCH:
            yield f"{name}: imports torch"
        if root in SCREEN and top not in KNOW_THE_SCREEN:
            yield f"{name}: imports {root}"
        if imported == "sys" and top != "cli":
            yield from (f"{name}: imports exit" for node in ast.walk(tree) if imports_exit(node))


def imports_exit(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == "sys"
        and any(a.name == "exit" for a in node.names)
    )


def screen_violations(name: str, tree: ast.Module) -> Iterator[str]:
    if name == "cli":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"sys.exit", "exit", "quit"} or (called == "print" and name not in PRINTING):
                yield f"{name}:{node.lineno}: calls {called}"


def violations(name: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [*import_violations(name, tree), *screen_violations(name, tree)]


@pytest.mark.parametrize("name", FILES)
def test_imports_only_run_downward(name: str) -> None:
    assert violations(name, FILES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli", "import click, sys\nfrom bcodec import codec, train, video\nprint(1)\nsys.exit(2)"),
        ("cli", "from bcodec import __version__"),
        ("__main__", "from bcodec.cli.main import main"),
        ("cli", "from bcodec.cli.encode import encode"),
        (
            "commands.encode",
            "import click\nfrom bcodec import video\nfrom bcodec.cli.decode import decode_frames",
        ),
        ("__init__", "from bcodec.codec import encode\nfrom .video import VideoReader"),
        ("train.run", "from bcodec.train.clips import batches\nprint('step')"),
        ("train.clips", "from bcodec.video import VideoReader"),
        ("codec", "from bcodec import gop, networks\nfrom .networks import load_networks\nimport torch"),
        ("networks.__init__", "from bcodec.networks.bframe import BFrame\nfrom . import intra"),
        (
            "networks.bframe",
            "from bcodec.networks import motion\nfrom .latent import Latent\nfrom ..fixedpoint import snap",
        ),
        ("networks.brand_new", "from .layers import Block"),
        ("video", "from bcodec.frame import Frame\nimport sys\nsys.stdin"),
        ("gop", "from dataclasses import dataclass"),
    ],
)
def test_rule_allows_what_the_design_allows(name: str, source: str) -> None:
    assert violations(name, source) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("utils", ""),
        ("codec", "from bcodec.video import VideoReader"),
        ("codec", "from bcodec import __version__"),
        ("codec", "import bcodec.cli.main"),
        ("gop", "import torch"),
        ("dpb", "from torch.nn import functional"),
        ("bitstream.reader", "def late():\n    import torch"),
        ("bitstream.reader", "from ..gop import Slot"),
        ("metrics", "from . import video"),
        ("video", "from bcodec import networks"),
        ("networks.latent", "from bcodec.entropy.coder import RangeWriter"),
        ("networks.intra", "from ..dpb import Reference"),
        ("networks.intra", "from .. import bitstream"),
        ("networks.intra", "from ..video import VideoReader"),
        ("networks.latent", "from . import intra"),
        ("video.raw", "from bcodec.video.demux import Decoder"),
        ("video.demux", "from bcodec.video import VideoReader"),
        ("cli", "from bcodec.video.y4m import open_raw"),
        ("commands.decode", "from bcodec.cli.encode import encode"),
        ("commands.demo", "from bcodec.cli.main import commands"),
        ("batch", "from bcodec.cli.encode import encode"),
        ("networks.motion", "from .context import Context"),
        ("networks.motion", "from . import load_networks"),
        ("train.run", "from bcodec.cli.main import main"),
        ("train.run", "from sys import exit"),
        ("train.losses", "from bcodec.train.clips import Clip"),
        ("compare", "import tqdm"),
        ("compare", "from bcodec.pipeline.batch import encode_all"),
        ("train.stages", "from bcodec import compare"),
        ("__init__", "from bcodec.cli.main import main"),
        ("codec", "import click"),
        ("codec", "print('frame')"),
        ("video", "import sys\nsys.exit(1)"),
        ("gop", "from bcodec.nowhere import thing"),
    ],
)
def test_rule_refuses_what_the_design_refuses(name: str, source: str) -> None:
    assert violations(name, source) != []
