"""`desk follow`: store every minute live."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from core.settings import Settings, load_settings
from market.ingest.follower import FollowOptions, Watcher
from market.ingest.follower import follow as follow_market
from market.ingest.live_clock import LiveClock, follow_exchange_clock, follow_server_time
from market.providers import ExchangeClock, Provider, RetryPolicy, open_provider
from store.schema import migrate_databases

if TYPE_CHECKING:
    from market.ingest.followed_product import FollowStats
    from market.ingest.follower import MinuteReport

LIVE_RETRY = RetryPolicy(attempts=3, wait_initial=0.5, wait_max=2.0, wait_jitter=0.5)
"""Short: a product that was not answered is asked for again five seconds later, and the others should not wait for it."""


def follow(
    products: Annotated[str | None, typer.Option(help="Such as BTC,ETH; the setting PRODUCTS when left out")] = None,
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
    logging.getLogger("market").addHandler(ToScreen(screen))
    signals: list[int] = []
    screen.summary(asyncio.run(_follow(settings, chosen, options, screen, signals)))
    if signals:
        # as the shell would say it: 130 after Ctrl-C, 143 after SIGTERM
        raise typer.Exit(128 + signals[0])


async def _follow(
    settings: Settings, products: tuple[str, ...], options: FollowOptions, screen: Screen, signals: list[int]
) -> FollowStats:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stopping, loop, stop, screen, signals, number)
    provider = open_provider(settings, retry=LIVE_RETRY)
    try:
        watcher = Watcher(screen.minute, screen.note)
        clock = _clock(settings, provider)
        return await follow_market(settings, products, provider, clock, stop=stop, watcher=watcher, options=options)
    finally:
        await provider.aclose()


def _stopping(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, screen: Screen, signals: list[int], number: int
) -> None:
    """Ask for the end; a second signal ends the process as if there were no handler."""
    signals.append(number)
    screen.note("ending after the commit in hand")
    stop.set()
    for handled in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(handled)


def _clock(settings: Settings, provider: Provider) -> LiveClock:
    if settings.clock == "exchange":
        return follow_exchange_clock(ExchangeClock(settings.coinbase_base_url))
    return follow_server_time(provider.server_time)


class ToScreen(logging.Handler):
    """Shows warnings among the other lines, without every try of a request: what came of them is shown anyway."""

    def __init__(self, screen: Screen) -> None:
        """Show warnings and worse on ``screen``."""
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.name != "market.providers.fetch_windows")
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one."""
        self._screen.note(record.getMessage())


class Screen:
    """One line a minute: coloured on a terminal, plain and dated elsewhere."""

    def __init__(self, console: Console) -> None:
        """Print to ``console``."""
        self._console = console

    def minute(self, report: MinuteReport, stats: FollowStats) -> None:
        """Show what a tick did."""
        closes = "  ".join(
            f"{product} {'-' if close is None else f'{close.normalize():f}'}"
            for product, close in report.closes.items()
        )
        counts = f"stored {report.stored}" + (f", [yellow]revised {report.revised}[/]" if report.revised else "")
        delay = "" if report.delay_seconds is None else f", {report.delay_seconds:.2f} s after the close"
        self._line(f"[bold]{report.open_time:%H:%M}[/]  {closes}  {counts}{delay}  [dim]({stats.delay_summary})[/]")

    def note(self, text: str) -> None:
        """Show something that happens seldom."""
        self._line(escape(text))

    def summary(self, stats: FollowStats) -> None:
        """Show the whole session."""
        self._line(
            f"{stats.minutes} minutes followed, {stats.stored} candles stored, {stats.revised} revised, "
            f"{stats.quarantined} quarantined, {stats.outages} outages; {stats.delay_summary}"
        )

    def _line(self, text: str) -> None:
        stamp = "" if self._console.is_terminal else f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} "
        self._console.print(stamp + text, soft_wrap=True)
