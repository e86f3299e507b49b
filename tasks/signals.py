"""Tasks of steps 6 and 7: the runtime, in a process of its own without torch and without Prefect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task

from core.errors import PreflightError
from core.settings import load_settings
from store.signal_store import SignalStore
from tasks.progress_artifact import ProgressArtifact


@task(name="run-runtime", task_run_name="{what} in {mode}")
def run_runtime(what: str, mode: str, products: Sequence[str], iterations: int, batch_minutes: int) -> str:
    """Run the runtime for ``iterations`` minutes and return the path of its log.

    Not retried: a crash is a fact the observation has to report; the next run resumes by itself.

    Raises:
        PreflightError: it refused to start or crashed; the text is its own last line.
    """
    if iterations <= 0:
        return "nothing left to decide"
    settings = load_settings()
    progress = ProgressArtifact(what)
    log = settings.paths.make().logs / "runtime.log"
    command = [sys.executable, "-m", "desk", "run", "--mode", mode, "--products", ",".join(products), "--progress-json"]
    command += ["--iterations", str(iterations), "--batch-minutes", str(batch_minutes)]
    began = log.stat().st_size if log.exists() else 0
    # its error stream goes to the file, not to a pipe: nobody reads a second pipe while the first is open
    with log.open("a", encoding="utf-8") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True)
        try:
            for line in process.stdout or ():
                step = json.loads(line)
                progress(step["done"] / max(step["total"], 1), step.get("note", ""))
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)
    if process.returncode != 0:
        raise PreflightError(_last_words(log, began))
    progress(1.0)
    get_run_logger().info("%s: %d minutes in %s done", what, iterations, mode)
    return str(log)


def _last_words(log: Path, began: int) -> str:
    """Return the last line the runtime wrote since ``began``, without the command's name before it."""
    with log.open(encoding="utf-8", errors="replace") as text:
        text.seek(began)
        lines = [line.strip() for line in text if line.strip()]
    return lines[-1].removeprefix("desk: ") if lines else f"the runtime ended without a word; see {log}"


@task(name="minutes-left", task_run_name="minutes left")
def minutes_left(hours: int) -> int:
    """Return how many of the observation's minutes are still to be decided; after a crash, fewer than all."""
    decided = SignalStore(load_settings().paths.signals_db).minutes_decided()
    left = max(60 * hours - decided, 0)
    get_run_logger().info("%d of %d minutes are decided, %d left", decided, 60 * hours, left)
    return left
