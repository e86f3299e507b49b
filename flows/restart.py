"""All eight steps: from nothing to a verdict."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from datetime import datetime

from prefect import flow

from core.settings import load_settings
from tasks.command_line import run_from_shell
from tasks.features import apply_schema, check_quality, export_dataset
from tasks.market_data import (
    backfill_product,
    check_provider,
    plan_span,
    publish_market,
    report_coverage,
    require_products,
)
from tasks.observation_reports import days_observed, write_day_report, write_verdict
from tasks.promote import judge_model, promote_models, record_baseline
from tasks.runner import threads
from tasks.signals import minutes_left, run_runtime
from tasks.train import plan_trainings, require_candidates, train_models


@flow(name="restart", task_runner=threads())
def restart(
    products: str | list[str] | None = None,
    days: int | None = None,
    end: datetime | None = None,
    epochs: int | None = None,
    hours: int = 72,
    batch_minutes: int = 1,
) -> str:
    """Carry a machine from nothing to a verdict; run it again after a crash and it does only what is left.

    Args:
        products: Product ids or short names; all configured ones when left out.
        days: Days of history; BACKFILL_DAYS when left out.
        end: The minute after the history's last; the last midnight UTC when left out, so that a re-run trains on the same.
        epochs: Most epochs of training; EPOCHS when left out.
        hours: Length of the observation in hours of market time.
        batch_minutes: Minutes a tick may take at once; more than 1 only against a stepped clock.
    """
    settings = load_settings()
    names = settings.resolve_products(products)

    # 1 provider ready, 2 candles
    check_provider()  # first: a wrong key or clock leaves no half-made folder behind
    apply_schema()
    first, last = plan_span(days or settings.backfill_days, None, end, whole_days=True)
    backfills = [backfill_product.submit(product, first, last) for product in names]
    offered = require_products([run.result(raise_on_failure=False) for run in backfills])
    report_coverage()

    # 3 features
    check_quality()
    dataset = export_dataset(offered)
    publish_market()

    # 4 training
    candidates = require_candidates(train_models(plan_trainings(settings, offered, epochs), dataset))

    # 5 gates and promotion
    judging = [judge_model.submit(candidate, dataset) for candidate in candidates]
    promoted = promote_models([run.result() for run in judging])
    mode = settings.mode if promoted else "shadow"
    record_baseline(dataset)
    publish_market()

    # 6 runtime smoke test, 7 observation
    run_runtime("smoke test", mode, offered, min(batch_minutes, minutes_left(hours)), batch_minutes)
    run_runtime("observe", mode, offered, minutes_left(hours), batch_minutes)

    # 7 daily reports, 8 verdict
    for day in range(days_observed()):
        write_day_report(day)
    return write_verdict()


if __name__ == "__main__":
    run_from_shell(restart)
