"""Gather what the data page shows, from the read copy: what is stored, how whole and clean it is, what models are fed.

Features are sampled by whole days, so that two years of three products cost what sixty days cost. Suffixes of arrays: N rows,
F features. Rows of queries stay dictionaries inside this package; the headers of the SQL files give their columns and units.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from core.dataset_files import DatasetManifest
from core.errors import DatasetError, StoreError, UnknownProductError
from models.statistics.stability import sample_shift
from store.feature_sample import features_of_days
from store.feature_sets import feature_set

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from store.reader import Reader

    Rows = list[dict[str, Any]]

MAX_PRODUCTS = 12
SAMPLED_DAYS = 60
SAMPLED_PRODUCT_DAYS = 180
"""Days times products whose features are computed: what bounds time and memory."""
_MIN_DAYS = 16
_MAX_MINUTES = 80_000
_EDGE_DAYS = 30
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Sample:
    """Features of the sampled days, all products together."""

    columns: tuple[str, ...]
    x_NF: NDArray[np.float32]
    day_N: NDArray[np.int64]
    """Whole days since 1970."""
    days: tuple[int, ...]
    early: tuple[int, ...]
    late: tuple[int, ...]
    expected: int
    """Stored minutes of those days: what would be there were no history warming up and no hole."""
    of_days: int
    """Days there are to sample from."""
    rows: int
    """Minutes with features on those days; ``x_NF`` has every ``step``-th of them."""
    step: int
    real_rows: int
    """Those of ``rows`` in which somebody traded."""

    def rows_of(self, days: Sequence[int]) -> NDArray[np.float32]:
        """Return the rows of some of the days."""
        return self.x_NF[np.isin(self.day_N, days)]

    def shifts(self) -> list[tuple[str, float]]:
        """Return each feature with its stability index between first and last days, largest first."""
        early, late = self.rows_of(self.early), self.rows_of(self.late)
        if not len(early) or not len(late):
            return []
        shifts = [(name, sample_shift(early[:, n], late[:, n])) for n, name in enumerate(self.columns)]
        return sorted(shifts, key=lambda item: -item[1])


@dataclass(frozen=True)
class DataFacts:
    """All that the page shows."""

    products: tuple[str, ...]
    left_out: tuple[str, ...]
    published_at: datetime
    feature_set: str
    coverage: Rows
    days: Rows
    flags: Rows
    gaps: Rows
    revisions: Rows
    quarantine: Rows
    bars: Rows
    bar_minutes: int
    rates: Rows
    bucket: str
    sample: Sample
    manifest: DatasetManifest | None
    sources: tuple[str, ...]


def read(reader: Reader, home: Path, name: str, products: Sequence[str] = ()) -> DataFacts:
    """Gather the facts of ``products`` (all that were asked for, at most `MAX_PRODUCTS`) and of feature set ``name``.

    Raises:
        StoreError: nothing was asked for yet.
        UnknownProductError: one of ``products`` was never asked for.
    """
    if "market" not in reader.databases:
        msg = "no candle is published yet; run: make backfill"
        raise StoreError(msg)
    coverage = reader.rows("queries/coverage_rows")
    chosen, left_out = _chosen([row["product"] for row in coverage], products)

    def of_chosen(query: str, **parameters: object) -> Rows:
        return [row for row in reader.rows(query, **parameters) if row["product"] in chosen]

    days = of_chosen("queries/coverage_days")
    span_days = len({row["day"] for row in days if row["stored_minutes"]})
    bar_minutes = 60 if span_days <= 45 else 1_440
    bucket = "day" if span_days <= 21 else "week" if span_days <= 120 else "month"
    return DataFacts(
        products=chosen,
        left_out=left_out,
        published_at=reader.published_at(),
        feature_set=name,
        coverage=[row for row in coverage if row["product"] in chosen],
        days=days,
        flags=of_chosen("queries/docs_flags"),
        gaps=of_chosen("queries/gap_rows"),
        revisions=of_chosen("adhoc/revised_candles"),
        quarantine=of_chosen("adhoc/quarantine_by_reason"),
        bars=of_chosen("queries/docs_bars", minutes=bar_minutes),
        bar_minutes=bar_minutes,
        rates=bucketed(of_chosen("queries/docs_labels"), bucket),
        bucket=bucket,
        sample=_sample(reader, chosen, days, name),
        manifest=_manifest(reader, home),
        sources=tuple(row["source"] for row in reader.rows("queries/docs_sources")),
    )


def _chosen(known: Sequence[str], wanted: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not known:
        msg = "the store is empty: no minute was asked for yet; run: make backfill"
        raise StoreError(msg)
    strange = [name for name in wanted if name not in known]
    if strange:
        msg = f"nobody asked for {', '.join(strange)}; there are {', '.join(known)}. Run: make backfill"
        raise UnknownProductError(msg)
    if wanted:
        return tuple(sorted(wanted)), ()
    return tuple(known[:MAX_PRODUCTS]), tuple(known[MAX_PRODUCTS:])


def bucketed(rates: Rows, bucket: str) -> Rows:
    """Add daily counts up to ``bucket``s: day, week (from Monday) or month."""

    def start(day: date) -> date:
        if bucket == "day":
            return day
        return day.replace(day=1) if bucket == "month" else date.fromordinal(day.toordinal() - day.weekday())

    buckets: dict[tuple[str, date], Counter[str]] = defaultdict(Counter)
    for row in rates:
        buckets[row["product"], start(row["day"])].update(labels=row["labels"], rises=row["rises"])
    return [{"product": product, "start": day, **counts} for (product, day), counts in buckets.items()]


def sampled_days(
    days: Sequence[int], most: int = SAMPLED_DAYS
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Choose what to compute of ``days`` (ascending, whole days since 1970): all, those of the beginning, those of the end.

    Up to ``most`` all are taken. Of more, a quarter of ``most`` from the first thirty, a quarter from the last thirty, and
    the rest evenly from the others.
    """
    edge = min(_EDGE_DAYS, len(days) // 2)
    early, late = tuple(days[:edge]), tuple(days[len(days) - edge :])
    if len(days) <= most:
        return tuple(days), early, late
    early, late = _evenly(early, most // 4), _evenly(late, most // 4)
    rest = [day for day in days if day not in {*early, *late}]
    return tuple(sorted({*early, *late, *_evenly(rest, most - len(early) - len(late))})), early, late


def _evenly(days: Sequence[int], count: int) -> tuple[int, ...]:
    count = min(count, len(days))
    return tuple(days[n] for n in np.linspace(0, len(days) - 1, count).round().astype(int))


def _sample(reader: Reader, products: Sequence[str], days: Rows, name: str) -> Sample:
    there = sorted({(row["day"] - _EPOCH).days for row in days if row["stored_minutes"]})
    chosen, early, late = sampled_days(there, max(SAMPLED_PRODUCT_DAYS // len(products), _MIN_DAYS))
    columns = feature_set(name).columns
    blocks = features_of_days(reader, products, chosen, name).values()
    x_NF = np.concatenate([block.x_NF for block in blocks])
    minute_N = np.concatenate([block.minute_N for block in blocks])
    expected = sum(row["stored_minutes"] for row in days if (row["day"] - _EPOCH).days in set(chosen))
    real = sum(int((~block.is_filled_N).sum()) for block in blocks)
    step = max(1, -(-len(x_NF) // _MAX_MINUTES))
    thin_NF, day_N = x_NF[::step], minute_N[::step] // 1_440
    return Sample(columns, thin_NF, day_N, chosen, early, late, expected, len(there), len(x_NF), step, real)


def _manifest(reader: Reader, home: Path) -> DatasetManifest | None:
    """Return the manifest of the newest data set whose file is still there and readable."""
    for row in reader.rows("queries/docs_dataset"):
        try:
            return DatasetManifest.read((home / row["path"]).with_suffix(".json"))
        except DatasetError:
            continue
    return None
