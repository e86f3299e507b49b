"""Run steps 7 and 8 as tasks: a report a day, and the verdict with its reasons."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from core.settings import load_settings
from reports.observation.day_page import observation_days, write_daily
from reports.observation.exit_evidence import LimitProof
from reports.observation.verdict_page import write_summary
from runtime.risk.loss_simulation import run_drills

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
    """Run the loss simulation, compute every exit criterion, write the summary, and return the path of its HTML page."""
    settings = load_settings()
    drills = [LimitProof(drill.limit, drill.is_blocked, drill.detail) for drill in run_drills(settings)]
    summary = write_summary(settings, drills)
    text = summary.artifact_markdown.read_text(encoding="utf-8")
    create_markdown_artifact(text[:_ARTIFACT_LIMIT], key="verdict", description=summary.headline)
    get_run_logger().info("verdict: %s; %s", summary.headline, summary.html)
    return str(summary.html)
