"""The exchange's present as the runtime's clock: stepped, sped up or real."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import stamina

from core.errors import ExchangeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_NAP_SECONDS = 0.2


class ExchangeClock:
    """Reads the exchange's time, and steps it where the local exchange lets itself be stepped."""

    def __init__(
        self,
        base_url: str,
        batch_minutes: int = 1,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Name the exchange by its base URL; nothing is asked yet."""
        self._base_url = base_url.rstrip("/")
        self._batch_minutes = batch_minutes
        self._sleep = sleep
        self._speed, self._is_stepped = 1.0, False
        url = httpx.URL(self._base_url)
        self._control = str(url.copy_with(path="/_control/clock"))
        self._has_control = url.host in ("127.0.0.1", "localhost", "::1") or transport is not None
        self._client = httpx.Client(timeout=_TIMEOUT, transport=transport, trust_env=not self._has_control)

    @property
    def batch_minutes(self) -> int:
        """How many minutes a tick may take at once."""
        return self._batch_minutes

    @property
    def speed(self) -> float:
        """How many times faster than real time it ran when last asked."""
        return self._speed

    @property
    def is_stepped(self) -> bool:
        """Whether it moved only when told to, when last asked."""
        return self._is_stepped

    def now(self) -> datetime:
        """Return the exchange's present.

        Raises:
            ExchangeUnavailableError: it cannot be asked.
        """
        return self._read()[0]

    def wait_until(self, moment: datetime) -> None:
        """Step a stepped exchange to ``moment``; with any other, sleep until its clock shows it."""
        now, is_stepped = self._read()
        if now >= moment:
            return
        if is_stepped:
            self._ask("POST", self._control, {"advance_to": moment.astimezone(UTC).isoformat()})
            return
        while (left := (moment - now).total_seconds()) > 0:
            self._sleep(min(left, _NAP_SECONDS) if self._has_control else min(left, 1.0))
            now, _ = self._read()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _read(self) -> tuple[datetime, bool]:
        if self._has_control:
            answer = self._ask("GET", self._control)
            self._speed, self._is_stepped = float(answer.get("speed", 1.0)), bool(answer["stepped"])
            return datetime.fromisoformat(answer["now"]), bool(answer["stepped"])
        answer = self._ask("GET", f"{self._base_url}/time")
        return datetime.fromtimestamp(int(answer["epochMillis"]) / 1000, UTC), False

    def _ask(self, method: str, url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=4, timeout=20.0):
                with attempt:
                    response = self._client.request(method, url, json=body)
                    response.raise_for_status()
                    content: dict[str, Any] = response.json()
                    return content
        except (httpx.HTTPError, ValueError) as error:
            msg = f"the exchange's clock at {self._base_url} cannot be read ({type(error).__name__}); is it running?"
            raise ExchangeUnavailableError(msg) from error
        raise AssertionError(url)  # the context above either returns or raises
