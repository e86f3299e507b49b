"""Generate `docs/schema.md` from the headers of the SQL files: every table, view and macro with its columns."""

from __future__ import annotations

from store.schema import objects
from store.sql_files import Header, all_columns, headers

_FOLDERS = {"tables": "Table", "views": "View", "labels": "View that looks forward", "macros": "Macro"}
_FACTS = ("grain", "reads", "known", "causal", "warm-up", "parameters")


def schema_markdown() -> str:
    """Return the whole page; the same SQL files give the same text."""
    parts = [
        "# What is in the databases\n",
        "Generated from the headers under `sql/`; do not edit: `python -m desk schema-doc` writes it again.",
        "Every sentence and column text below is also a comment in the database: `from help`, `describe seed39`.\n",
    ]
    for database in ("market", "signals"):
        parts.append(f"## `{database}.duckdb`\n")
        for name, (folder, header) in sorted(objects(database).items(), key=lambda item: _order(item[1][0], item[0])):
            parts.append(_section(name, folder, header))
    parts += [
        "## Worked questions\n",
        "`sql/adhoc/*.sql`, each run by a test: `python -m desk sql -f sql/adhoc/NAME.sql`\n",
    ]
    parts += [f"- `{name}`: {header.sentence}" for name, header in headers("adhoc").items()]
    parts += ["\n## Checks\n", "`sql/checks/*.sql` return the bad rows; none is the only good answer.\n"]
    parts += [f"- `{name}`: {header.sentence}" for name, header in headers("checks").items()]
    return "\n".join(parts) + "\n"


def _order(folder: str, name: str) -> tuple[int, str]:
    return list(_FOLDERS).index(folder), name


def _section(name: str, folder: str, header: Header) -> str:
    facts = "; ".join(f"{key}: {header.facts[key]}" for key in _FACTS if key in header.facts)
    lines = [f"### {_FOLDERS[folder]} `{name}`\n", f"{_sentence(header.sentence)}\n", f"*{facts}*\n"]
    if header.carries and header.columns:
        lines.append(f"Every column of `{header.carries}`, and:\n")
    columns = header.columns or ({} if folder == "macros" else all_columns(folder, name))
    if columns:
        lines += ["| column | what it holds |", "|---|---|"]
        lines += [f"| `{column}` | {text.replace('|', chr(92) + '|')} |" for column, text in columns.items()]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
