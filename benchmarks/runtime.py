"""The runtime as a process of its own: minutes decided a second, and its memory, without any model and with one.

Run: ``python -m benchmarks.runtime``. Give DESK_HOME of a finished demo to measure with its models
(``DESK_HOME=var/demo-planted python -m benchmarks.runtime``); without one every decision is ``no_model``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.surroundings import folder, local_exchange, show

MINUTES = 720
# runs what follows and prints the memory of that process alone; the exchange is another child of this benchmark
_WRAPPER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def _measure(models: Path | None, batch: int) -> tuple[object, ...]:
    with folder() as home, local_exchange(home, "--public-rate", "0") as environ:
        if models is not None:
            shutil.copytree(models / "models", home / "var" / "models")
        command = [sys.executable, "-m", "desk", "run", "--mode", "shadow", "--iterations", str(MINUTES)]
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _WRAPPER, *command, "--batch-minutes", str(batch)],
            env={**environ, "PUBLIC_REQUESTS_PER_SECOND": "1000"},
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
    peak = float(done.stdout)
    return "with models" if models else "without models", batch, MINUTES, seconds, MINUTES / seconds, peak


def main() -> None:
    """Measure and print."""
    home = Path(os.environ.get("DESK_HOME", "var/demo-planted"))
    found = home if (home / "models" / "registry.json").exists() else None
    rows = [_measure(None, 60), *([_measure(found, 60), _measure(found, 1)] if found else [])]
    columns = ("runtime", "minutes a tick", "minutes", "seconds with start", "minutes/s", "peak MB")
    show("runtime: three products against a stepped local exchange", columns, rows)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__).parse_args()
    main()
