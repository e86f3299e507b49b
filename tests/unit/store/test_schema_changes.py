"""Tables, views and macros change in migrations only; what writes to a live file never does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from store.sql_files import statement, statements

ROOT = Path(__file__).resolve().parents[3]
CHANGE = re.compile(
    r"^((create|alter|drop) (or replace )?(table|view|macro|schema|index|sequence|type)|truncate|comment on)\b", re.I
)
# these change a database in memory that lives as long as the call or the process, and the first one is where it belongs
IN_MEMORY = {"month_cache.py", "feature_store.py", "raw_export.py", "verification.py"}


@pytest.mark.parametrize("folder", ["queries", "checks", "adhoc"])
def test_no_statement_changes_an_object_that_lasts(folder: str) -> None:
    assert [name for name, text in statements(folder).items() if CHANGE.match(statement(text))] == []


def test_only_the_schema_changes_objects_of_a_file() -> None:
    found = {
        path.name
        for path in (ROOT / "store").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CHANGE.match(node.value.strip())
    }
    assert found - IN_MEMORY == {"schema.py"}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("create table t (n integer)", True),
        ("CREATE OR REPLACE VIEW v as select 1", True),
        ("alter table t add column n integer", True),
        ("create or replace temp table t as select 1", False),
        ("create temp view v as select 1", False),
        ("insert into t values (1)", False),
    ],
)
def test_rule_tells_lasting_changes_from_temporary_ones(text: str, *, changes: bool) -> None:
    assert bool(CHANGE.match(text)) is changes
