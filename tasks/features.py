"""Tasks of step 3: the SQL applied, the data checked, one immutable data set exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from core.candles import Span
from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.settings import load_settings
from store.feature_sets import recorded_set
from store.feature_store import FeatureStore
from store.schema import migrate_databases
from tasks.market_data import plain_rows

if TYPE_CHECKING:
    from collections.abc import Sequence


@task(name="apply-schema", task_run_name="apply schema")
def apply_schema() -> None:
    """Create tables, views, labels and macros where the SQL files changed: first in every flow that writes, as opening a store never does."""
    changed = migrate_databases(load_settings().paths)
    get_run_logger().info("schema applied to %s", ", ".join(path.name for path in changed) or "nothing: it is current")


@task(name="check-quality", task_run_name="check quality")
def check_quality() -> list[dict[str, object]]:
    """Run every query in `sql/checks`: each returns the bad rows, so none is the only good answer."""
    store = FeatureStore(load_settings().paths.market_db)
    rows, gaps = plain_rows(store.quality()), plain_rows(store.gaps())
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
    store = FeatureStore(settings.paths.market_db)
    present = {product: span for product in products if (span := store.span_stored(product)) is not None}
    if not present:
        msg = f"no candles of {', '.join(products)} are stored; run: make backfill"
        raise DatasetError(msg)
    span = Span(min(span.start for span in present.values()), max(span.end for span in present.values()))
    dataset = store.export_dataset(
        list(present),
        span,
        settings.paths.datasets,
        feature_set=settings.feature_set,
        threads=settings.feature_threads,
        memory_mb=settings.feature_memory_mb,
    )
    get_run_logger().info("data set %s over %s", dataset.digest[:16], span)
    return dataset


@task(name="latest-dataset", task_run_name="latest dataset")
def latest_dataset() -> DatasetRef:
    """Return the data set exported last; training never builds one itself, so a re-run trains on the same.

    Raises:
        ConfigError: it is of another feature set than `FEATURE_SET`, or of one whose SQL has changed since.
    """
    settings = load_settings()
    dataset = FeatureStore(settings.paths.market_db).latest_dataset()
    features = dataset.manifest().feature_set
    recorded_set(features.name, features.sha256, settings.feature_set)
    return dataset


def products_in(dataset: DatasetRef, wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the products of a data set that were asked for; all of them when none is named.

    Raises:
        DatasetError: one that was named is not in it.
    """
    present = dataset.manifest().products
    if wanted is None:
        return present
    names = load_settings().resolve_products(wanted)
    absent = [name for name in names if name not in present]
    if absent:
        msg = f"{', '.join(absent)} is not in data set {dataset.digest[:16]}, which holds {', '.join(present)}; run: make backfill, then make features"
        raise DatasetError(msg)
    return names
