"""`desk follow`: store every minute live."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from core.errors import ConfigError
from core.settings import Settings, load_settings
from market.ingest.follow import FollowOptions, Market, Watcher
from market.ingest.follow import follow as follow_market
from market.ingest.live_clock import ExchangePace, Pace, SystemPace
from market.providers import ExchangeClock, Provider, open_provider
from market.providers.retries import RetryPolicy
from market.providers.trade_stream import TradeStream
from store.schema import migrate_databases

if TYPE_CHECKING:
    from market.ingest.follow import MinuteReport
    from market.ingest.follow_stats import Tally
    from market.ingest.trade_feed import Stream

LIVE_RETRY = RetryPolicy(attempts=3, wait_initial=0.5, wait_max=2.0, wait_jitter=0.5)
"""Short: whoever was not answered is asked again five seconds later, and the others should not wait for it."""


class Source(StrEnum):
    """Where a closed minute comes from first."""

    rest = "rest"
    trades = "trades"


def follow(
    products: Annotated[str | None, typer.Option(help="Such as BTC,ETH; the setting PRODUCTS when left out")] = None,
    source: Annotated[
        Source, typer.Option(help="rest asks for each closed minute; trades builds it from the WebSocket, then asks")
    ] = Source.rest,
    iterations: Annotated[int, typer.Option(help="Minutes to follow, -1 for ever", min=-1)] = -1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask and show, store no candle")] = False,
) -> None:
    """Follow the market: fill the gap since the last stored minute, then store every minute as it closes.

    Each minute is read once more two minutes after its close; what changed is kept as a revision. The read copy is
    published every ten minutes and at the end. Ctrl-C or SIGTERM ends it after the commit in hand.
    """
    settings = load_settings()
    chosen = settings.resolve_products(products)
    migrate_databases(settings.paths)
    options = FollowOptions(iterations=iterations, is_dry=dry_run)
    screen = Screen(Console(highlight=False))
    logging.getLogger("desk").addHandler(ToScreen(screen))
    tally = asyncio.run(_followed(settings, chosen, source, options, screen))
    screen.summary(tally)


async def _followed(
    settings: Settings, products: tuple[str, ...], source: Source, options: FollowOptions, screen: Screen
) -> Tally:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stopping, loop, stop, screen)
    provider = open_provider(settings, retry=LIVE_RETRY)
    try:
        stream = _stream(settings, products) if source is Source.trades else None
        market = Market(provider, _pace(settings, provider), stream)
        watcher = Watcher(screen.minute, screen.note)
        return await follow_market(settings, products, market, stop=stop, watcher=watcher, options=options)
    finally:
        await provider.aclose()


def _stopping(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, screen: Screen) -> None:
    """Ask for the end; a second signal ends the process as if there were no handler."""
    screen.note("ending after the commit in hand")
    stop.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


def _pace(settings: Settings, provider: Provider) -> Pace:
    if settings.clock == "exchange":
        return ExchangePace(ExchangeClock(settings.coinbase_base_url))
    return SystemPace(provider.server_time)


def _stream(settings: Settings, products: tuple[str, ...]) -> Stream:
    """Return the stream of trades.

    Raises:
        ConfigError: the provider has none.
    """
    if settings.provider != "coinbase":
        msg = f"PROVIDER={settings.provider} has no stream of trades; set PROVIDER=coinbase, or use --source rest"
        raise ConfigError(msg)
    return TradeStream(settings, products)


class ToScreen(logging.Handler):
    """Shows warnings among the other lines, without every try of a request: what came of them is told anyway."""

    def __init__(self, screen: Screen) -> None:
        """Show warnings and worse on ``screen``."""
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.name != "market.providers.retries")
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        self._screen.note(record.getMessage())


class Screen:
    """One line a minute: coloured on a terminal, plain and dated elsewhere."""

    def __init__(self, console: Console) -> None:
        """Print to ``console``."""
        self._console = console

    def minute(self, report: MinuteReport, tally: Tally) -> None:
        """Show what a tick did."""
        closes = "  ".join(
            f"{product} {'-' if close is None else f'{close.normalize():f}'}"
            for product, close in report.closes.items()
        )
        counts = f"stored {report.stored}" + (f", [yellow]revised {report.revised}[/]" if report.revised else "")
        delay = "" if report.delay_seconds is None else f", {report.delay_seconds:.2f} s after the close"
        self._line(f"[bold]{report.open_time:%H:%M}[/]  {closes}  {counts}{delay}  [dim]({tally.spoken_delays})[/]")

    def note(self, text: str) -> None:
        """Show something that happens seldom."""
        self._line(escape(text))

    def summary(self, tally: Tally) -> None:
        """Show the whole session."""
        built = ""
        if tally.built or tally.dropped:
            built = (
                f"; {tally.built} built from trades ({tally.confirmed} confirmed, {tally.differed} revised by the "
                f"exchange so far), {tally.dropped} not built"
            )
        self._line(
            f"{tally.minutes} minutes followed, {tally.stored} candles stored, {tally.revised} revised, "
            f"{tally.quarantined} quarantined, {tally.outages} outages{built}; {tally.spoken_delays}"
        )

    def _line(self, text: str) -> None:
        stamp = "" if self._console.is_terminal else f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} "
        self._console.print(stamp + text, soft_wrap=True)
