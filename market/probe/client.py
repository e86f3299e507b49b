"""Puts single questions to an exchange, politely, and keeps what came back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from core.errors import ExchangeUnavailableError
from market.providers.base import TryAgainError
from market.providers.coinbase_wire import json_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from market.providers.coinbase_connection import Connection, Surface

_TRIES = 5
_HEADERS = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, as far as it is of interest; never the request's headers."""

    asked: str
    status: int
    media_type: str
    headers: dict[str, str]
    content: dict[str, Any] | None
    body: str

    @property
    def rows(self) -> dict[int, tuple[str, ...]]:
        """The candles by their start, as the exchange wrote them; empty where there are none."""
        found = (self.content or {}).get("candles") or []
        names = ("open", "high", "low", "close", "volume")
        return {int(row["start"]): tuple(str(row[name]) for name in names) for row in found}

    @property
    def message(self) -> str:
        """What an error says, empty where it is no JSON."""
        content = self.content or {}
        return str(content.get("message") or content.get("error_details") or "").strip()

    @property
    def shape(self) -> str:
        """Status and form in a few words: ``400 {error, error_details, message}``."""
        if self.content is not None:
            return f"{self.status} {{{', '.join(sorted(self.content))}}}"
        return (
            f"{self.status} {self.media_type or 'no type'}, {'empty' if not self.body else f'{len(self.body)} bytes'}"
        )


@dataclass(slots=True)
class Asker:
    """Asks once for each question, again only where the answer says nothing about it."""

    connection: Connection
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    replies: list[Reply] = field(default_factory=list)

    async def ask(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        surface: Surface = "public",
        authorization: str | None = None,
        wanted: Collection[int] = (),
        is_limited: bool = True,
    ) -> Reply:
        """Return the first answer that is neither 429 nor a fault of the server, or whose status is ``wanted``.

        Raises:
            ExchangeUnavailableError: none of five was.
        """
        texts = {name: str(value) for name, value in (query or {}).items()}
        for attempt in range(_TRIES):
            try:
                response = await self.connection.send(
                    path, texts, surface, authorization=authorization, is_limited=is_limited
                )
            except TryAgainError as error:
                cause = str(error)
            else:
                reply = Reply(
                    _line(path, texts),
                    response.status_code,
                    response.headers.get("content-type", "").partition(";")[0],
                    {name: response.headers[name] for name in _HEADERS if name in response.headers},
                    json_object(response.content),
                    response.text,
                )
                self.replies.append(reply)
                is_faulty = reply.status == 429 or reply.status >= 500 or (reply.status == 200 and not reply.content)
                if reply.status in wanted or not is_faulty:
                    return reply
                cause = reply.shape
            await self.sleep(2.0**attempt)
        msg = f"GET {path}: no useful answer in {_TRIES} tries, the last: {cause}; wait for the exchange, then probe again"
        raise ExchangeUnavailableError(msg)

    async def candles(
        self, product: str, start: int, end: int, *, granularity: str = "ONE_MINUTE", **more: object
    ) -> Reply:
        """Ask the public twin for the candles of ``[start, end]``, unix seconds; ``more`` are further parameters."""
        query = {"start": start, "end": end, "granularity": granularity, **more}
        return await self.ask(f"/market/products/{product}/candles", query)


def _line(path: str, query: Mapping[str, str]) -> str:
    shown = "&".join(f"{name}={value}" for name, value in query.items())
    return f"GET {path}{'?' if shown else ''}{shown}"


def clock_time(seconds: int) -> str:
    """Write unix seconds for a person."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
