"""What the ledger says: which minutes are stored, proved empty, quarantined, failed or were never asked for.

Backfill and repair plan from here alone; nothing is concluded from how many candles there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE, Span
from store import ingest
from store.connection import StoreSession
from store.ledger import FAILED, due_at, not_covered
from store.sql_files import headers, load_sql, statement

if TYPE_CHECKING:
    import duckdb

OFFERED = "offered"
NOT_OFFERED = "not_offered"


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether the exchange offers a product, and since when it has candles."""

    product: str
    state: str
    first_open_time: datetime | None
    checked_at: datetime
    reason: str
    searched_from: datetime | None = None
    """First minute of the span that was searched for a candle; None if none was."""
    searched_until: datetime | None = None
    """The minute after its last."""


@dataclass(frozen=True, slots=True)
class DoubtfulWindow:
    """Minutes without a candle that were asked for, and from when on they are worth asking for again."""

    span: Span
    state: str
    """empty, quarantined or failed."""
    asked_at: datetime
    tries: int
    due_at: datetime | None
    """None when they were asked for often enough."""


class CoverageStore(StoreSession):
    """Reads and writes of the market store that are about minutes, not about prices."""

    # --- writes

    def record_failure(self, product: str, window: Span, reason: str, source: str) -> None:
        """Note that ``window`` could not be fetched; it stays missing."""
        with self._writing() as connection:
            ingest.record_failure(connection, product, window, reason, source, datetime.now(UTC))

    def record_listing(
        self,
        product: str,
        state: str,
        first_open_time: datetime | None,
        reason: str,
        *,
        searched: Span | None = None,
    ) -> None:
        """Note whether the exchange offers ``product``, and which span was searched; replaces what was noted before."""
        row = {
            "product": product,
            "state": state,
            "first_open_time": first_open_time,
            "checked_at": datetime.now(UTC),
            "reason": reason,
            "searched_from": searched.start if searched else None,
            "searched_until": searched.end if searched else None,
        }
        with self._writing() as connection:
            connection.execute("delete from listings where product = $1", [product])
            connection.execute(load_sql("queries/listing_insert"), row)

    def record_wanted(self, product: str, span: Span) -> None:
        """Note that ``span`` is wanted, so that what is never reached of it is seen to be missing; spans only grow."""
        with self._writing() as connection:
            row = {
                "product": product,
                "since": span.start,
                "until": span.end,
                "wanted_at": datetime.now(UTC),
            }
            connection.execute(load_sql("queries/wanted_grow"), row)

    # --- reads

    def listing(self, product: str) -> Listing | None:
        """Return what is known of the product's listing, None if it was never asked."""
        rows = self._rows("queries/listing", product=product)
        return Listing(**rows[0]) if rows else None

    def missing_windows(self, product: str, span: Span) -> list[Span]:
        """Return the parts of ``span`` that nobody has answered yet, failed ones included, oldest first."""
        with self._reading() as connection:
            windows = ingest.ledger_windows(connection, product, span.start, span.end)
        return not_covered(span, [window for window in windows if window.state != FAILED])

    def repair_windows(self, product: str, span: Span) -> list[DoubtfulWindow]:
        """Return the failed, proved-empty and quarantined minutes of ``span``, oldest first, each with its due time."""
        rows = self._rows("queries/doubtful_windows", product=product, since=span.start, until=span.end)
        return [
            DoubtfulWindow(
                Span(row["start_time"], row["end_time"]),
                row["state"],
                row["asked_at"],
                row["tries"],
                due_at(row["state"], row["asked_at"], row["tries"]),
            )
            for row in rows
        ]

    def span_asked(self, product: str) -> Span | None:
        """Return the span from the first minute wanted, asked for or stored to the last, None when there is none."""
        (row,) = self._rows("queries/coverage_extent", product=product)
        return Span(row["start_time"], row["end_time"]) if row["start_time"] is not None else None

    def span_stored(self, product: str) -> Span | None:
        """Return the span from the product's first candle to its last, None when there is none."""
        first, last = self._ends(product)
        return Span(first, last + MINUTE) if first is not None and last is not None else None

    def last_open_time(self, product: str) -> datetime | None:
        """Return the open time of the product's last candle, None when there is none."""
        return self._ends(product)[1]

    def _ends(self, product: str) -> tuple[datetime | None, datetime | None]:
        (row,) = self._rows("queries/candle_ends", product=product)
        return row["first_open_time"], row["last_open_time"]

    def coverage(self) -> list[dict[str, Any]]:
        """Return per product what was asked for, stored, proved empty, quarantined, failed and never asked."""
        return self._rows("queries/coverage_rows")

    def gaps(self) -> list[dict[str, Any]]:
        """Return every run of minutes without a candle, longest first."""
        return self._rows("queries/gap_rows")

    def quality(self) -> list[dict[str, Any]]:
        """Run every check of ``sql/checks``; return name, sentence and number of bad rows, none of them missing."""
        with self._reading() as connection:
            return [
                {
                    "check": name,
                    "sentence": header.sentence,
                    "bad_rows": _count(connection, load_sql(f"checks/{name}")),
                }
                for name, header in headers("checks").items()
            ]


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    counted = f"select count(*) from ({statement(query).rstrip(';')})"  # noqa: S608  # our own files
    return int(connection.execute(counted).fetchall()[0][0])
