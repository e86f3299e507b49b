"""`desk leak-check`: does anything know the future? Audit what is there, plant leaks, run clean markets."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core.settings import load_settings
from validation.leakage.audit import audit, audit_steps
from validation.leakage.checks import Check
from validation.leakage.trials import clean_seeds, plant_steps, plants, seed_steps

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
    began = time.monotonic()
    found: list[Check] = []
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="desk-leak-check-") as text:
        folder = Path(text)
        if plant:
            with _bar("planted leaks", plant_steps(), found) as on_check:
                plants(folder, on_check)
        if seeds:
            with _bar("clean seeds", seed_steps(seeds), found) as on_check:
                clean_seeds(seeds, folder, on_check)
    if not (plant or seeds):
        with _bar("leak check", audit_steps(), found) as on_check:
            audit(features or settings.feature_set, settings.paths, on_check)
    if output is Format.JSON:
        print(json.dumps([asdict(check) | {"holds": check.holds} for check in found], indent=2))
    else:
        _show(found, seeds, time.monotonic() - began)
    if not all(check.holds for check in found):
        raise typer.Exit(1)


@contextmanager
def _bar(name: str, steps: int, found: list[Check]) -> Iterator[Callable[[Check], None]]:
    """Show a bar while the work runs; every check is kept and moves it on."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=remarks, transient=True) as bar:
        task = bar.add_task(name, total=steps)

        def on_check(check: Check) -> None:
            found.append(check)
            bar.advance(task)

        yield on_check


def _show(found: list[Check], seeds: int, seconds: float) -> None:
    planted = [check for check in found if check.expected]
    clean = [check for check in found if not check.expected]
    if planted:
        console.print(_planted_table(planted))
    if clean and not seeds:
        console.print(_audit_table(clean))
    for check in (check for check in clean if not check.holds):
        for leak in check.leaks:
            # not wrapped: it is meant to be copied
            console.print(
                f"{leak.name} in {leak.place}\n  seen: {leak.seen}\n  repair: {leak.repair}",
                soft_wrap=True,
                highlight=False,
            )
    for check in (check for check in planted if not check.holds):
        console.print(f"NOT CAUGHT: {check.what}, expected {check.expected!r}", style="bold red", soft_wrap=True)
    for line, is_good in _verdicts(planted, clean, seeds):
        console.print(line, style="bold green" if is_good else "bold red", soft_wrap=True, highlight=False)
    console.print(
        f"{sum(check.probes for check in found)} interventions and comparisons in {seconds:.1f} s",
        style="dim",
        highlight=False,
    )


def _verdicts(planted: list[Check], clean: list[Check], seeds: int) -> Iterator[tuple[str, bool]]:
    if planted:
        caught = sum(check.holds for check in planted)
        yield f"{caught} of {len(planted)} planted leaks caught and named", caught == len(planted)
    lit = sum(not check.holds for check in clean)
    if seeds:
        yield f"{lit} false alarms in {len(clean)} checks of {seeds} clean seeds", not lit
    elif clean:
        yield (f"{lit} of {len(clean)} checks are lit" if lit else "nothing leaks"), not lit


def _planted_table(planted: list[Check]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "planted", "named", "seen"):
        table.add_column(name, overflow="fold")
    for check in planted:
        mark = Text("caught", style="green") if check.holds else Text("MISSED", style="bold red")
        named = next((leak for leak in check.leaks if leak.name == check.expected), None)
        first = named or next(iter(check.leaks), None)
        table.add_row(mark, check.what, first.name if first else "", first.seen if first else "nothing")
    return table


def _audit_table(clean: list[Check]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("what", overflow="fold")
    table.add_column("probes", justify="right")
    table.add_column("seen", overflow="fold")
    for check in clean:
        seen = (
            f"{len(check.leaks)} lit: {', '.join(sorted({leak.name for leak in check.leaks}))}"
            if check.leaks
            else check.note
        )
        mark = (
            Text("LEAK", style="bold red") if check.leaks else Text("-" if not check.probes else "dark", style="green")
        )
        table.add_row(mark, check.what, str(check.probes or ""), seen)
    return table
