"""SQL files by name, and the header every one of them opens with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SQL_ROOT = Path(__file__).resolve().parent.parent / "sql"

_KEYS = (
    "database", "grain", "carries", "reads", "known", "causal", "warm-up", "history", "coins", "result", "parameters"
)  # fmt: skip
_ENTRY = re.compile(r"^--\s{1,2}(?P<key>[a-z][\w-]*)\s{2,}(?P<text>\S.*)$")


@dataclass(frozen=True, slots=True)
class Header:
    """What a SQL file says of itself: one sentence, the contract, then each column."""

    name: str
    sentence: str
    facts: dict[str, str]
    columns: dict[str, str]

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tables and views it is built on."""
        text = self.facts.get("reads", "nothing")
        return () if text == "nothing" else tuple(part.strip() for part in text.split(","))

    @property
    def carries(self) -> str | None:
        """The view whose columns all stand before this one's own, None if every column is its own."""
        return self.facts.get("carries")

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

    def _minutes(self, key: str) -> int:
        found = re.match(r"\d+", self.facts.get(key, "0"))
        return int(found.group()) if found else 0


@cache
def load_sql(name: str) -> str:
    """Return the text of ``sql/<name>.sql``.

    Raises:
        FileNotFoundError: there is no such file; a mistake in the code, not of the user.
    """
    return (SQL_ROOT / f"{name}.sql").read_text(encoding="utf-8")


def statement(text: str) -> str:
    """Return SQL without its comments and line breaks: what it does, whatever its layout and words."""
    lines = (line.partition("--")[0] for line in text.splitlines())
    return " ".join(" ".join(lines).split())


def parse_header(text: str) -> Header:
    """Read the leading comment block of a SQL file.

    Raises:
        ValueError: the first line is not ``-- name: sentence``.
    """
    lines = text.splitlines()
    first = re.match(r"^-- (?P<name>\w+): (?P<sentence>.+)$", lines[0]) if lines else None
    if first is None:
        msg = f"a SQL file must open with '-- name: sentence', found {lines[0] if lines else 'nothing'!r}"
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
    """Return the headers of every file in ``sql/<folder>``, by object name."""
    found = (parse_header(path.read_text(encoding="utf-8")) for path in sorted((SQL_ROOT / folder).glob("*.sql")))
    return {header.name: header for header in found}
