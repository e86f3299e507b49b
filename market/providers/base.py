"""What every provider of candles can do, and a convenience for the newest minutes of several products."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from core.errors import CredentialsError, ExchangeUnavailableError, ProviderError, SpanError, UnknownProductError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from datetime import datetime

    from core.candles import Page, Span

PAGE_MINUTES = 300
"""Minutes of one request; Coinbase refuses more than 350, and where exactly the edge lies is told differently."""

IN_FLIGHT = 8
"""Requests of one caller that wait for an answer at the same time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, as errors and logs may show it: no query and no header, so never a token."""

    method: str
    path: str
    window: Span | None = None
    """The minutes that were asked for, where candles were."""

    def __str__(self) -> str:
        """Return ``GET /market/products/BTC-USD/candles for 2024-01-01 00:00 .. 2024-01-01 05:00``."""
        return f"{self.method} {self.path}" + (f" for {self.window}" if self.window else "")


class RequestError(Exception):
    """What the errors of one request carry; each is also one of `core.errors`.

        RefusedError (ProviderError)           400 and other refusals: never tried again
        KeyRefusedError (CredentialsError)     403, or 401 as often as is tolerated
        NotOfferedError (UnknownProductError)  the exchange does not know the product
        NoAnswerError (ExchangeUnavailableError)       the tries are used up
        WindowsFailedError (ExchangeUnavailableError)  the same for some windows of one product

    None of them holds, or is chained to, anything that holds a key or a token: an httpx error holds the request it
    failed on, headers included, so its name and text are taken and the error itself is let go.
    """

    def __init__(self, text: str, *, request: Request | None = None, cause: str = "", tries: int = 1) -> None:
        """Say what is wrong; ``cause`` is the last answer or failure in a few words, such as ``HTTP 502 (text/html)``."""
        super().__init__(text)
        self.request = request
        self.cause = cause
        self.tries = tries

    @property
    def window(self) -> Span | None:
        """The minutes that were asked for, None where it was no question for candles."""
        return self.request.window if self.request is not None else None


class RefusedError(RequestError, ProviderError):
    """The exchange refused the request; asking again would not help."""


class KeyRefusedError(RequestError, CredentialsError):
    """The exchange refused the key, or what the key may do."""


class NotOfferedError(RequestError, UnknownProductError):
    """The exchange does not know the product."""


class NoAnswerError(RequestError, ExchangeUnavailableError):
    """No useful answer in all the tries."""


@dataclass(frozen=True, slots=True)
class FailedWindow:
    """A window that was asked for, more than once, and not answered."""

    window: Span
    reason: str
    request: Request | None = None
    cause: str = ""


class WindowsFailedError(RequestError, ExchangeUnavailableError):
    """Some windows of one product got no useful answer; every other page was yielded before.

    ``request``, ``window`` and ``cause`` are those of the first one; ``failed`` has them all.
    """

    def __init__(self, product: str, failed: Sequence[FailedWindow], *, gave_up: bool) -> None:
        """Keep the failed windows, so that a ledger can tell them from those never asked."""
        self.product = product
        self.failed = tuple(failed)
        self.gave_up = gave_up
        first = self.failed[0]
        rest = "; gave up on the windows after them" if gave_up else ""
        super().__init__(
            f"{product}: {len(self.failed)} windows without a useful answer, the first {first.window} "
            f"({first.reason}){rest}. Run the same command again: it asks only for what is missing",
            request=first.request,
            cause=first.cause,
        )

    @property
    def window(self) -> Span | None:
        """The first window that failed."""
        return self.failed[0].window

    def __reduce__(self) -> tuple[Callable[..., WindowsFailedError], tuple[object, ...]]:
        """Let it travel between processes, as the errors of tasks do."""
        return partial(WindowsFailedError, gave_up=self.gave_up), (self.product, self.failed)


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
            WindowsFailedError: after all other pages were yielded, if some windows got no useful answer.
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


async def latest(provider: Provider, products: Sequence[str], span: Span) -> list[Page]:
    """Return the pages of ``span`` for all products, asked for at the same time.

    One product's failure is logged and leaves the others standing; it is raised when no product answered.

    Raises:
        ProviderError: no product was answered; the first one's error.
        UnknownProductError: the same.
    """
    windows = list(span.pages(PAGE_MINUTES))
    answers = await asyncio.gather(*(_collected(provider, product, windows) for product in products))
    for product, (_, error) in zip(products, answers, strict=True):
        if error is not None:
            logger.warning("%s: no candles of %s: %s", product, span, error)
    pages = [page for found, _ in answers for page in found]
    first_error = next((error for _, error in answers if error is not None), None)
    if first_error is not None and not pages:
        raise first_error
    return pages


async def _collected(
    provider: Provider, product: str, windows: Sequence[Span]
) -> tuple[list[Page], ProviderError | UnknownProductError | None]:
    pages: list[Page] = []
    try:
        pages.extend([page async for page in provider.pages(product, windows)])
    except (ProviderError, UnknownProductError) as error:
        return pages, error
    return pages, None
