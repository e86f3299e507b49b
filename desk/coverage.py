"""`desk coverage`: what became of every minute, as a table, as a calendar of shades, as CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.errors import UnknownProductError
from core.settings import load_settings
from store.reader import Reader

_MOST_ROWS = 200
_STATES = ("stored", "empty", "quarantined", "failed", "unasked")
# a day's shade: how much of what the exchange has is stored
_SHADES = ((0.999, "█"), (0.9, "▓"), (0.5, "▒"), (0.0, "░"))
_COLOURS = {"failed": "red", "quarantined": "yellow", "unasked": "bright_black", "empty": "blue", "stored": "green"}
console = Console()
remarks = Console(stderr=True)


def coverage(
    product: Annotated[
        list[str] | None, typer.Argument(help="Products, such as BTC-USD or btc; all when left out")
    ] = None,
    daily: Annotated[bool, typer.Option("--daily", help="One cell per day (one row per day as CSV or JSON)")] = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="Runs of minutes without a candle, with when and why")
    ] = False,
    output: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How the rows are printed")
    ] = "table",
) -> None:
    """Show which minutes are stored, proved empty, quarantined, failed and not asked for."""
    settings = load_settings()
    with Reader(settings.paths) as reader:
        rows = reader.rows("queries/" + ("coverage_days" if daily else "coverage_runs" if windows else "coverage_rows"))
        published_at = reader.published_at()
    rows = _chosen(rows, settings.resolve_products(product) if product else ())
    if output == "json":
        print(json.dumps(rows, default=str, indent=2))
    elif output == "csv":
        _csv(rows)
    else:
        (_calendars if daily else _runs if windows else _summary)(rows)
        remarks.print(f"[dim]read copy of {published_at:%Y-%m-%d %H:%M} UTC[/dim]")


def _chosen(rows: list[dict[str, Any]], products: tuple[str, ...] | list[str]) -> list[dict[str, Any]]:
    known = {row["product"] for row in rows}
    strange = [name for name in products if name not in known]
    if strange:
        msg = (
            f"nobody asked for {', '.join(strange)}; there are {', '.join(sorted(known)) or 'none'}. Run: make backfill"
        )
        raise UnknownProductError(msg)
    return [row for row in rows if not products or row["product"] in products]


def _csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout)
    if rows:
        writer.writerow(rows[0])
    writer.writerows(["" if value is None else value for value in row.values()] for row in rows)


def _summary(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("product", "listing", "from", "to"):
        table.add_column(name, no_wrap=name != "listing")
    for name in ("minutes", *_STATES, "revised"):
        table.add_column(name, justify="right", style=_COLOURS.get(name))
    for row in rows:
        table.add_row(
            row["product"],
            row["listing"] or "",
            _day(row["first_open_time"]),
            _day(row["last_open_time"]),
            f"{row['span_minutes']:,}",
            *(f"{row[f'{state}_minutes']:,}" if row[f"{state}_minutes"] else "" for state in _STATES),
            f"{row['revised_candles']:,}" if row["revised_candles"] else "",
        )
    console.print(table)
    for row in rows:
        if row["listing_reason"]:
            console.print(f"{row['product']}: {row['listing_reason']}", style="dim", soft_wrap=True, highlight=False)


def _calendars(rows: list[dict[str, Any]]) -> None:
    for product, days in groupby(rows, key=lambda row: row["product"]):
        console.print(Text(product, style="bold"))
        for month, cells in groupby(days, key=lambda row: row["day"].replace(day=1)):
            _month(month, list(cells))
    legend = Text("one cell a day: ")
    for least, shade in _SHADES:
        legend.append(f"{shade} from {100 * least:g} %  ")
    legend.append("of what the exchange has\n")
    for state, colour in _COLOURS.items():
        legend.append(f"{state}  ", style=colour)
    legend.append("(the worst that the day has a minute of; empty only from half a day on)")
    console.print(legend)


def _month(month: date, days: list[dict[str, Any]]) -> None:
    line = Text(f"  {month:%Y-%m} ")
    line.append(" " * (days[0]["day"].day - 1))
    for row in days:
        line.append(*_cell(row))
    line.append(" " * (31 - days[-1]["day"].day + 2))
    sums = {state: sum(row[f"{state}_minutes"] for row in days) for state in _STATES}
    total = sum(sums.values())
    line.append(f"{100 * sums['stored'] / total:6.2f} % stored")
    for state in _STATES[1:]:
        if sums[state]:
            line.append(f"  {sums[state]:,} {state}", style=_COLOURS[state])
    console.print(line, soft_wrap=True)


def _cell(row: dict[str, Any]) -> tuple[str, str]:
    minutes = {state: row[f"{state}_minutes"] for state in _STATES}
    total = sum(minutes.values())
    there = total - minutes["empty"]
    share = minutes["stored"] / there if there else 0.0
    shade = next(shade for least, shade in _SHADES if share >= least) if there else "·"
    blemish = next((state for state in ("failed", "quarantined", "unasked") if minutes[state]), None)
    if blemish is None:
        blemish = "empty" if 2 * minutes["empty"] >= total else "stored"
    return shade, _COLOURS[blemish]


def _runs(rows: list[dict[str, Any]]) -> None:
    if not rows:
        console.print("every minute asked for is stored")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("product", "from", "to", "minutes", "state", "asked", "tries", "why", "source"):
        table.add_column(name, justify="right" if name in {"minutes", "tries"} else "left", overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(
            row["product"],
            _minute(row["start_time"]),
            _minute(row["end_time"]),
            f"{row['minutes']:,}",
            Text(row["state"], style=_COLOURS.get(row["state"], _COLOURS["unasked"])),
            _minute(row["asked_at"]),
            "" if row["tries"] is None else str(row["tries"]),
            row["reason"],
            row["source"] or "",
        )
    console.print(table)
    if len(rows) > _MOST_ROWS:
        remarks.print(f"the first {_MOST_ROWS} of {len(rows)} runs; name a product, or use --format csv for all")


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}" if moment else ""


def _minute(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""
