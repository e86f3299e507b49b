"""Tasks of step 3: the SQL applied, the data checked, one immutable data set exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from core.candles import Span
from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import read_json
from core.settings import load_settings
from market.ingest.backfill import open_store
from store.feature_sets import recorded_set
from tasks.market_data import plain_rows

if TYPE_CHECKING:
    from collections.abc import Sequence


@task(name="apply-schema", task_run_name="apply schema")
def apply_schema() -> None:
    """Create tables, views, labels and macros where the SQL files changed; nothing else does DDL."""
    open_store(load_settings()).close()


@task(name="check-quality", task_run_name="check quality")
def check_quality() -> list[dict[str, object]]:
    """Run every query in `sql/checks`: each returns the bad rows, so none is the only good answer."""
    store = open_store(load_settings())
    try:
        rows, gaps = plain_rows(store.quality()), plain_rows(store.gaps())
    finally:
        store.close()
    create_table_artifact(
        rows, key="quality", description="Rows that break a rule, by rule; flagged and quarantined, never dropped"
    )
    create_table_artifact(gaps[:200], key="gaps", description="Runs of minutes without a candle, longest first")
    get_run_logger().info(
        "%d checks, %d of them found rows; %d gaps", len(rows), sum(1 for row in rows if row["bad_rows"]), len(gaps)
    )
    return rows


@task(name="export-dataset", task_run_name="export dataset")
def export_dataset(products: Sequence[str]) -> DatasetRef:
    """Write features and labels of every stored minute as one Parquet file named by its hash."""
    settings = load_settings()
    store = open_store(settings)
    try:
        stored = [(product, store.span_stored(product)) for product in products]
        present = [(product, span) for product, span in stored if span is not None]
        if not present:
            msg = f"no candles of {', '.join(products)} are stored; run: make backfill"
            raise DatasetError(msg)
        span = Span(min(span.start for _, span in present), max(span.end for _, span in present))
        dataset = store.export_dataset(
            [product for product, _ in present],
            span,
            settings.paths.datasets,
            feature_set=settings.feature_set,
            threads=settings.feature_threads,
            memory_mb=settings.feature_memory_mb,
        )
    finally:
        store.close()
    get_run_logger().info("data set %s over %s", dataset.digest[:16], span)
    return dataset


@task(name="latest-dataset", task_run_name="latest dataset")
def latest_dataset() -> DatasetRef:
    """Return the data set exported last; training never builds one itself, so a re-run trains on the same.

    Raises:
        ConfigError: it is of another feature set than `FEATURE_SET`, or of one whose SQL has changed since.
    """
    settings = load_settings()
    store = open_store(settings)
    try:
        dataset = store.latest_dataset()
    finally:
        store.close()
    features = read_json(Path(dataset.manifest_path))["feature_set"]
    recorded_set(features["name"], features["sha256"], settings.feature_set)
    return dataset


def products_in(dataset: DatasetRef, wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the products of a data set that were asked for; all of them when none is named.

    Raises:
        DatasetError: one that was named is not in it.
    """
    present = tuple(read_json(Path(dataset.manifest_path))["products"])
    if wanted is None:
        return present
    names = load_settings().resolve_products(wanted)
    absent = [name for name in names if name not in present]
    if absent:
        msg = f"{', '.join(absent)} is not in data set {dataset.digest[:16]}, which holds {', '.join(present)}; run: make backfill, then make features"
        raise DatasetError(msg)
    return names
