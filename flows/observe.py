"""A bounded session of the runtime, with a report for each day it touched."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from typing import Literal

from prefect import flow

from core.settings import load_settings
from tasks.command_line import run_from_shell
from tasks.observation_reports import days_observed, write_day_report, write_verdict
from tasks.signals import run_runtime


@flow(name="observe")
def observe(
    hours: int = 72,
    mode: Literal["dryrun", "shadow", "live"] | None = None,
    products: str | list[str] | None = None,
    batch_minutes: int = 1,
) -> str:
    """Watch the market for ``hours``; run it again to go on where it stopped.

    Args:
        hours: Length of the session in hours of market time.
        mode: dryrun, shadow or live; MODE when left out.
        products: Product ids or short names; all configured ones when left out.
        batch_minutes: Minutes a tick may take at once; more than 1 only against a stepped clock.
    """
    settings = load_settings()
    names = settings.resolve_products(products)
    run_runtime("observe", mode or settings.mode, names, 60 * hours, batch_minutes)
    for day in range(days_observed()):
        write_day_report(day)
    return write_verdict()


if __name__ == "__main__":
    run_from_shell(observe)
