"""Run any SQL on the published read copies; print a table, CSV, JSON or Markdown, or write Parquet (`desk sql`)."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from core.errors import ConfigError, StoreError
from core.settings import load_settings
from store.reader import Reader
from store.schema import objects
from store.sql_files import SQL_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from store.reader import Row

MAX_TABLE_ROWS = 200
_MAX_RECORDS = 5
"""Up to so many rows that are too wide are shown one value a line; more are shown in blocks of columns."""
_KEYS = ("product", "open_time", "day", "start_time", "kind", "name", "session")
"""Columns repeated in every block when they stand in front."""
Format = Literal["table", "csv", "json", "markdown"]
remarks = Console(stderr=True)


def sql(
    query: Annotated[
        str | None,
        typer.Argument(help="SQL text, or the name of a worked question (see --list); a prompt when left out"),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from a file")] = None,
    output: Annotated[Format, typer.Option("--format", help="How the rows are printed")] = "table",
    parquet: Annotated[Path | None, typer.Option(help="Write the rows to this Parquet file instead")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="name=value, for $name in the SQL; repeat it")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"Most rows to show; 0 for all. By default {MAX_TABLE_ROWS} of a table, all otherwise", min=0
        ),
    ] = None,
    read: Annotated[
        list[Path] | None,
        typer.Option(help="A Parquet, CSV or JSON file of your own, for from 'FILE' in the SQL; repeat it"),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="List the worked questions in sql/adhoc")] = False,
) -> None:
    """Query candles, features, decisions and models; never waits for a flow and never breaks one.

    Begin with: desk sql "from help". A moment is text in UTC or now(): desk sql "from features_at('BTC', now())"
    """
    if names:
        _list()
        return
    given = _parameters(parameter or [])
    with Reader(load_settings().paths, read or ()) as reader:
        if query is None and file is None and sys.stdin.isatty():
            _prompt(reader)
            return
        text = _text(query, file)
        try:
            if parquet is not None:
                reader.write_parquet(text, parquet, given)
                remarks.print(f"wrote {parquet}", highlight=False, soft_wrap=True)
                return
            columns, rows = reader.stream(text, given)
            print_rows(columns, rows, output, limit)
        except StoreError as error:
            raise StoreError(explained(str(error), reader)) from error
        if output == "table":
            remarks.print(f"[dim]{_copies(reader)}[/dim]", highlight=False)


def _text(query: str | None, file: Path | None) -> str:
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            msg = f"{file} cannot be read ({why}); name another file with --file"
            raise ConfigError(msg) from error
    elif query is None:
        text = sys.stdin.read()
    else:
        worked = SQL_ROOT / "adhoc" / f"{query}.sql"
        text = worked.read_text(encoding="utf-8") if query.isidentifier() and worked.exists() else query
    if not re.sub(r"--[^\n]*|[\s;]", "", text):
        msg = 'there is no SQL to run; try: desk sql "from help", or desk sql --list for worked questions'
        raise ConfigError(msg)
    if query and query.isidentifier() and text == query:
        near = difflib.get_close_matches(query, [path.stem for path in (SQL_ROOT / "adhoc").glob("*.sql")], 3)
        hint = f"near it: {', '.join(near)}; " if near else ""
        msg = f'no worked question is called {query}; {hint}desk sql --list names all, desk sql "from {query}" reads a table'
        raise ConfigError(msg)
    return text


def _parameters(given: Sequence[str]) -> dict[str, object]:
    parameters: dict[str, object] = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not sign or not name.isidentifier():
            msg = f"{pair!r} is no parameter; write --parameter name=value and $name in the SQL"
            raise ConfigError(msg)
        parameters[name] = _number(value)
    return parameters


def _number(text: str) -> object:
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?", text) else text


def _list() -> None:
    for path in sorted((SQL_ROOT / "adhoc").glob("*.sql")):
        print(path.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- "))


def _copies(reader: Reader) -> str:
    moment = reader.published_at()
    age = timedelta(seconds=round((datetime.now(UTC) - moment).total_seconds()))
    return f"read copy of {' and '.join(reader.databases)}, {age} old ({moment:%Y-%m-%d %H:%M} UTC)"


# --- errors


def explained(text: str, reader: Reader) -> str:
    """Return DuckDB's ``text`` as one line that says what is wrong and what to do about it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = (
        re.sub(r"^(Catalog|Binder|Parser|Permission|Invalid Input|Conversion|IO) Error: ", "", lines[0])
        if lines
        else text
    )
    missing = re.search(r"(?:Table|View|Table Function) with name (\S+) does not exist", first)
    if missing:
        return _not_there(missing[1].strip('"').rpartition(".")[2], reader)
    forbidden = re.search(r'Cannot access (?:file|directory) "(.*?)"', first)
    if forbidden:
        return f"{forbidden[1]} is not read: name a Parquet, CSV or JSON file of yours with --read {forbidden[1]}"
    if re.match(r'Referenced column "now" not found|Referenced column "now" was not found', first):
        return "now is written now() in SQL: from features_at('BTC', now())"
    rest = [line for line in lines[1:] if line.startswith(("Candidate", "Did you mean"))]
    at = next((line for line in lines[1:] if re.match(r"LINE \d+:", line)), "")
    return " ".join([first, *rest, f"(at {at[5:]})" if at else ""]).strip()


def _not_there(name: str, reader: Reader) -> str:
    everything = reader.names()
    for database, command in (("signals", "make run-dry"), ("market", "make backfill")):
        if name in objects(database) and name not in everything:
            if database not in reader.databases:
                return f"{name} belongs to the {database} database, which is not published yet; run: {command}, then desk publish"
            return f"the read copy was made by older code and has no {name} yet; run: make features"
    near = difflib.get_close_matches(name.lower(), everything, 4, 0.5)
    near += [other for other in everything if name.lower() in other and other not in near][:4]
    hint = f"near it: {', '.join(near)}" if near else "nothing is called alike"
    return f'there is no table, view or macro {name}; {hint}. All of them: desk sql "from help"'


# --- rows


def print_rows(columns: list[str], rows: Iterator[Row], output: Format, limit: int | None) -> None:
    """Print up to ``limit`` rows; whoever reads the pipe may stop at any moment, as `head` does."""
    limit = (MAX_TABLE_ROWS if output == "table" else 0) if limit is None else limit
    shown = islice(rows, limit) if limit else rows
    try:
        {"table": _table, "csv": _csv, "json": _json, "markdown": _markdown}[output](columns, shown)
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered must not be tried again when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if limit and next(rows, None) is not None:
        remarks.print(
            f"the first {limit} rows; there are more: --limit 0 shows all, --format csv or --parquet keep them"
        )


def _csv(columns: list[str], rows: Iterator[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def _json(columns: list[str], rows: Iterator[Row]) -> None:
    """Print a list of objects, one a line, without holding them all."""
    opening = "["
    for row in rows:
        print(f"{opening}\n  {json.dumps(dict(zip(columns, row, strict=True)), default=_plain)}", end="")
        opening = ","
    print("[]" if opening == "[" else "\n]")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        # a number where a float is exact, text where it would not be
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _markdown(columns: list[str], rows: Iterator[Row]) -> None:
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(_cell(value).replace('|', chr(92) + '|').replace(chr(10), ' ') for value in row)} |")


def _table(columns: list[str], rows: Iterator[Row]) -> None:
    """Print a table; one too wide for the terminal becomes blocks of columns or, for few rows, one value a line."""
    held = list(rows)
    if not held:
        print(f"no rows ({', '.join(columns)})" if columns else "done")
        return
    cells = [[_cell(value) for value in row] for row in held]
    # through a pipe a table is as wide as it needs
    width = Console().width if sys.stdout.isatty() else 10_000
    widths = [2 + max(len(name), *(len(row[n]) for row in cells)) for n, name in enumerate(columns)]
    numeric = {n for n in range(len(columns)) if all(isinstance(row[n], int | float | Decimal | None) for row in held)}
    if sum(widths) > width and len(held) <= _MAX_RECORDS:
        grids = [_grid(("", ""), [list(pair) for pair in zip(columns, row, strict=True)], set()) for row in cells]
    else:
        blocks = column_blocks(columns, widths, width)
        grids = [
            _grid(
                [columns[n] for n in block],
                [[row[n] for n in block] for row in cells],
                {at for at, n in enumerate(block) if n in numeric},
            )
            for block in blocks
        ]
    # by way of text: rich ends the whole process on a closed pipe, with status 1
    sink = io.StringIO()
    console = Console(file=sink, width=width, force_terminal=sys.stdout.isatty(), markup=False, emoji=False)
    for grid in grids:
        console.print(grid, highlight=False)
    print("\n".join(line.rstrip() for line in sink.getvalue().rstrip().splitlines()))


def _grid(columns: Sequence[str], cells: list[list[str]], numeric: set[int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(columns))
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at in numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    table.add_row()  # parts blocks and records
    return table


def column_blocks(columns: Sequence[str], widths: Sequence[int], width: int) -> list[list[int]]:
    """Return which columns stand together in ``width``; key columns in front stand in every block."""
    keys = list(takewhile(lambda n: columns[n] in _KEYS, range(len(columns))))
    while sum(widths[n] for n in keys) > width // 2:
        keys.pop()
    blocks = [[*keys]]
    for n in range(len(keys), len(columns)):
        if len(blocks[-1]) > len(keys) and sum(widths[i] for i in blocks[-1]) + widths[n] > width:
            blocks.append([*keys])
        blocks[-1].append(n)
    return blocks


def _cell(value: Any) -> str:  # noqa: ANN401  # whatever type a column has
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return f"{moment:{'%Y-%m-%d %H:%M:%S' if moment.second or moment.microsecond else '%Y-%m-%d %H:%M'}}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


# --- prompt


def _prompt(reader: Reader) -> None:
    try:
        import readline  # noqa: F401, PLC0415  # gives input() a history; not in every Python
    except ImportError:
        remarks.print("no line history in this Python", style="dim")
    remarks.print(f"{_copies(reader)}. End a statement with ; and the session with Ctrl-D. Try: from help;")
    lines: list[str] = []
    while True:
        try:
            lines.append(input("desk> " if not lines else "  ... "))
            if lines in (["quit"], ["exit"]):
                return
            if lines[-1].rstrip().endswith(";"):
                _answer(reader, "\n".join(lines))
                lines = []
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            lines = []


def _answer(reader: Reader, text: str) -> None:
    try:
        columns, rows = reader.stream(text)
        print_rows(columns, rows, "table", None)
    except StoreError as error:
        remarks.print(explained(str(error), reader), style="red", highlight=False, markup=False, soft_wrap=True)
