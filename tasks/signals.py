"""Tasks of steps 6 and 7: the runtime, in a process of its own without torch and without Prefect."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from desk.config import load_settings
from desk.errors import DeskError, PreflightError
from tasks.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence


@task(name="run-runtime", task_run_name="{what} in {mode}")
def run_runtime(what: str, mode: str, products: Sequence[str], iterations: int, batch_minutes: int) -> str:
    """Run the runtime for ``iterations`` minutes and return the path of its log.

    Not retried: a crash is a fact the observation has to report; the next run resumes by itself.

    Raises:
        PreflightError: it refused to start or crashed; the text is its own last line.
    """
    settings = load_settings()
    progress = Progress(what)
    log = settings.paths.make().logs / "runtime.log"
    command = [sys.executable, "-m", "desk", "run", "--mode", mode, "--products", ",".join(products), "--progress-json"]
    command += ["--iterations", str(iterations), "--batch-minutes", str(batch_minutes)]
    with log.open("a", encoding="utf-8") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            for line in process.stdout or ():
                step = json.loads(line)
                progress(step["done"] / max(step["total"], 1), step.get("note", ""))
            error = process.stderr.read() if process.stderr else ""
        finally:
            process.terminate()
            process.wait(timeout=30)
        sink.write(error)
    if process.returncode != 0:
        raise _refusal(error, str(log))
    progress(1.0)
    get_run_logger().info("%s: %d minutes in %s done", what, iterations, mode)
    return str(log)


def _refusal(error: str, log: str) -> DeskError:
    lines = [line for line in error.strip().splitlines() if line]
    return PreflightError(lines[-1] if lines else f"the runtime ended without a word; see {log}")
