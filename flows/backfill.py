"""Fetch every minute that is missing, write it once, show what is there."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from datetime import datetime

from prefect import flow

from core.settings import load_settings
from tasks.command_line import run_from_shell
from tasks.features import apply_schema
from tasks.market_data import (
    backfill_product,
    check_provider,
    export_raw,
    plan_span,
    publish_market,
    repair_product,
    report_coverage,
    require_products,
    require_repaired,
)
from tasks.runner import threads


@flow(name="backfill", task_runner=threads())
def backfill(
    products: str | list[str] | None = None,
    days: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    export: bool = False,
    repair: bool = False,
) -> list[str]:
    """Fetch what the ledger says is missing of every product; a second run asks only for the rest.

    Args:
        products: Product ids or short names; all configured ones when left out.
        days: How far back from the last closed minute; BACKFILL_DAYS when left out.
        start: First minute instead of ``days``, UTC.
        end: The minute after the last; the last closed one when left out.
        export: Also write each product as an immutable Parquet file.
        repair: Instead of that, ask again for failed windows, and for empty and quarantined minutes that are due.

    Returns:
        The complete products, or for a repair one line each of what was asked again and found.
    """
    settings = load_settings()
    names = settings.resolve_products(products)
    check_provider()  # first: a wrong key or clock leaves no half-made folder behind
    apply_schema()
    if repair:
        again = [repair_product.submit(product) for product in names]
        outcomes = [run.result(raise_on_failure=False) for run in again]
        report_coverage()
        publish_market()
        return require_repaired(outcomes)
    first, last = plan_span(days or settings.backfill_days, start, end)
    runs = [backfill_product.submit(product, first, last) for product in names]
    states = [run.result(raise_on_failure=False) for run in runs]
    report_coverage()
    if export:
        for run in [export_raw.submit(product) for product in names]:
            run.result()
    publish_market()
    return require_products(states)


if __name__ == "__main__":
    run_from_shell(backfill)
