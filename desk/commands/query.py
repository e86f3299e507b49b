"""`desk sql`: any SQL on the published read copies, as a table, CSV, JSON or a Parquet file."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from desk.config import load_settings
from desk.errors import ConfigError, StoreError
from store.queries import SQL_ROOT
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_ROWS = 200
console = Console()
remarks = Console(stderr=True)


class Format(StrEnum):
    """How the rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="SQL text, or the name of a worked question (see --list); a prompt when left out"),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file")] = None,
    output: Annotated[Format, typer.Option("--format", help="table, csv or json")] = Format.TABLE,
    parquet: Annotated[Path | None, typer.Option(help="Write the rows to this Parquet file instead")] = None,
    names: Annotated[bool, typer.Option("--list", help="List the worked questions in sql/adhoc")] = False,
) -> None:
    """Query candles, features, decisions and models; never waits for a flow and never breaks one."""
    if names:
        _list()
        return
    with Reader(load_settings().paths) as reader:
        if query is None and file is None:
            _prompt(reader)
            return
        text = _text(query, file)
        if parquet is not None:
            reader.write_parquet(text, parquet)
            remarks.print(f"wrote {parquet}")
            return
        _show(reader.sql(text), output)
        if output is Format.TABLE:
            remarks.print(f"[dim]read copy of {_age(reader.published_at())} ago[/dim]")


def _text(query: str | None, file: Path | None) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{file} cannot be read ({error.strerror}); name another file with --file"
            raise ConfigError(msg) from error
    worked = SQL_ROOT / "adhoc" / f"{query}.sql"
    return worked.read_text(encoding="utf-8") if query and query.isidentifier() and worked.exists() else query or ""


def _list() -> None:
    for path in sorted((SQL_ROOT / "adhoc").glob("*.sql")):
        console.print(path.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- "))


def _age(moment: datetime) -> str:
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _show(rows: Sequence[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print(json.dumps(rows, default=str, indent=2))
    elif output is Format.CSV:
        writer = csv.writer(sys.stdout)
        if rows:
            writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    else:
        _table(rows)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        console.print("no rows")
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float | Decimal) else "left", overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)
    if len(rows) > _MOST_ROWS:
        remarks.print(f"the first {_MOST_ROWS} of {len(rows)} rows; add a limit, or use --format csv for all")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        moment = value.astimezone(UTC)
        return f"{moment:%Y-%m-%d %H:%M}" if moment.second == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _prompt(reader: Reader) -> None:
    remarks.print(
        "SQL on the read copies; end a statement with ; and the session with Ctrl-D. Try: select * from coverage;"
    )
    lines: list[str] = []
    while True:
        try:
            lines.append(input("desk> " if not lines else "  ... "))
        except EOFError:
            return
        if lines[-1].rstrip().endswith(";"):
            try:
                _table(reader.sql("\n".join(lines)))
            except StoreError as error:
                remarks.print(str(error), style="red", highlight=False)
            lines = []
