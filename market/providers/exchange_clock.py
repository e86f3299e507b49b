"""Read the exchange's present over HTTP, and step it where the local exchange lets itself be stepped."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import stamina

from core.candles import EPOCH
from core.errors import ExchangeUnavailableError
from market.providers.coinbase_connection import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_NAP_SECONDS = 0.2


class TimeReading(NamedTuple):
    """What an exchange's clock showed."""

    moment: datetime
    speed: float = 1.0
    """How many times faster than real time it runs."""
    is_stepped: bool = False
    """Whether it moves only when it is stepped."""


class ExchangeClock:
    """The exchange's present as the runtime's clock: stepped, sped up or real."""

    def __init__(
        self,
        base_url: str,
        batch_minutes: int = 1,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the exchange by its base URL; nothing is asked yet."""
        self.batch_minutes = batch_minutes
        self._sleep = sleep
        url = httpx.URL(base_url.rstrip("/"))
        self.is_local = url.host in LOOPBACK or transport is not None
        """Only the local exchange has controls; of any other the time is read."""
        self._time = str(url.copy_with(path="/_control/clock")) if self.is_local else f"{url}/time"
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport, trust_env=not self.is_local)

    def now(self) -> datetime:
        """Return the exchange's present.

        Raises:
            ExchangeUnavailableError: it cannot be asked.
        """
        return self.read().moment

    def read(self) -> TimeReading:
        """Return the exchange's present and how its clock runs.

        Raises:
            ExchangeUnavailableError: it cannot be asked.
        """
        answer = self._request("GET")
        if self.is_local:
            moment = datetime.fromisoformat(answer["now"])
            return TimeReading(moment, float(answer.get("speed", 1.0)), bool(answer["stepped"]))
        return TimeReading(EPOCH + timedelta(milliseconds=int(answer["epochMillis"])))

    def wait_until(self, moment: datetime) -> None:
        """Step a stepped exchange to ``moment``; with any other, sleep until its clock shows it."""
        while (reading := self.read()).moment < moment:
            if reading.is_stepped:
                self._request("POST", {"advance_to": moment.astimezone(UTC).isoformat()})
                return
            # the local exchange may be fast, so it is looked at more often
            left = (moment - reading.moment).total_seconds()
            self._sleep(min(left, _NAP_SECONDS if self.is_local else 1.0))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _request(self, method: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=4, timeout=20.0):
                with attempt:
                    response = self._client.request(method, self._time, json=body)
                    response.raise_for_status()
                    content: dict[str, Any] = response.json()
                    return content
        except (httpx.HTTPError, ValueError) as error:
            msg = f"the exchange's clock at {self._time} cannot be read ({type(error).__name__}); is it running?"
            raise ExchangeUnavailableError(msg) from error
        raise AssertionError(self._time)  # the context above either returns or raises
