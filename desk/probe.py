"""`desk probe coinbase`: what the exchange really does, held against what the local exchange assumes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from core.candles import require_product
from core.settings import load_settings
from market.probe import access, candles
from market.probe.client import Asker
from market.probe.findings import Finding, Market, Question
from market.providers.coinbase import CoinbaseProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from core.settings import Settings

app = typer.Typer(help="Learn how an exchange behaves where its documentation is silent.", no_args_is_help=True)
remarks = Console(stderr=True)
_PIPE_WIDTH = 250


@app.callback()
def probe() -> None:
    """Learn how an exchange behaves where its documentation is silent."""


@app.command()
def coinbase(
    product: Annotated[str, typer.Option(help="A product that trades every minute")] = "BTC-USD",
    watch: Annotated[float, typer.Option(help="Seconds to watch how closed minutes settle; 0 looks twice")] = 70.0,
    provoke_429: Annotated[
        bool, typer.Option("--provoke-429", help="Ask without waiting until the exchange says 429")
    ] = False,
    names: Annotated[bool, typer.Option("--list", help="Name the requests, ask nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON")] = False,
) -> None:
    """Ask Coinbase (COINBASE_BASE_URL) the open questions and compare it with the local exchange.

    Public questions need no key; signed ones are asked when COINBASE_API_KEY and COINBASE_API_SECRET are set. Every
    request keeps to the shared rate limit, except those of --provoke-429. Status 0: the local exchange behaves the
    same; 1: it differs, and the table names the switch; 2: the exchange could not be asked.
    """
    settings = load_settings()
    questions = chosen(has_key=settings.has_key, provoke=provoke_429)
    if names:
        _list(settings, questions)
        return
    require_product(product)
    with remarks.status("asking ...") as status:
        findings, requests = asyncio.run(
            ask(settings, product, questions, watch=watch, told=lambda name: status.update(f"asking: {name} ..."))
        )
    if as_json:
        print(json.dumps(_report(settings, product, findings, requests), indent=2))
    else:
        _show(settings, findings, requests)
    raise typer.Exit(int(any(finding.verdict == "differs" for finding in findings)))


def chosen(*, has_key: bool, provoke: bool) -> list[Question]:
    """Return the questions to ask, those that change the exchange's mood last."""
    questions = [question for question in (*access.QUESTIONS, *candles.QUESTIONS) if has_key or not question.needs_key]
    return [*questions, candles.SETTLING, *([access.PROVOKED] if provoke else [])]


async def ask(
    settings: Settings,
    product: str,
    questions: Sequence[Question],
    *,
    watch: float = 0.0,
    provider: CoinbaseProvider | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[list[Finding], int]:
    """Ask ``questions`` one after the other; return the findings and the number of requests.

    Args:
        settings: Address, key, rates.
        product: One that trades every minute.
        questions: As of `chosen`.
        watch: Seconds to watch closed minutes settle.
        provider: One that is open already, for tests; closed in any case.
        sleep: Waits between looks and tries, for tests.
        told: Is told the name of each question.

    Raises:
        ProviderError: the exchange cannot be asked, or the key not be read.
    """
    opened = provider or CoinbaseProvider(settings)
    asker = Asker(opened.connection, sleep)

    async def present() -> float:
        return (await opened.server_time()).timestamp()

    try:
        market = Market(asker, product, int(await present()), present, watch_seconds=watch)
        await market.look()
        findings: list[Finding] = []
        for question in questions:
            told(question.name)
            findings += await question.ask(market)
    finally:
        await opened.aclose()
    findings.append(access.the_rate_headers(asker.replies))
    limited = [reply for reply in asker.replies if reply.status == 429]
    if limited and access.PROVOKED not in questions:
        findings.append(access.the_429(limited[0], ", met on the way"))
    return findings, len(asker.replies)


def _screen() -> Console:
    """Return where tables go: a terminal has its width, a pipe must not cut a switch in two."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def _list(settings: Settings, questions: Sequence[Question]) -> None:
    table = Table("question", "requests", "signed", header_style="bold", box=None, pad_edge=False)
    for question in questions:
        table.add_row(question.name, question.asks, "yes" if question.needs_key else "")
    _screen().print(table)
    signed = "" if settings.has_key else "; with a key there would be signed ones too"
    remarks.print(f"[dim]nothing was asked of {settings.coinbase_base_url}{signed}[/dim]")


def _show(settings: Settings, findings: Sequence[Finding], requests: int) -> None:
    table = Table("question", "learned", "assumed", "", "same with", header_style="bold", box=None, pad_edge=False)
    colours = {"agrees": "green", "differs": "red", "open": "yellow"}
    for finding in findings:
        verdict = f"[{colours[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.question, _plain(finding.learned), _plain(finding.assumed), verdict, finding.setting)
    _screen().print(table)
    counts = {name: sum(finding.verdict == name for finding in findings) for name in colours}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    remarks.print(f"{requests} requests to {settings.coinbase_base_url}: {summary}")
    if settings_text := _switches(findings):
        remarks.print(f"the local exchange behaves like it with: desk exchange {settings_text}", highlight=False)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _switches(findings: Sequence[Finding]) -> str:
    return " ".join(finding.setting for finding in findings if finding.setting.startswith("--"))


def _report(settings: Settings, product: str, findings: Sequence[Finding], requests: int) -> dict[str, Any]:
    return {
        "base_url": settings.coinbase_base_url,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "product": product,
        "signed": settings.has_key,
        "requests": requests,
        "agrees": not any(finding.verdict == "differs" for finding in findings),
        "local_exchange": _switches(findings),
        "findings": [asdict(finding) for finding in findings],
    }
