"""docs/architecture.md against the tree: its picture is that of the import contracts, its files exist, its counts are right."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = dict(re.findall(r"^\*\*([a-d])\. .*?\*\*\n(.*?)(?=^\*\*|^## )", PAGE, re.MULTILINE | re.DOTALL))


def files_of(text: str) -> list[str]:
    """Return the files named in ``text``, each once; ``name_{a,b}.sql`` stands for two."""
    names = []
    for name in re.findall(r"`([\w/{},]+\.(?:py|sql))`", text):
        head, _, rest = name.partition("{")
        inside, _, tail = rest.partition("}")
        names += [f"{head}{part}{tail}" for part in inside.split(",")]
    return list(dict.fromkeys(names))


def test_every_file_that_is_named_exists():
    assert [name for name in files_of(PAGE) if not (ROOT / name).is_file()] == []


def test_picture_has_the_floors_of_the_import_contracts():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = [[room.strip() for room in floor.split("|")] for floor in contracts[0]["layers"]]
    arrows = [f"{' & '.join(above)} --> {' & '.join(below)}" for above, below in itertools.pairwise(floors)]
    assert re.findall(r"^    (.* --> .*)$", PAGE, re.MULTILINE) == arrows


@pytest.mark.parametrize("column", range(4), ids="abcd")
def test_counts_of_the_walks_are_those_of_their_steps(column):
    files = files_of(WALKS["abcd"[column]])
    counts = [sum(name.endswith(kind) for name in files) for kind in (".py", ".sql")]
    cells = re.search(r"^\| now \|(.*)\|$", PAGE, re.MULTILINE)[1].split("|")
    assert cells[column].strip() == " + ".join(str(count) for count in counts if count)
