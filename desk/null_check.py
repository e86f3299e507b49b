"""Command `desk null-check`: train and gate in many small universes, count promotions where there is an edge and where not."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from core.settings import load_settings
from desk.leak_check import Format, step_bar
from models.gates import gate_profile
from runtime.risk.execution_costs import round_trip_cost
from store.feature_sets import FEATURE_SETS, feature_set
from validation.null_market.null_tables import claims, show
from validation.null_market.universe import PLANTED_ACCURACY, Sizes, UniverseOutcome, universes
from validation.null_market.universe_runs import NullTerms, OutcomeLog, exclusively, try_universes

console = Console()
remarks = Console(stderr=True)
QUICK = (5, 2)
"""Universes without and with an edge, of a quick look."""


class Profile(StrEnum):
    """The gate profile that is tried."""

    SEED = "seed"
    SELECTIVE = "selective"
    CALIBRATED = "calibrated"


class Architecture(StrEnum):
    """What is trained."""

    LSTM_ONE_WAY = "lstm_one_way"
    LSTM = "lstm"


def null_check(
    nulls: Annotated[int, typer.Option("--universes", min=0, help="Universes without an edge")] = 100,
    planted: Annotated[int, typer.Option("--planted", min=0, help="Universes with a planted edge")] = 20,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Child processes at a time, one core each")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Decides every market and every training")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="A look only: 5 universes without an edge, 2 with one")
    ] = False,
    profile: Annotated[
        Profile, typer.Option(help="Gates to promote by; MIN_ACCURACY and MAX_CALIBRATION_ERROR count")
    ] = Profile.SEED,
    features: Annotated[
        str | None, typer.Option("--set", help="Feature set where there is no edge; left out, all take turns")
    ] = None,
    architecture: Annotated[Architecture, typer.Option(help="What is trained")] = Architecture.LSTM_ONE_WAY,
    best_accuracy: Annotated[
        float, typer.Option(min=0.51, max=0.99, help="Of the best possible forecast where an edge is planted")
    ] = PLANTED_ACCURACY,
    null_days: Annotated[int, typer.Option(min=30, help="Days of a universe without an edge")] = 30,
    planted_days: Annotated[
        int, typer.Option(min=20, help="Days of one with an edge; in few days chance looks like a calibration error")
    ] = 180,
    fresh: Annotated[bool, typer.Option("--fresh", help="Try every universe again, whatever the log holds")] = False,
    output: Annotated[Format, typer.Option("--format", help="table or json")] = Format.TABLE,
) -> None:
    """Train, calibrate, export, judge and promote in small simulated universes whose truth is known.

    Where there is no edge (a market without one, or shuffled labels) nothing may be promoted; where one is planted at least
    nine of ten must be. Ends with 0 if both hold, with 1 if not. Every outcome is logged at once: a killed run goes on by
    the same command.
    """
    began, settings = time.monotonic(), load_settings()
    sets = (feature_set(features).name,) if features else tuple(FEATURE_SETS)
    sizes = Sizes(*(QUICK if quick else (nulls, planted)), null_days, planted_days, sets)
    gates = gate_profile(
        profile.value, min_accuracy=settings.min_accuracy, max_calibration_error=settings.max_calibration_error
    )
    terms = NullTerms(seed, architecture.value, best_accuracy, gates, round_trip_cost(settings))
    outcomes = _tried(sizes, terms, settings.paths.home / "null-check", workers, fresh=fresh)
    if output is Format.JSON:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        # a pipe must not cut a row in two
        show(console if console.is_terminal else Console(width=250), outcomes, profile.value, time.monotonic() - began)
    if not claims(outcomes, profile.value).hold:
        raise typer.Exit(1)


def _tried(sizes: Sizes, terms: NullTerms, home: Path, workers: int, *, fresh: bool) -> list[UniverseOutcome]:
    """Return the outcome of every universe, in their order; those the log holds are taken from there."""
    wanted, folder = universes(sizes, terms.seed), terms.folder(home)
    with exclusively(folder):
        log = folder / "universes.jsonl"
        if fresh:
            log.unlink(missing_ok=True)
        logged = OutcomeLog(log).outcomes()
        known = {each: logged[each] for each in wanted if each in logged and not logged[each].failure}
        if known:
            text = f"{len(known)} of {len(wanted)} universes are in {log} already; --fresh tries them again"
            remarks.print(text, soft_wrap=True, highlight=False)
        with step_bar("universes", len(wanted), len(known)) as advance:

            def on_outcome(outcome: UniverseOutcome) -> None:
                known[outcome.universe] = outcome
                advance()

            try_universes([each for each in wanted if each not in known], terms, folder, workers, on_outcome)
    return [known[each] for each in wanted]
