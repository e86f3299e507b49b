"""Keep the exchange's time, and wait for it, for work that follows the market minute by minute.

Two ways: this machine's clock, put right by what the exchange says and watched for jumps (a clock that is set, a
machine that slept); or, against a local exchange, that one's own clock, which may be fast or stepped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from core.errors import ExchangeUnavailableError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from market.providers import ExchangeClock

LONGEST_NAP_SECONDS = 1.0
JUMP_SECONDS = 2.0
"""A difference between what the clock and the stopwatch say passed; a nap on a busy machine does not make one."""
_FRESH_SECONDS = 0.5
_log = logging.getLogger(__name__)


class LiveClock(Protocol):
    """The exchange's time, and waiting for it."""

    async def now(self) -> datetime:
        """Return the exchange's present, as well as it is known."""
        ...

    async def sleep_until(self, moment: datetime, stop: asyncio.Event) -> datetime:
        """Return the present once it is ``moment`` or later, or at once when ``stop`` is set."""
        ...

    async def check(self) -> None:
        """Hold the clock against the exchange's; called once a minute."""
        ...


async def nap(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but not longer than until ``stop`` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


class CorrectedClock:
    """This machine's clock plus its distance from the exchange's."""

    def __init__(
        self,
        server_time: Callable[[], Awaitable[datetime]],
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the machine's clock as it is until `check` has asked ``server_time``."""
        self._server_time = server_time
        self._wall = wall
        self._monotonic = monotonic
        self._offset = timedelta(0)
        self._marks = wall(), monotonic()
        self._is_in_doubt = self._is_away = False
        self.jumps = 0

    async def now(self) -> datetime:
        """Return the exchange's present."""
        return self._wall() + self._offset

    async def sleep_until(self, moment: datetime, stop: asyncio.Event) -> datetime:
        """Wait in short naps, so that a jump is noticed within a second."""
        while (left := (moment - await self.now()).total_seconds()) > 0 and not stop.is_set():
            await nap(min(left, LONGEST_NAP_SECONDS), stop)
            await self._watch()
        return await self.now()

    async def check(self) -> None:
        """Ask the exchange; while it cannot be asked, what was known holds."""
        before = self._wall()
        try:
            answered = await self._server_time()
        except ProviderError as error:
            if not self._is_away:
                _log.warning("the exchange's time cannot be asked: %s", error)
            self._is_away = True
            return
        self._is_in_doubt = self._is_away = False
        self._marks = self._wall(), self._monotonic()
        offset = answered - (before + (self._marks[0] - before) / 2)
        if abs((offset - self._offset).total_seconds()) > JUMP_SECONDS:
            _log.warning(
                "this machine's clock and the exchange's are %.1f s apart, a minute ago it was %.1f s; the exchange's counts. "
                "If that goes on, the exchange is a simulated one: set CLOCK=exchange",
                offset.total_seconds(),
                self._offset.total_seconds(),
            )
        self._offset = offset

    async def _watch(self) -> None:
        """Ask the exchange at once when the clock moved otherwise than the stopwatch."""
        wall, monotonic = self._wall(), self._monotonic()
        jumped = (wall - self._marks[0]).total_seconds() - (monotonic - self._marks[1])
        self._marks = wall, monotonic
        if abs(jumped) > JUMP_SECONDS:
            self.jumps += 1
            self._is_in_doubt = True
            _log.warning("this machine's clock jumped by %.0f s (set, or the machine slept)", jumped)
        if self._is_in_doubt:
            await self.check()


class SharedExchangeClock:
    """The local exchange's own clock: read twice a second, carried on between at its own speed, stepped if it is stepped."""

    def __init__(self, clock: ExchangeClock, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Ask nothing yet."""
        self._clock = clock
        self._monotonic = monotonic
        self._known: datetime | None = None
        self._known_at = 0.0

    async def now(self) -> datetime:
        """Return the exchange's present; while it cannot be asked, what it must be by now.

        Raises:
            ExchangeUnavailableError: it never could be asked.
        """
        elapsed = self._monotonic() - self._known_at
        if self._known is None or elapsed > _FRESH_SECONDS or self._clock.is_stepped:
            try:
                self._known, self._known_at = await asyncio.to_thread(self._clock.now), self._monotonic()
            except ExchangeUnavailableError as error:
                if self._known is None:
                    raise
                _log.warning("%s", error)
                self._known, self._known_at = self._carried(self._monotonic() - self._known_at), self._monotonic()
            return self._known
        return self._carried(elapsed)

    def _carried(self, seconds: float) -> datetime:
        known = self._known or datetime.now(UTC)
        return known if self._clock.is_stepped else known + timedelta(seconds=seconds * self._clock.speed)

    async def sleep_until(self, moment: datetime, stop: asyncio.Event) -> datetime:
        """Step a stepped exchange to ``moment``; wait for any other."""
        while (now := await self.now()) < moment and not stop.is_set():
            if self._clock.is_stepped:
                await asyncio.to_thread(self._clock.wait_until, moment)
                continue
            await nap(min((moment - now).total_seconds() / self._clock.speed, LONGEST_NAP_SECONDS), stop)
        return now

    async def check(self) -> None:
        """Nothing to do: the clock is the exchange's own."""
