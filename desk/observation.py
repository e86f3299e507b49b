"""`desk observation`: what was observed under which models and rules, and how to begin anew."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core.candles import MINUTE
from core.errors import StoreError
from core.settings import load_settings
from reports.observation.day_page import observation_days, write_daily
from reports.observation.record import read_observations
from runtime.observation_terms import with_id
from store.signal_store import SignalStore

app = typer.Typer(no_args_is_help=True, help="Observations: what was observed under the same models, rules and code.")
console = Console()


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False) -> None:
    """List every observation, the newest last; reports and the verdict are of that one."""
    rows = read_observations(load_settings())
    if as_json:
        print(json.dumps([asdict(row) | {"terms": json.loads(row.terms)} for row in rows], default=str, indent=1))
        return
    table = Table("observation", "began (UTC)", "mode", "models", "why")
    for row in rows:
        table.add_row(row.observation_id, f"{row.began_at:%Y-%m-%d %H:%M}", row.mode, row.models or "none", row.why)
    console.print(table)


@app.command()
def show(observation: Annotated[str, typer.Argument(help="Its id, or how it begins")]) -> None:
    """Write the day reports of one observation again, into a folder of its own, and print its terms."""
    settings = load_settings()
    matching = [row for row in read_observations(settings) if row.observation_id.startswith(observation)]
    if len(matching) != 1:
        msg = f"{observation!r} names {len(matching) or 'no'} observation{'s' if matching else ''}; see: desk observation list"
        raise StoreError(msg)
    row = matching[0]
    print(f"{row.observation_id} began {row.began_at:%Y-%m-%d %H:%M} UTC: {row.why}")
    print(f"mode {row.mode}, feature set {row.feature_set}, code {row.code}\nmodels {row.models or 'none'}")
    for name, value in json.loads(row.terms).items():
        print(f"  {name.upper()}={value}")
    for day in range(observation_days(settings, row.observation_id)):
        print(write_daily(settings, day, row.observation_id))


@app.command()
def new(why: Annotated[str, typer.Option("--why", help="The reason, kept for ever", prompt="Why")]) -> None:
    """Begin a new observation from the next minute on; what was recorded before stays, and counts no more."""
    settings = load_settings()
    store = SignalStore(settings.paths.signals_db)
    rows = store.observations()
    if not rows:
        msg = "nothing was observed yet, so there is nothing to part from; start with: make run-dry"
        raise StoreError(msg)
    last = max(store.last_minutes().values(), default=None)
    began_at = rows[-1].began_at if last is None else max(rows[-1].began_at, last + MINUTE)
    row = with_id(replace(rows[-1], began_at=began_at, why=why.strip()))
    store.begin_observation(row)
    store.publish(settings.paths.signals_copy)
    print(f"observation {row.observation_id} begins with the minute of {began_at:%Y-%m-%d %H:%M} UTC")
