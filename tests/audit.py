"""Ask pip-audit for known faults of the installed packages: `python -m tests.audit`, part of `make check`.

Without a network nothing can be asked: that is said in one line, and is no failure. A known fault is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_COMMAND = ("--local", "--skip-editable", "--timeout", "10", "--progress-spinner", "off", "--format", "json")


def verdict(stdout: str, stderr: str) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print for what pip-audit said."""
    try:
        found = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = stderr.strip().splitlines()[-1:] or ["no answer"]
        return 0, [f"pip-audit: nothing was asked ({last[0][:150]})"]
    asked = [item for item in found if "skip_reason" not in item]
    faults = [
        f"{item['name']} {item['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for item in asked
        for fault in item["vulns"]
    ]
    summary = f"pip-audit: {len(asked)} of {len(found)} packages could be asked for, {len(faults)} known faults"
    return (1 if faults else 0), [*faults, summary]


def main() -> int:
    """Run pip-audit of this environment and print its verdict."""
    command = [str(Path(sys.executable).parent / "pip-audit"), *_COMMAND]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    except subprocess.TimeoutExpired:
        print("pip-audit: nothing was asked (no answer in three minutes)")
        return 0
    status, lines = verdict(done.stdout, done.stderr)
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
