"""`desk doctor`: what is there, what is missing, and the one command that comes next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from core.errors import StoreError
from core.settings import REMOVED, load_settings, unknown_names
from desk import services
from market.providers.extras import EXTRAS, install_command, is_installed
from store.reader import Reader

if TYPE_CHECKING:
    from core.settings import Settings

console = Console()


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    what: str
    detail: str
    repair: str = ""
    """The command that mends it; empty when nothing needs mending."""


def doctor() -> None:
    """Examine the folder step by step and name the next command."""
    settings = load_settings()
    settings.paths.make()
    findings = [*_settings(), _market(settings), *_store(settings), _registry(settings), _alerts(settings), _services()]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "what", "found", "repair"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            "[green]ok[/green]" if not finding.repair else "[yellow]--[/yellow]",
            finding.what,
            finding.detail,
            finding.repair,
        )
    console.print(table)
    wanting = [finding for finding in findings if finding.repair]
    console.print(f"next: [bold]{wanting[0].repair}[/bold]" if wanting else "nothing is missing: make run-dry")


def _settings() -> list[Finding]:
    """Name what `.env` sets and nothing reads; what is only nearly a setting has stopped the command before."""
    unknown = unknown_names()
    gone = [f"{name} is gone: {REMOVED[name.upper()]}" for name in unknown if name.upper() in REMOVED]
    foreign = [name for name in unknown if name.upper() not in REMOVED]
    findings = [Finding("settings", "; ".join(gone), "take it out of .env")] if gone else []
    if foreign:
        findings.append(Finding("settings", f".env also sets {', '.join(foreign)}: not Candledesk's, not read"))
    return findings


def _market(settings: Settings) -> Finding:
    name = settings.provider
    if name in EXTRAS and not is_installed(name):
        return Finding("market", f"{name} is chosen and not installed", install_command(name))
    if name == "ccxt":
        return Finding("market", f"ccxt, exchange {settings.ccxt_exchange}, public data")
    if name == "yfinance":
        return Finding("market", "Yahoo Finance, not an exchange: composite prices, 30 days of minutes")
    if name == "synthetic":
        return Finding("market", f"synthetic, seed {settings.synthetic_seed}: not real prices")
    if settings.has_key:
        return Finding("market", f"{settings.provider} with a key at {settings.coinbase_base_url}")
    return Finding(
        "market",
        f"{settings.provider} at {settings.coinbase_base_url}, public data (no key: 10 requests a second instead of 30)",
    )


def _store(settings: Settings) -> list[Finding]:
    try:
        with Reader(settings.paths) as reader:
            candles = reader.sql(
                "select product, count(*) as candles, max(open_time) as newest from candles_1m group by product order by product"
            )
            sets = reader.sql("select digest, created_at from datasets order by created_at desc limit 1")
    except StoreError:
        return [
            Finding("candles", "none are published", "make backfill"),
            Finding("data set", "none", "make features"),
        ]
    text = "; ".join(f"{row['product']} {row['candles']} to {row['newest']:%Y-%m-%d %H:%M}" for row in candles)
    findings = [Finding("candles", text or "none", "" if candles else "make backfill")]
    if sets:
        return [
            *findings,
            Finding("data set", f"{sets[0]['digest'][:16]} of {sets[0]['created_at']:%Y-%m-%d %H:%M}"),
        ]
    return [*findings, Finding("data set", "none", "make features")]


def _registry(settings: Settings) -> Finding:
    path = settings.paths.registry
    if not path.exists():
        return Finding(
            "models",
            "none was ever trained: the runtime would signal nothing",
            "make train COIN=BTC && make evaluate",
        )
    slots = json.loads(path.read_text(encoding="utf-8")).get("current", {})
    if not slots:
        return Finding("models", "none is promoted; the gates' reasons: desk models list", "desk models list")
    return Finding("models", ", ".join(f"{slot}" for slot in sorted(slots)))


def _alerts(settings: Settings) -> Finding:
    if settings.alert_targets:
        return Finding("alerts", f"{len(settings.alert_targets)} target(s); try: desk alerts test")
    return Finding("alerts", "no target: nobody would hear a signal", "set ALERT_URLS in .env")


def _services() -> Finding:
    states = services.status()
    if not states:
        return Finding("Prefect", "not up (optional): make up")
    is_good = all(state == "RUNNING" for state in states.values())
    return Finding(
        "Prefect",
        ", ".join(f"{name} {state}" for name, state in states.items()),
        "" if is_good else "make down && make up",
    )
