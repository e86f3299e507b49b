"""Write pages into the tables: candles, revisions, quarantine and ledger, all inside the caller's transaction.

Plain Python and numpy, no Arrow: the runtime imports this too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.candles import MINUTE, floor_minute
from core.failpoints import failpoint
from store.candle_rules import fault, require_one_market
from store.ledger import FAILED, QUARANTINED, Window, answered_window, recorded, settled, told_windows
from store.sql_files import load_sql, table_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import duckdb

    from core.candles import Candle, Page, Span


@dataclass(frozen=True, slots=True)
class WriteCount:
    """What one call of `FeatureStore.record_pages` changed."""

    stored: int = 0
    """Candles of minutes that had none."""
    revised: int = 0
    """Candles that came back different; both versions are kept."""
    quarantined: int = 0
    """Rows that broke a rule of `store.candle_rules`."""
    empty_minutes: int = 0
    """Minutes of the pages for which the exchange has nothing."""


class Version(NamedTuple):
    """One candle as it was told at one time."""

    known_at: datetime
    candle: Candle
    source: str


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows of some pages, the good apart from the bad, and what the pages prove."""

    good: dict[tuple[str, datetime], list[Version]]
    bad: list[tuple[Candle, Page, str]]
    windows: dict[str, list[Window]]


def record_pages(
    connection: duckdb.DuckDBPyConnection, pages: Sequence[Page], *, are_sound: bool = False
) -> WriteCount:
    """Store pages; doing it twice, or in another order, or overlapping, ends in the same candles and versions.

    Args:
        connection: An open transaction.
        pages: Answered windows.
        are_sound: The caller has held every candle against the rules already, a tenth of the time of an import.

    Raises:
        MixedSourcesError: a page is of another market than those stored before.
    """
    require_one_market(connection, pages)
    rows = sort_rows(pages, are_sound=are_sound)
    stored = revised = 0
    # nearly always one round: more only where one batch tells a minute several times
    for depth in range(max((len(versions) for versions in rows.good.values()), default=0)):
        layer = [versions[depth] for versions in rows.good.values() if len(versions) > depth]
        counts = _apply(connection, layer)
        stored += counts.get("new", 0)
        revised += counts.get("newer", 0) + counts.get("older", 0)
    failpoint("ingest.after_candles")
    quarantined = _quarantine(connection, rows.bad)
    failpoint("ingest.after_quarantine")
    for product, windows in rows.windows.items():
        record_windows(connection, product, windows)
    return WriteCount(stored, revised, quarantined, _empty_minutes(pages))


def sort_rows(pages: Sequence[Page], *, are_sound: bool = False) -> Sorted:
    """Part good rows from bad ones; of a minute told several times keep each different telling, oldest first."""
    rows = Sorted({}, [], {})
    for page in sorted(pages, key=lambda page: page.known_at):
        nonsense: dict[datetime, str] = {}
        for candle in page.candles:
            reason = None if are_sound else fault(candle, page.window, page.known_at)
            if reason is not None:
                rows.bad.append((candle, page, reason))
                nonsense[floor_minute(candle.open_time)] = reason
                continue
            version = Version(page.known_at, candle, page.source)
            versions = rows.good.setdefault((candle.product, candle.open_time), [])
            if not versions or versions[-1][:2] != version[:2]:
                versions.append(version)
        if nonsense:
            nonsense = {minute: why for minute, why in nonsense.items() if not _is_told(rows, page, minute)}
        for window in told_windows(page, nonsense):
            rows.windows.setdefault(page.product, []).append(window)
    return rows


def _is_told(rows: Sorted, page: Page, minute: datetime) -> bool:
    """Return whether ``page`` has a good row of ``minute`` too."""
    versions = rows.good.get((page.product, minute), [])
    return any(version.known_at == page.known_at for version in versions)


def _empty_minutes(pages: Sequence[Page]) -> int:
    empty = 0
    for page in pages:
        window = answered_window(page)
        if window is not None:
            versions = {floor_minute(candle.open_time) for candle in page.candles}
            inside = sum(window.start <= minute < window.end for minute in versions)
            empty += (window.end - window.start) // MINUTE - inside
    return empty


def stage(connection: duckdb.DuckDBPyConnection, versions: Sequence[Version]) -> None:
    """Lay candles into the temporary table ``incoming``; numbers travel as text, so that no decimal is lost."""
    columns = {
        "product": _texts(version.candle.product for version in versions),
        "open_us": _micros(version.candle.open_time for version in versions),
        "open": _texts(version.candle.open for version in versions),
        "high": _texts(version.candle.high for version in versions),
        "low": _texts(version.candle.low for version in versions),
        "close": _texts(version.candle.close for version in versions),
        "volume": _texts(version.candle.volume for version in versions),
        "source": _texts(version.source for version in versions),
        "known_us": _micros(version.known_at for version in versions),
    }
    connection.register("incoming_arrays", columns)
    connection.execute(load_sql("queries/ingest_stage"))
    connection.unregister("incoming_arrays")


def _texts(values: Iterable[object]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array([str(value) for value in values], dtype=object)


def _micros(values: Iterable[datetime]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    # through whole seconds: a float of microseconds since 1970 would lose the last digit
    return np.array([int(value.timestamp()) * 1_000_000 + value.microsecond for value in values], dtype=np.int64)


def _apply(connection: duckdb.DuckDBPyConnection, versions: Sequence[Version]) -> dict[str, int]:
    stage(connection, versions)
    connection.execute(load_sql("queries/ingest_compare"))
    counts = dict(connection.execute(load_sql("queries/ingest_count")).fetchall())
    failpoint("ingest.after_compare")
    if counts.get("newer") or counts.get("older") or counts.get("earlier"):
        connection.execute(load_sql("queries/ingest_versions"))
        connection.execute(load_sql("queries/ingest_forget_versions"))
        connection.execute(load_sql("queries/ingest_keep_versions"))
        failpoint("ingest.after_replaced")
        connection.execute(load_sql("queries/ingest_replace"))
        connection.execute(load_sql("queries/ingest_forget_confirmed"))
        connection.execute(load_sql("queries/ingest_keep_confirmed"))
    if counts.get("same"):
        connection.execute(load_sql("queries/ingest_confirm"))
        connection.execute(load_sql("queries/ingest_forget_confirmations"))
    if counts.get("new"):
        connection.execute(load_sql("queries/ingest_insert"))
    return counts


def replace_candles(connection: duckdb.DuckDBPyConnection, candles: Sequence[Candle]) -> None:
    """Store candles without revisions or ledger, the newest word winning; for the runtime's in-memory store."""
    versions = {(candle.product, candle.open_time): Version(candle.open_time, candle, "runtime") for candle in candles}
    if not versions:
        return
    stage(connection, list(versions.values()))
    connection.execute(load_sql("queries/ingest_forget"))
    connection.execute(load_sql("queries/ingest_append"))


def _quarantine(connection: duckdb.DuckDBPyConnection, bad: Sequence[tuple[Candle, Page, str]]) -> int:
    rows = [
        (
            candle.product,
            candle.open_time,
            *map(float, (candle.open, candle.high, candle.low, candle.close, candle.volume)),
            page.source,
            page.known_at,
            reason,
        )
        for candle, page, reason in bad
    ]
    columns = ("product", "open_time", "open", "high", "low", "close", "volume", "source", "known_at", "reason")
    before = _count(connection, "candle_quarantine")
    insert_rows(connection, "candle_quarantine", columns, rows)
    return _count(connection, "candle_quarantine") - before


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])  # noqa: S608  # our own names


def insert_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    key: Sequence[str] | None = None,
) -> None:
    """Insert rows into a table of ours, all in one statement, with the types its ``create table`` names.

    Args:
        connection: An open transaction.
        table: Its name.
        columns: The columns that ``rows`` hold, in their order.
        rows: One sequence of values a row.
        key: A row whose key is there already is left alone; without columns every row is new. When left out, a row
            that is there already, equal in every column, is left alone.
    """
    if not rows:
        return
    types, names = table_columns(table), ", ".join(columns)
    lists = ", ".join(f"unnest(${position}::{types[name]}[]) as {name}" for position, name in enumerate(columns, 1))
    unseen = f"except select {names} from {table}"  # noqa: S608  # our own names
    if key is not None:
        same = " and ".join(f"kept.{name} = fresh.{name}" for name in key)
        unseen = f"where not exists (select 1 from {table} as kept where {same})" if key else ""  # noqa: S608  # as above
    connection.execute(
        f"insert into {table} ({names}) select {names} from (select {lists}) as fresh {unseen}",  # noqa: S608  # as above
        [list(values) for values in zip(*rows, strict=True)],
    )


def record_failure(
    connection: duckdb.DuckDBPyConnection, product: str, span: Span, reason: str, source: str, at: datetime
) -> None:
    """Note that a window could not be fetched; it stays missing."""
    record_windows(connection, product, [Window(span.start, span.end, FAILED, at, 1, reason, source)])


def record_windows(connection: duckdb.DuckDBPyConnection, product: str, news: Sequence[Window]) -> None:
    """Write windows into the ledger, cut and merged with those they touch."""
    low, high = min(window.start for window in news), max(window.end for window in news)
    touched = [product, high, low]
    windows = ledger_windows(connection, product, low, high)
    for window in sorted(news, key=lambda window: window.asked_at):
        windows = recorded(windows, window)
    windows = _settled(connection, product, windows)
    connection.execute("delete from ledger where product = $1 and start_time <= $2 and end_time >= $3", touched)
    failpoint("ingest.after_ledger_cut")
    rows = [(product, w.start, w.end, w.state, w.asked_at, w.tries, w.reason, w.source) for w in windows]
    columns = ("product", "start_time", "end_time", "state", "asked_at", "tries", "reason", "source")
    insert_rows(connection, "ledger", columns, rows)


def _settled(connection: duckdb.DuckDBPyConnection, product: str, windows: Sequence[Window]) -> list[Window]:
    """Return ``windows`` without quarantined minutes that another answer gave a candle to."""
    bad = [window for window in windows if window.state == QUARANTINED]
    if not bad:
        return list(windows)
    bounds = {"product": product, "since": bad[0].start, "until": bad[-1].end}
    rows = connection.execute(load_sql("queries/stored_minutes"), bounds).fetchall()
    return settled(windows, {utc(moment) for (moment,) in rows})


def ledger_windows(connection: duckdb.DuckDBPyConnection, product: str, low: datetime, high: datetime) -> list[Window]:
    """Return the ledger's windows of ``product`` that overlap or touch ``low .. high``."""
    rows = connection.execute(load_sql("queries/ledger_windows"), {"product": product, "low": low, "high": high})
    return [
        Window(utc(start), utc(end), state, utc(asked_at), tries, reason, source)
        for start, end, state, asked_at, tries, reason, source in rows.fetchall()
    ]


def utc(moment: datetime) -> datetime:
    """Return the same moment in the standard library's UTC; DuckDB hands out another library's."""
    return moment.astimezone(UTC)
