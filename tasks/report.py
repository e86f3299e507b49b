"""Tasks of steps 7 and 8: a report a day, and the verdict with its reasons."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from core.settings import load_settings
from reports.observation.daily import observation_days, write_daily
from reports.observation.summary import write_summary

_ARTIFACT_LIMIT = 1_500_000
"""Characters of a markdown artifact; pictures are embedded in it, and the server keeps it in its database."""


@task(name="write-day-report", task_run_name="report day {day}")
def write_day_report(day: int) -> str:
    """Write the Markdown and HTML report of observation day ``day`` and show it in the UI."""
    path = write_daily(load_settings(), day)
    create_markdown_artifact(
        path.read_text(encoding="utf-8"), key=f"observation-day-{day}", description=f"Observation, day {day}"
    )
    get_run_logger().info("day %d: %s", day, path)
    return str(path)


@task(name="days-observed", task_run_name="days observed")
def days_observed() -> int:
    """Return how many UTC days the observation has touched."""
    return observation_days(load_settings())


@task(name="write-verdict", task_run_name="write verdict")
def write_verdict() -> str:
    """Compute every exit criterion, write the summary, and return the path of its HTML page."""
    summary = write_summary(load_settings())
    text = Path(summary.artifact_markdown).read_text(encoding="utf-8")
    create_markdown_artifact(text[:_ARTIFACT_LIMIT], key="verdict", description=summary.headline)
    get_run_logger().info("verdict: %s; %s", summary.headline, summary.html)
    return str(summary.html)
