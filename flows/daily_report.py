"""The report of one day of observation, in the UI and as files."""

from __future__ import annotations

import flows  # noqa: F401  # first, so that Ctrl-C ends in one line while the rest is imported

# isort: split
from prefect import flow

from tasks.command_line import run_from_shell
from tasks.observation_reports import days_observed, write_day_report, write_verdict


@flow(name="daily-report")
def daily_report(day: int | str | None = None) -> str:
    """Write one day's report and refresh the verdict.

    Args:
        day: 0 for the first UTC day of observation, or day0; the newest day when left out.
    """
    number = days_observed() - 1 if day is None else int(str(day).removeprefix("day"))
    write_day_report(number)
    return write_verdict()


if __name__ == "__main__":
    run_from_shell(daily_report)
