"""Nothing that is loaded can bring code with it: no pickle, and torch reads tensors only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("flows", "tasks", "desk", "reports", "runtime", "validation", "market", "models", "store", "core")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PICKLING = {"pickle", "_pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "copyreg"}
CALLS = {"read_pickle", "to_pickle"}


def faults(source: str) -> list[str]:
    """Every way in which a module could unpickle."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} != {"UnpicklingError"}:
            # an error's name only serves to catch what torch raises
            names = [node.module or ""]
        found += [f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in PICKLING]
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        owner = ast.unparse(node.func.value)
        if node.func.attr == "load" and owner == "torch" and given.get("weights_only") != "True":
            found.append(f"line {node.lineno}: torch.load without weights_only=True")
        if node.func.attr in CALLS or given.get("allow_pickle", "False") != "False":
            found.append(f"line {node.lineno}: {owner}.{node.func.attr} unpickles")
    return found


def test_no_module_unpickles_anything():
    assert len(FILES) > 150
    found = {str(path.relative_to(ROOT)): faults(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('weights.pt')",
        "import torch\ntorch.load('weights.pt', weights_only=False)",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "import pandas as pd\npd.read_pickle('a')",
    ],
)
def test_scan_finds_what_unpickles(source):
    assert len(faults(source)) == 1
