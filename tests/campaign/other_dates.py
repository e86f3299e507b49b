"""Run the whole of pytest once at another date, so that no test, demo or code takes today for something.

Run: ``python -m tests.campaign.other_dates``, with ``--date '2030-02-28 23:58:00' --zone Europe/Prague`` for another one, and with
pytest's own arguments behind ``--``. It needs Debian's package ``faketime``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKED_CLOCK = Path(__file__).with_name("faked_clock")
DATE = "2027-06-30 12:00:00"


def command(date: str, arguments: list[str]) -> list[str]:
    """Return what runs pytest at ``date``, a time of day in the zone that ``TZ`` names; every process sees it alike."""
    # -m: the library for programs with threads; without -f the date is an offset, which all processes share
    return ["faketime", "-m", date, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]


def environ(zone: str) -> dict[str, str]:
    """Return the environment of such a run: only the time of day is faked, never the clock that waits are measured by."""
    path = os.pathsep.join([str(FAKED_CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": path, "TZ": zone}


def main() -> int:
    """Run pytest; return its status, or 2 where faketime is not installed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.other_dates", description=__doc__)
    parser.add_argument("--date", default=DATE, help="time of day in the zone (default %(default)s)")
    parser.add_argument("--zone", default="UTC", help="time zone of the processes (default %(default)s)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    options = parser.parse_args()
    if shutil.which("faketime") is None:
        print("faketime is not installed, so no test ran at another date: apt-get install faketime", file=sys.stderr)
        return 2
    arguments = options.pytest or ["-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    print(f"pytest at {options.date}, {options.zone}: {' '.join(arguments)}", flush=True)
    return subprocess.run(command(options.date, arguments), cwd=ROOT, env=environ(options.zone), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
