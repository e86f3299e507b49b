"""Show the log of a run of all eight steps as one line per step: a bar, the time it took and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

_LINE = re.compile(
    r"[\d:.]+ \| (?P<level>\w+) +\| (?:Task run '(?P<run>.+?)'|Flow run '.+?'|prefect\S*) - (?P<text>.*)"
)
_SHARE = re.compile(r".*?: (?P<percent>\d+) %, (?P<left>[^;]*)")
_STEPS: dict[str, tuple[str, ...]] = {
    # step -> how the names of its task runs begin
    "server": ("Prefect",),
    "market": ("check provider", "plan span"),
    "candles": ("backfill ", "report coverage"),
    "features": ("check quality", "export dataset", "publish market"),
    "training": ("train ",),
    "gates": ("judge ", "promote models", "record baseline"),
    "runtime": ("smoke test in ", "minutes left", "observe in "),
    "reports": ("days observed", "report day "),
    "verdict": ("write verdict",),
}
_NAMES = tuple(_STEPS)


@dataclass(slots=True)
class _Step:
    """One step: its row on the screen, its task runs with the share done of each, and the sentences they logged."""

    row: TaskID
    shares: dict[str, float] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


class StepBoard:
    """One row per step, written from the lines that Prefect logs; on no terminal, one line when a step is done."""

    def __init__(self, console: Console, *, products: int, trainings: int) -> None:
        """Measure the bars against so many ``products`` and ``trainings``, each a task run of its own."""
        self._console = console
        self._expected = {"candles": products + 1, "training": trainings, "gates": trainings + 2}
        self._open: dict[str, _Step] = {}
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(16),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", table_column=Column(ratio=1)),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Begin to show rows."""
        self._progress.start()
        self._step("server", "starting Prefect")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the rows as they are; the last step is done if nothing went wrong."""
        if kind is None:
            self._close(tuple(self._open)[-1])
        self._progress.stop()

    def feed(self, line: str) -> None:
        """Take one line of the log; one that no task wrote changes nothing, but a warning is shown."""
        match = _LINE.match(line)
        if match is None:
            return
        if match["level"] not in {"DEBUG", "INFO"}:
            self._console.print(f"{match['level'].lower()}: {match['text']}", style="yellow", markup=False)
        run = match["run"] or ""
        name = next((name for name, starts in _STEPS.items() if run.startswith(starts)), None)
        if name is not None:
            self._record(name, run, match["text"])

    def _record(self, name: str, run: str, text: str) -> None:
        share = _SHARE.match(text)
        step = self._step(name, f"{run}: {share['left']}" if share else run)
        if share:
            step.shares[run] = int(share["percent"]) / 100
        elif text.startswith("Finished in state"):
            step.shares[run] = 1.0
        else:
            step.sentences.append(text)
        if name == tuple(self._open)[-1]:  # the read copy is published once more when later steps are at work
            expected = max(self._expected.get(name, len(_STEPS[name])), len(step.shares))
            self._progress.update(step.row, completed=min(sum(step.shares.values()) / expected, 0.99))

    def _step(self, name: str, note: str) -> _Step:
        """Return the step; the first task run of a later step says that the one before is done."""
        if name not in self._open:
            for earlier in tuple(self._open)[-1:]:
                self._close(earlier)
            self._open[name] = _Step(self._progress.add_task(name, total=1.0, note=note))
        elif name == tuple(self._open)[-1]:
            self._progress.update(self._open[name].row, note=note)
        return self._open[name]

    def _close(self, name: str) -> None:
        step = self._open[name]
        outcome = came_of(name, step.sentences)
        self._progress.update(step.row, completed=1.0, note=outcome)
        if not self._console.is_terminal:
            self._console.print(f"{name:<9} {outcome}", markup=False, highlight=False, soft_wrap=True)


def came_of(step: str, sentences: list[str]) -> str:
    """Return in a few words what came of ``step``, from the sentences its tasks logged."""
    text = "\n".join(sentences)

    def total(pattern: str) -> int:
        return sum(int(number) for number in re.findall(pattern, text))

    def lines(words: str) -> int:
        return sum(words in line for line in sentences)

    stored, empty = total(r"(\d+) candles stored"), total(r"(\d+) minutes proved empty")
    digest, failed = re.search(r"data set (\w+)", text), total(r"(\d+) of them found rows")
    losses = re.findall(r"best log loss ([\d.]+)", text)
    days = lines("day ")
    minutes, verdict = total(r": (\d+) minutes in"), re.search(r"verdict: ([A-Z -]+)", text)
    return {
        "market": "signed requests accepted" if lines("accepted") else "ready",
        "candles": f"{stored:,} stored, {empty:,} minutes proved empty",
        "features": f"data set {digest[1] if digest else 'as before'}, {failed} failed checks",
        "training": f"{len(losses)} models, best log loss {min(losses, key=float, default='as before')}",
        "gates": f"{lines(': passes every gate')} accepted, {lines(': refused by ')} refused",
        "runtime": f"{minutes:,} minutes decided",
        "reports": f"{days} day{'s' if days != 1 else ''}",
        "verdict": verdict[1] if verdict else "written",
    }.get(step, "ready")
