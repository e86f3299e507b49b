"""Command `desk leak-check`: audit what is there for leaks, try planted ones, run clean markets."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core.locks import scratch_folder
from core.settings import load_settings
from validation.leakage.audit import audit, audit_steps, clean_seeds, plant_steps, seed_steps, try_plants
from validation.leakage.leak_list import LEAKS, LeakCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

console = Console()
remarks = Console(stderr=True)


class Format(StrEnum):
    """How the checks are printed."""

    TABLE = "table"
    JSON = "json"


def leak_check(
    plant: Annotated[
        bool, typer.Option("--plants", help="Try every planted leak: each must be caught by name")
    ] = False,
    seeds: Annotated[
        int, typer.Option("--seeds", min=0, help="Run the clean pipeline on so many markets: none may raise an alarm")
    ] = 0,
    features: Annotated[
        str | None, typer.Option("--set", help="Feature set to audit (or one planted under sql/leaks); FEATURE_SET")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table or json")] = Format.TABLE,
) -> None:
    """Change the future and see what moves: feature SQL, labels, split, windows, scaler, training, calibration, tiers.

    Without options what is really there is audited: the feature set, the functions that fit, and the newest data set. Ends with
    0 when nothing leaks and with 1 when something does, or when a planted leak is not caught; each line names the repair.
    """
    began, checks, settings = time.monotonic(), list[LeakCheck](), load_settings()
    with scratch_folder("leak-check") as folder:
        if plant:
            checks += _run("planted leaks", plant_steps(), partial(try_plants, folder))
        if seeds:
            checks += _run("clean seeds", seed_steps(seeds), partial(clean_seeds, seeds, folder))
    if not (plant or seeds):
        checks = _run("leak check", audit_steps(), partial(audit, features or settings.feature_set, settings.paths))
    if output is Format.JSON:
        print(json.dumps([asdict(check) | {"holds": check.holds} for check in checks], indent=2))
    else:
        _show(checks, seeds, time.monotonic() - began)
    if not all(check.holds for check in checks):
        raise typer.Exit(1)


def _run(name: str, steps: int, work: Callable[[Callable[[LeakCheck], None]], None]) -> list[LeakCheck]:
    """Do ``work`` under a bar; return every check it made."""
    checks: list[LeakCheck] = []
    with step_bar(name, steps) as advance:

        def on_check(check: LeakCheck) -> None:
            checks.append(check)
            advance()

        work(on_check)
    return checks


@contextmanager
def step_bar(name: str, steps: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error while the work runs; yield what moves it on by one step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=remarks, transient=True) as bar:
        task = bar.add_task(name, total=steps, completed=done)
        yield lambda: bar.advance(task)


def _show(checks: list[LeakCheck], seeds: int, seconds: float) -> None:
    planted = [check for check in checks if check.expected]
    clean = [check for check in checks if not check.expected]
    if planted:
        console.print(_planted_table(planted))
    if clean and not seeds:
        console.print(_audit_table(clean))
    for leak in (leak for check in clean for leak in check.leaks):
        # not wrapped: it is meant to be copied
        text = f"{leak.name} in {leak.location}\n  seen: {leak.seen}\n  repair: {LEAKS[leak.name].repair}"
        console.print(text, soft_wrap=True, highlight=False)
    for check in (check for check in planted if not check.holds):
        console.print(f"NOT CAUGHT: {check.what}, expected {check.expected!r}", style="bold red", soft_wrap=True)
    for line, is_good in _verdicts(planted, clean, seeds):
        console.print(line, style="bold green" if is_good else "bold red", soft_wrap=True, highlight=False)
    probes = sum(check.probes for check in checks)
    console.print(f"{probes} interventions and comparisons in {seconds:.1f} s", style="dim", highlight=False)


def _verdicts(planted: list[LeakCheck], clean: list[LeakCheck], seeds: int) -> Iterator[tuple[str, bool]]:
    if planted:
        caught = sum(check.holds for check in planted)
        yield f"{caught} of {len(planted)} planted leaks caught and named", caught == len(planted)
    lit = sum(not check.holds for check in clean)
    if seeds:
        yield f"{lit} false alarms in {len(clean)} checks of {seeds} clean seeds", not lit
    elif clean:
        yield (f"{lit} of {len(clean)} checks found a leak" if lit else "nothing leaks"), not lit


def _planted_table(planted: list[LeakCheck]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "planted", "named", "seen"):
        table.add_column(name, overflow="fold")
    for check in planted:
        mark = Text("caught", style="green") if check.holds else Text("MISSED", style="bold red")
        # the leak that was planted stands before others that the same mistake brought along
        first = min(check.leaks, key=lambda leak: leak.name != check.expected, default=None)
        table.add_row(mark, check.what, first.name if first else "", first.seen if first else "nothing")
    return table


def _audit_table(clean: list[LeakCheck]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("probes", justify="right")
    table.add_column("seen", overflow="fold")
    for check in clean:
        mark, seen = Text("clean" if check.probes else "-", style="green"), check.note
        if check.leaks:
            names = ", ".join(sorted({leak.name for leak in check.leaks}))
            mark, seen = Text("LEAK", style="bold red"), f"{len(check.leaks)} leaks: {names}"
        table.add_row(mark, check.what, str(check.probes or ""), seen)
    return table
