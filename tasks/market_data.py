"""Tasks of steps 1 and 2: is the market there, and have we got all of it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from core.candles import Span, floor_minute
from core.errors import ExchangeUnavailableError, UnknownProductError
from core.settings import Settings, load_settings
from market.ingest.backfill import BackfillResult, backfill
from market.ingest.repair import RepairResult, repair
from market.providers import open_provider
from store.feature_store import FeatureStore
from tasks.progress_artifact import ProgressArtifact

if TYPE_CHECKING:
    from collections.abc import Sequence


@task(name="check-provider", task_run_name="check provider")
def check_provider() -> str:
    """Step 1: prove that the market answers, the key is taken and the clocks agree.

    Not retried: the client itself has tried six times with growing pauses.
    """
    settings = load_settings()
    settings.paths.make()
    line = asyncio.run(_check(settings))
    get_run_logger().info("provider ready: %s", line)
    return line


async def _check(settings: Settings) -> str:
    provider = open_provider(settings)
    try:
        return await provider.check()
    finally:
        await provider.aclose()


@task(name="plan-span", task_run_name="plan span")
def plan_span(
    days: int, start: datetime | None, end: datetime | None, whole_days: bool = False
) -> tuple[datetime, datetime]:
    """Fix the span to backfill: ``days`` back from the last minute the market has closed.

    With ``whole_days`` it ends at the last midnight UTC, so that the same command later in the day means the same span.
    """
    settings = load_settings()
    newest = floor_minute(asyncio.run(_server_time(settings)))
    if whole_days and end is None:
        end = newest.replace(hour=0, minute=0)
    last = min(floor_minute(end), newest) if end else newest
    span = Span(floor_minute(start) if start else last - timedelta(days=days), last)
    get_run_logger().info("asking for %s, %d minutes a product", span, span.minutes)
    return span.start, span.end


async def _server_time(settings: Settings) -> datetime:
    provider = open_provider(settings)
    try:
        return await provider.server_time()
    finally:
        await provider.aclose()


def worth_another_try(_task: object, _run: object, state: State) -> bool:
    """Retry only what a later try can mend: not a wrong key, an unknown product or a full disk."""
    return isinstance(state.result(raise_on_failure=False), ExchangeUnavailableError)


@task(
    name="backfill-product",
    task_run_name="backfill {product}",
    tags=["market"],
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=worth_another_try,
)
def backfill_product(product: str, start: datetime, end: datetime) -> BackfillResult:
    """Step 2: fetch what the ledger says is missing and commit it, twenty pages at a time.

    Retried: the ledger makes a second try ask only for what is still missing.
    """
    result = asyncio.run(backfill(load_settings(), product, Span(start, end), ProgressArtifact(f"candles {product}")))
    if result.state == "not_offered":
        get_run_logger().warning("%s is not offered: %s", product, result.reason)
    get_run_logger().info(
        "%s: %s; %d pages, %d candles stored, %d minutes proved empty, %d revised, %d quarantined",
        product,
        result.state,
        result.pages,
        result.stored,
        result.empty_minutes,
        result.revised,
        result.quarantined,
    )
    if result.state == "partial":
        msg = f"{product}: {result.failed_windows} windows failed after all retries ({result.reason}); run the same command again, it asks only for those"
        raise ExchangeUnavailableError(msg)
    return result


@task(
    name="repair-product",
    task_run_name="repair {product}",
    tags=["market"],
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=worth_another_try,
)
def repair_product(product: str) -> RepairResult:
    """Ask again for failed windows, and for empty and quarantined minutes that are due.

    Retried: what was answered is in the ledger and no longer due.
    """
    result = asyncio.run(repair(load_settings(), product, ProgressArtifact(f"repair {product}")))
    (get_run_logger().warning if result.state == "not_offered" else get_run_logger().info)("%s", result)
    if result.state == "partial":
        msg = f"{result}; run the same command again, it asks for those at once"
        raise ExchangeUnavailableError(msg)
    return result


def require_repaired(results: Sequence[RepairResult | BaseException]) -> list[str]:
    """Return one line for each product; what is not offered is reported, not failed on.

    Raises:
        ExchangeUnavailableError: a product's windows failed again.
    """
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [str(result) for result in results]


def require_products(results: Sequence[BackfillResult | BaseException]) -> list[str]:
    """Return the products whose candles are complete; one that is not offered is reported, not failed on.

    Raises:
        ExchangeUnavailableError: a product is incomplete.
        UnknownProductError: no product is offered.
    """
    for result in results:
        if isinstance(result, BaseException):
            raise result
    complete = [
        result.product for result in results if isinstance(result, BackfillResult) and result.state == "complete"
    ]
    if not complete:
        msg = "the exchange offers none of the products asked for; correct PRODUCTS, or ask for a span after their listing"
        raise UnknownProductError(msg)
    return complete


@task(name="report-coverage", task_run_name="report coverage")
def report_coverage() -> list[dict[str, object]]:
    """Show what is stored, proved empty and missing, per product, as a table in the UI."""
    rows = FeatureStore(load_settings().paths.market_db).coverage()
    create_table_artifact(
        plain_rows(rows), key="coverage", description="Minutes asked for, stored and proved empty, per product"
    )
    return plain_rows(rows)


def plain_rows(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Turn times and decimals into text, as artifacts are stored as JSON."""
    return [
        {name: value if isinstance(value, int | float | str) else str(value) for name, value in row.items()}
        for row in rows
    ]


@task(name="export-raw", task_run_name="export {product}")
def export_raw(product: str) -> str | None:
    """Write the stored candles of one product as an immutable Parquet file with its manifest."""
    settings = load_settings()
    store = FeatureStore(settings.paths.market_db)
    span = store.span_stored(product)
    if span is None:
        return None
    path = store.export_raw(product, span, settings.paths.raw)
    get_run_logger().info("%s: %s", product, path.name)
    return str(path)


@task(name="publish-market", task_run_name="publish market")
def publish_market() -> str:
    """Refresh the read copy that `desk sql` and every other reader opens."""
    paths = load_settings().paths
    return str(FeatureStore(paths.market_db).publish(paths.market_copy))
