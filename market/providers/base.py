"""Define what every provider of candles can do, and the one way in which fetching candles fails."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from core.candles import Span, floor_minute
from core.errors import ExchangeUnavailableError, SpanError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from core.candles import Page

PAGE_MINUTES = 300
"""Minutes of one request. Coinbase refuses a window that is too wide as a whole, and reports of the edge differ (349 or 350
minutes; it was 300 in 2023): 300 is right under each of them, at the cost of a sixth more requests."""

IN_FLIGHT = 8
"""Requests of one caller that wait for an answer at the same time: five keep ten a second busy at half a second an answer,
the rest bridges slower ones."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts of a local exchange: no proxy leads to them."""


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A window that was asked for, more than once, and not answered."""

    window: Span
    cause: str


class FetchFailedError(ExchangeUnavailableError):
    """Some windows of one product got no useful answer; every other page was yielded before."""

    def __init__(self, product: str, failed: Sequence[FetchFailed], *, gave_up: bool) -> None:
        """Keep the failed windows, so that the ledger can tell them from those never asked for."""
        self.product = product
        self.failed = tuple(failed)
        self.gave_up = gave_up
        first = self.failed[0]
        rest = "; gave up on the windows after them" if gave_up else ""
        super().__init__(
            f"{product}: {len(self.failed)} windows without a useful answer, the first {first.window} "
            f"({first.cause}){rest}. Run the same command again: it asks only for what is missing"
        )

    def __reduce__(self) -> tuple[Callable[..., FetchFailedError], tuple[object, ...]]:
        """Let it travel between processes, as the errors of tasks do."""
        return partial(FetchFailedError, gave_up=self.gave_up), (self.product, self.failed)


class TryAgainError(ExchangeUnavailableError):
    """One try gave nothing useful, the next one may; `fetch_windows.with_retries` catches it.

    It holds no request and is chained to none: an httpx error holds the request it failed on, headers and so the token
    included, therefore its name and text are taken and the error itself is let go.
    """

    def __init__(self, cause: str, *, wait: float | None = None, status: int | None = None) -> None:
        """Name the cause in a few words; never the body, which may be pages of HTML.

        Args:
            cause: Such as ``HTTP 502 (text/html)``.
            wait: Seconds after which the exchange wants to be asked again.
            status: Of the answer, where there was one; 401 is a refused token, which also happens to good ones.
        """
        super().__init__(cause)
        self.wait = wait
        self.status = status
        self.request = ""


class Provider(Protocol):
    """A source of closed one-minute candles."""

    @property
    def name(self) -> str:
        """Name as in the setting PROVIDER."""
        ...

    def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
        """Ask for each window with one request, several at a time; yield pages as they are answered.

        A window that reaches into the present is answered for its closed part only: the page's own window says how
        far. A window with no closed minute gives no page.

        Raises:
            SpanError: a window of more than ``PAGE_MINUTES``.
            UnknownProductError: the exchange does not offer the product.
            CredentialsError: the key was refused.
            FetchFailedError: after all other pages were yielded, if some windows got no useful answer.
        """
        ...

    async def server_time(self) -> datetime:
        """Return the exchange's present."""
        ...

    async def check(self) -> str:
        """Try clock and key; return one line for a person.

        Raises:
            ClockSkewError: this machine's clock is too far from the exchange's.
            CredentialsError: the key was refused or may not read.
            ExchangeUnavailableError: no useful answer.
        """
        ...

    async def first_candle(self, product: str, span: Span) -> datetime | None:
        """Return the open time of the first candle in ``span``, or None if there is none.

        Raises:
            UnknownProductError: the exchange does not offer the product.
            ListingUnknownError: this provider cannot tell; where its answers begin is no listing.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and files."""
        ...


def require_page_sizes(windows: Sequence[Span]) -> None:
    """Refuse a window that no single request can answer.

    Raises:
        SpanError: naming the window and the repair.
    """
    for window in windows:
        if window.minutes > PAGE_MINUTES:
            msg = (
                f"the window {window} has {window.minutes} minutes, a request answers at most {PAGE_MINUTES}; "
                f"cut it with span.pages({PAGE_MINUTES})"
            )
            raise SpanError(msg)


def closed_part(window: Span, present: datetime) -> Span | None:
    """Return the part of ``window`` whose minutes are over at ``present``."""
    end = min(window.end, floor_minute(present))
    return Span(window.start, end) if window.start < end else None
