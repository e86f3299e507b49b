"""Rows of a file into the store, inside the caller's transaction, by the same path as fetched pages.

A file is not the exchange's word. It proves the minutes it has a row for and nothing about those it lacks: each run of
consecutive rows becomes a page of its own, so that the ledger calls only these minutes answered and a backfill asks the
exchange for the rest. Where the exchange itself has answered, a row that says something else goes to quarantine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from core.candles import MINUTE, Page, Span
from core.errors import CandleFileError
from store import ingest
from store.candle_rules import GRAIN, fault
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb

    from core.candles import Candle

MAX_PRICE_RATIO = 3.0
"""A file whose prices are this many times those stored around then, or a fraction, is of another product."""

_PAGES_AT_ONCE = 300
"""The ledger merges windows one by one, in time that grows with the square of their number: a thin coin has a run a minute."""

_ANY_TIME = Span(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
"""What a file tells was not asked for, so no row of it lies outside the question."""

_Rejected = tuple["Candle", str]


@dataclass(slots=True)
class ImportCount:
    """What became of a file's rows."""

    rows: int = 0
    stored: int = 0
    """Minutes that had no candle."""
    revised: int = 0
    """Minutes that differ from before; both versions are kept."""
    known: int = 0
    """Rows that tell nothing new: duplicates, or stored before."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Rows that were not believed, by reason."""
    rounded: int = 0
    """Rows whose volume has more decimals than are kept."""

    def add(self, other: ImportCount) -> None:
        """Count another batch in."""
        self.rows += other.rows
        self.stored += other.stored
        self.revised += other.revised
        self.known += other.known
        self.quarantined += other.quarantined
        self.rounded += other.rounded


def record_rows(
    connection: duckdb.DuckDBPyConnection,
    candles: Sequence[Candle],
    source: str,
    at: datetime,
    *,
    replace: bool,
    trust_prices: bool = False,
) -> ImportCount:
    """Store one batch of a file's rows; doing it again changes nothing.

    Args:
        connection: An open transaction.
        candles: Rows of one product, in any order; not one of a minute that may still have been open.
        source: ``import:<name>``.
        at: When the batch is learned.
        replace: Believe the file against the exchange's earlier answers, which then become revisions.
        trust_prices: The prices are of this product, however far they are from those stored around then.

    Raises:
        CandleFileError: the prices are of another size than those stored around then.
    """
    count = ImportCount(rows=len(candles))
    bad = [(candle, reason) for candle in candles if (reason := fault(candle, _ANY_TIME, at)) is not None]
    refused = {id(candle) for candle, _ in bad}
    versions = [ingest.Version(at, candle, source) for candle in candles if id(candle) not in refused]
    count.rounded = sum(bool(version.candle.volume % GRAIN) for version in versions)
    pages: list[Page] = []
    if versions:
        ingest.stage(connection, versions)
        if not trust_prices:
            _require_scale(connection, candles[0].product)
        verdicts = connection.execute(load_sql("queries/import_compare")).fetchall()
        pages, contradicting = _judged(versions, verdicts, count, replace=replace)
        bad += [(candle, "contradicts_exchange") for candle in contradicting]
    for start in range(0, len(pages), _PAGES_AT_ONCE):
        written = ingest.record_pages(connection, pages[start : start + _PAGES_AT_ONCE], are_sound=True)
        count.stored += written.stored
        count.revised += written.revised
    quarantine_rows(connection, bad, source, at)
    count.quarantined = Counter(reason for _, reason in bad)
    return count


def _require_scale(connection: duckdb.DuckDBPyConnection, product: str) -> None:
    ratio = connection.execute(load_sql("queries/import_scale")).fetchall()[0][0]
    if ratio is not None and not 1 / MAX_PRICE_RATIO < ratio < MAX_PRICE_RATIO:
        msg = (
            f"the file's prices are {ratio:.3g} times those stored of {product} within the hour before or after: name the right "
            f"product with --product; if they are of {product} (a crash, a new unit), say so with --trust-prices"
        )
        raise CandleFileError(msg)


def _judged(
    versions: Sequence[ingest.Version],
    verdicts: Iterable[tuple[int, str, datetime | None]],
    count: ImportCount,
    *,
    replace: bool,
) -> tuple[list[Page], list[Candle]]:
    news: list[ingest.Version] = []
    seen: dict[datetime, list[Candle]] = {}
    lesser: list[ingest.Version] = []
    contradicting: list[Candle] = []
    for number, verdict, stored_known_at in verdicts:
        version = versions[number]
        before = seen.setdefault(version.candle.open_time, [])
        if verdict == "known" or version.candle in before:
            count.known += 1
            continue
        before.append(version.candle)
        if verdict == "contradicts" and not replace:
            contradicting.append(version.candle)
        elif verdict == "lesser" and stored_known_at is not None:
            # learned at the same time as the fuller version, so that this one is never taken for the newer
            lesser.append(version._replace(known_at=ingest.utc(stored_known_at)))
        else:
            news.append(version)
    return [*_runs(news), *(_page([version]) for version in lesser)], contradicting


def _runs(versions: Sequence[ingest.Version]) -> Iterator[Page]:
    """Yield one page for each run of consecutive minutes."""
    run: list[ingest.Version] = []
    for version in sorted(versions, key=lambda version: version.candle.open_time):
        if run and version.candle.open_time - run[-1].candle.open_time > MINUTE:
            yield _page(run)
            run = []
        run.append(version)
    if run:
        yield _page(run)


def _page(run: Sequence[ingest.Version]) -> Page:
    first, last = run[0], run[-1]
    window = Span(first.candle.open_time, last.candle.open_time + MINUTE)
    return Page(first.candle.product, window, tuple(version.candle for version in run), first.known_at, first.source)


def quarantine_rows(connection: duckdb.DuckDBPyConnection, bad: Sequence[_Rejected], source: str, at: datetime) -> None:
    """Keep rows that were not believed, each with its reason; the ledger is not told, so their minutes stay to be asked for."""
    if not bad:
        return
    columns: dict[str, list[object]] = {
        "product": [candle.product for candle, _ in bad],
        "open_time": [candle.open_time for candle, _ in bad],
        "source": [source] * len(bad),
        "known_at": [at] * len(bad),
        "reason": [reason for _, reason in bad],
    }
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = [float(getattr(candle, name)) for candle, _ in bad]
    connection.execute(load_sql("queries/import_quarantine"), columns)
