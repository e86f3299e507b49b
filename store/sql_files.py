"""Find SQL by name under `sql/`, and read the header that every statement there opens with.

A file holds one statement or several that are always read together; each opens with ``-- name: sentence``, and is found
by that name, whichever file of its folder it stands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SQL_ROOT = Path(__file__).resolve().parent.parent / "sql"

_KEYS = (
    "database", "grain", "carries", "without", "reads", "known", "causal", "warm-up", "history", "coins", "result", "parameters"
)  # fmt: skip
_OPENING = re.compile(r"^-- (?P<name>\w+): (?P<sentence>.+)$")
_ENTRY = re.compile(r"^--\s{1,2}(?P<key>[a-z][\w-]*)\s{2,}(?P<text>\S.*)$")
_NEXT_STATEMENT = re.compile(r"\n\n(?=-- \w+: )")
_TABLE_COLUMN = re.compile(r"^    (?P<name>[a-z]\w*) (?P<type>[a-z]\w*(?:\(\d+, \d+\))?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Header:
    """What a SQL statement says of itself: one sentence, the contract, then each column."""

    name: str
    sentence: str
    facts: dict[str, str]
    columns: dict[str, str]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tables, views and macros it is built on."""
        return self._names("reads")

    @property
    def carries(self) -> str | None:
        """The view whose columns stand before this one's own, None if every column is its own."""
        return self.facts.get("carries")

    @property
    def without(self) -> tuple[str, ...]:
        """The columns of the carried view that are left out."""
        return self._names("without")

    @property
    def database(self) -> str:
        """Return ``market``, ``signals`` or ``both``."""
        return self.facts.get("database", "market")

    @property
    def warm_up_minutes(self) -> int:
        """Minutes of a segment that must have passed before its first row: the header's leading number."""
        return self._minutes("warm-up")

    @property
    def history_minutes(self) -> int:
        """Minutes before a row that decide it: the header's ``history``, or the warm-up where there is none."""
        return max(self._minutes("history"), self.warm_up_minutes)

    def _names(self, key: str) -> tuple[str, ...]:
        text = self.facts.get(key, "nothing")
        return () if text == "nothing" else tuple(part.strip() for part in text.split(","))

    def _minutes(self, key: str) -> int:
        number = re.match(r"\d+", self.facts.get(key, "0"))
        return int(number.group()) if number else 0


def read_folder(folder: Path) -> dict[str, str]:
    """Return the text of every statement in the files of ``folder``, by name.

    Raises:
        ValueError: a file does not open with ``-- name: sentence``, or a name stands there twice.
    """
    texts: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        for part in _NEXT_STATEMENT.split(path.read_text(encoding="utf-8")):
            name = parse_header(part).name
            if name in texts:
                msg = f"{name} stands twice under {folder}, the second time in {path.name}; rename one of them"
                raise ValueError(msg)
            texts[name] = part.rstrip() + "\n"
    return texts


@cache
def statements(folder: str) -> dict[str, str]:
    """Return the text of every statement under ``sql/<folder>``, by name."""
    return read_folder(SQL_ROOT / folder)


def load_sql(name: str) -> str:
    """Return the statement called ``folder/name``.

    Raises:
        KeyError: there is none; a mistake in the code, not of the user.
    """
    folder, _, own = name.partition("/")
    return statements(folder)[own]


def statement(text: str) -> str:
    """Return SQL without its comments and line breaks: what it does, whatever its layout and words."""
    lines = (line.partition("--")[0] for line in text.splitlines())
    return " ".join(" ".join(lines).split())


def parse_header(text: str) -> Header:
    """Read the leading comment block of a SQL statement.

    Raises:
        ValueError: the first line is not ``-- name: sentence``.
    """
    lines = text.splitlines()
    first = _OPENING.match(lines[0]) if lines else None
    if first is None:
        msg = f"a SQL statement must open with '-- name: sentence', found {lines[0] if lines else 'nothing'!r}"
        raise ValueError(msg)
    facts: dict[str, str] = {}
    columns: dict[str, str] = {}
    for line in lines[1:]:
        if not line.startswith("--"):
            break
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        target = facts if entry["key"] in _KEYS and not columns else columns
        target[entry["key"]] = entry["text"].strip()
    return Header(first["name"], first["sentence"], facts, columns)


@cache
def headers(folder: str) -> dict[str, Header]:
    """Return the header of every statement under ``sql/<folder>``, by name."""
    return {name: parse_header(text) for name, text in statements(folder).items()}


@cache
def all_columns(folder: str, name: str) -> dict[str, str]:
    """Return every column of an object with its text: first those it carries from another view, then its own."""
    header = headers(folder)[name]
    carried = all_columns(folder, header.carries) if header.carries else {}
    return {column: text for column, text in carried.items() if column not in header.without} | header.columns


@cache
def table_columns(table: str) -> dict[str, str]:
    """Return the columns of a table with their types, in order, as its ``create table`` says."""
    return {column["name"]: column["type"] for column in _TABLE_COLUMN.finditer(load_sql(f"tables/{table}"))}
