"""Examine a folder step by step: what is there, what is missing, and which command comes next (`desk doctor`)."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import CredentialsError, DeskError, StoreError
from core.settings import REMOVED, exposed_files, load_settings, settings_file, unknown_names
from desk import services
from market.providers import RetryPolicy, open_provider
from market.providers.credentials import load_signer
from market.providers.extras import EXTRAS, install_command, is_installed
from reports.page.console import print_blocks, screen
from reports.page.document import Cell, Table, Text
from store.reader import Reader

if TYPE_CHECKING:
    from core.settings import Settings

_SOON = RetryPolicy(attempts=3, wait_initial=0.5, wait_max=2.0, wait_jitter=0.5)
"""A person waits: three tries, for Coinbase refuses good tokens now and then."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    what: str
    detail: str
    repair: str = ""
    """The command that mends it; empty when nothing needs mending."""


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Ask the exchange too: one request, signed where a key is set")
    ] = False,
) -> None:
    """Examine the folder step by step and name the next command."""
    settings = load_settings()
    settings.paths.make()
    findings = [
        *_settings(settings),
        _market(settings),
        *([_online(settings)] if online else []),
        *_store(settings),
        _registry(settings),
        _alerts(settings),
        _services(),
    ]
    rows = tuple(
        (Cell("--", "wait") if finding.repair else Cell("ok", "good"), finding.what, finding.detail, finding.repair)
        for finding in findings
    )
    repairs = [finding.repair for finding in findings if finding.repair]
    last = Text(f"next: {repairs[0]}" if repairs else "nothing is missing: make run-dry")
    print_blocks(screen(), [Table(("", "what", "found", "repair"), rows), last])


def _settings(settings: Settings) -> list[Finding]:
    """Name the `.env` that counts, who else may touch it, and what it sets that nothing reads; a near miss stops every command."""
    file = settings_file()
    counts = f"of {file} and the environment" if file else "of the environment; there is no .env in this folder"
    exposed = [Finding("settings", *warning.split("; ", 1)) for warning in exposed_files(settings)]
    unknown = unknown_names()
    gone = [f"{name} is gone: {REMOVED[name.upper()]}" for name in unknown if name.upper() in REMOVED]
    foreign = [name for name in unknown if name.upper() not in REMOVED]
    findings = [Finding("settings", counts), *exposed]
    if gone:
        findings.append(Finding("settings", "; ".join(gone), "take it out of .env"))
    if foreign:
        findings.append(Finding("settings", f".env also sets {', '.join(foreign)}: not Candledesk's, not read"))
    return findings


def _market(settings: Settings) -> Finding:
    name = settings.provider
    if name in EXTRAS and not is_installed(name):
        return Finding("market", f"{name} is chosen and not installed", install_command(name))
    others = {
        "ccxt": f"ccxt, exchange {settings.ccxt_exchange}, public data",
        "yfinance": "Yahoo Finance, not an exchange: composite prices, 30 days of minutes",
        "synthetic": f"synthetic, seed {settings.synthetic_seed}: not real prices",
    }
    return Finding("market", others[name]) if name in others else _coinbase(settings)


def _coinbase(settings: Settings) -> Finding:
    """Say with which key the exchange is asked; half a key, or one that cannot be read, is none."""
    try:
        signer = load_signer(settings)
    except CredentialsError as error:
        return _failed("market", error)
    if signer is not None:
        return Finding("market", f"{settings.provider} with the key {signer.label} at {settings.coinbase_base_url}")
    return Finding(
        "market",
        f"{settings.provider} at {settings.coinbase_base_url}, public data (no key: 10 requests a second instead of 30)",
    )


def _online(settings: Settings) -> Finding:
    """Ask the exchange for its time and, where a key is set, with one signed request for what the key may do."""

    async def ask() -> str:
        provider = open_provider(settings, retry=_SOON)
        try:
            return await provider.check()
        finally:
            await provider.aclose()

    log = logging.getLogger("market.providers")
    level = log.level
    # one line is the answer; each try that failed would be one more
    log.setLevel(logging.ERROR)
    try:
        return Finding("online", asyncio.run(ask()))
    except DeskError as error:
        return _failed("online", error)
    finally:
        log.setLevel(level)


def _failed(what: str, error: DeskError) -> Finding:
    """Return an error as a finding; what follows its first semicolon is the repair."""
    detail, _, repair = str(error).partition("; ")
    return Finding(what, detail, repair or "see .env.example")


def _store(settings: Settings) -> list[Finding]:
    try:
        with Reader(settings.paths) as reader:
            candles = reader.sql(
                "select product, count(*) as candles, max(open_time) as newest from candles_1m group by product order by product"
            )
            sets = reader.sql("select digest, created_at from datasets order by created_at desc limit 1")
    except StoreError:
        return [Finding("candles", "none are published", "make backfill"), Finding("data set", "none", "make features")]
    text = "; ".join(f"{row['product']} {row['candles']} to {row['newest']:%Y-%m-%d %H:%M}" for row in candles)
    newest = [f"{row['digest'][:16]} of {row['created_at']:%Y-%m-%d %H:%M}" for row in sets]
    return [
        Finding("candles", text or "none", "" if candles else "make backfill"),
        Finding("data set", *newest) if newest else Finding("data set", "none", "make features"),
    ]


def _registry(settings: Settings) -> Finding:
    path = settings.paths.registry
    if not path.exists():
        repair = "make train COIN=BTC && make evaluate"
        return Finding("models", "no model was ever trained: the runtime would signal nothing", repair)
    try:
        slots = json.loads(path.read_bytes()).get("current", {})
    except (ValueError, AttributeError):
        return Finding("models", f"{path} is not as it was written", "desk models restore")
    if not slots:
        return Finding("models", "none is promoted; the gates' reasons: desk models list", "desk models list")
    return Finding("models", ", ".join(sorted(slots)))


def _alerts(settings: Settings) -> Finding:
    if settings.alert_targets:
        return Finding("alerts", f"{len(settings.alert_targets)} target(s); try: desk alerts test")
    return Finding("alerts", "no target is set: signals would reach nobody", "set ALERT_URLS in .env")


def _services() -> Finding:
    states = services.status()
    if not states:
        return Finding("Prefect", "not up (optional): make up")
    text = ", ".join(f"{name} {state}" for name, state in states.items())
    if any(state != "RUNNING" for state in states.values()):
        return Finding("Prefect", text, "make down && make up")
    return Finding("Prefect", f"{text}; run a flow: .venv/bin/prefect deployment run train-all/train-all")
