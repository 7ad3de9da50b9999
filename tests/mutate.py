"""Change each number that the decoder's path is made of, one at a time: which change does no pin notice?

    python tests/mutate.py [MODULE ...]     bcodec.networks.deblock, say; by default all that decoding imports

In a copy of the package, every number in every constant (a name in capitals at the top of a module) is made
larger, and the pinned file is decoded. A line tells of each change whether the pictures were others (caught),
or the same (SURVIVED): then the pinned file lacks something, or the constant decides no decoded bit.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
DECODE = "import pins; from bcodec.networks import load_networks; n = load_networks(); "
CHECK = DECODE + "assert pins.pictures_of(pins.FILE.read_bytes(), n) == pins.pinned()['pictures']"
LOADED = DECODE + "pins.pictures_of(pins.FILE.read_bytes(), n); import sys; print(*sys.modules)"


class Mutant(NamedTuple):
    """A number of a constant, where it stands, and what it becomes."""

    constant: str
    node: ast.Constant
    value: int | float


def constants(tree: ast.Module) -> Iterator[Mutant]:
    """Every number in the constants of a module."""
    for statement in tree.body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        for node in ast.walk(statement.value) if any(name.isupper() for name in names) else ():
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(node, ast.Constant) and isinstance(value, int | float):
                larger = value + 1 if isinstance(value, int) else value * 1.5 or 1.0
                yield Mutant(", ".join(names), node, larger)


def mutated(source: str, mutant: Mutant) -> str:
    """The source with that number changed."""
    lines = source.splitlines(keepends=True)
    node = mutant.node
    assert node.end_lineno == node.lineno
    assert node.end_col_offset is not None
    line = lines[node.lineno - 1].encode()
    changed = line[: node.col_offset] + repr(mutant.value).encode() + line[node.end_col_offset :]
    lines[node.lineno - 1] = changed.decode()
    return "".join(lines)


def run(code: str, package: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python that takes bcodec from a folder."""
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=package, capture_output=True, text=True, check=False)


def main(modules: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("bcodec", "weights"):
            shutil.copytree(TESTS.parent / part, copy / part)
        for name in ("pins.py", "clips.py", "pins.json", "pinned.bcv"):
            shutil.copy(TESTS / name, copy)
        if not modules:
            modules = sorted(m for m in run(LOADED, copy).stdout.split() if m.startswith("bcodec."))
        assert run(CHECK, copy).returncode == 0, "what is pinned does not hold as it is"
        for name in modules:
            path = copy / Path(*name.split(".")).with_suffix(".py")
            path = path if path.exists() else path.with_suffix("") / "__init__.py"
            source = path.read_text(encoding="utf-8")
            for mutant in constants(ast.parse(source)):
                path.write_text(mutated(source, mutant), encoding="utf-8")
                found = "SURVIVED" if run(CHECK, copy).returncode == 0 else "caught"
                value, line = ast.unparse(mutant.node), mutant.node.lineno
                print(f"{found:<9}{name}:{line} {mutant.constant}: {value} -> {mutant.value!r}", flush=True)
            path.write_text(source, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
