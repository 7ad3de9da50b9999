"""The programs among the examples, as modules whose parts can be tested."""

import importlib.util
import sys
from pathlib import Path
from typing import Any


def example(name: str) -> Any:
    """The module of examples/NAME.py."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
