"""`desk probe coinbase`: learn what the exchange really does, compared with what the local exchange assumes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from core.candles import require_product
from core.settings import load_settings
from market.probe.questions import ON_THE_WAY, PROVOKED, QUESTIONS
from market.probe.session import ProbeFinding, ProbeSession
from market.providers.coinbase import CoinbaseProvider
from reports.page.console import print_blocks, screen
from reports.page.document import Cell, Table, Tone

app = typer.Typer(help="Learn how an exchange behaves where its documentation is silent.", no_args_is_help=True)
remarks = Console(stderr=True)
_COLUMNS = ("question", "learned", "assumed", "", "same with")
_TONES: dict[str, Tone] = {"agrees": "good", "differs": "bad", "open": "wait"}


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
    url = settings.coinbase_base_url
    questions = [question for question in QUESTIONS if settings.has_key or not question.needs_key]
    questions += [PROVOKED] if provoke_429 else []  # last, for it changes the exchange's mood
    if names:
        named = tuple((question.name, question.requests, "yes" if question.needs_key else "") for question in questions)
        print_blocks(screen(), [Table(("question", "requests", "signed"), named)])
        signed = "" if settings.has_key else "; with a key there would be signed ones too"
        remarks.print(f"[dim]nothing was asked of {url}{signed}[/dim]")
        return
    session = ProbeSession(CoinbaseProvider(settings), require_product(product), watch)
    questions += ON_THE_WAY
    with remarks.status("asking ...") as status:
        findings = asyncio.run(session.run(questions, lambda name: status.update(f"asking: {name} ...")))
    switches = " ".join(finding.setting for finding in findings if finding.setting.startswith("--"))
    counts = {name: sum(finding.verdict == name for finding in findings) for name in _TONES}
    if as_json:
        report = {
            "base_url": url,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "product": product,
            "signed": settings.has_key,
            "requests": len(session.replies),
            "agrees": not counts["differs"],
            "local_exchange": switches,
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(report, indent=2))
    else:
        print_blocks(screen(), [Table(_COLUMNS, tuple(_row(finding) for finding in findings))])
        summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        remarks.print(f"{len(session.replies)} requests to {url}: {summary}")
        if switches:
            remarks.print(f"the local exchange behaves like it with: desk exchange {switches}", highlight=False)
    raise typer.Exit(int(counts["differs"] > 0))


def _row(finding: ProbeFinding) -> tuple[Cell | str, ...]:
    verdict = Cell(finding.verdict, _TONES[finding.verdict])
    return finding.question, finding.learned, finding.assumed, verdict, finding.setting
