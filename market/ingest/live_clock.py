"""Keep the exchange's time, and wait for it, for work that follows the market minute by minute.

The exchange's clock counts, not this machine's: it is read now and then and carried on by this machine's stopwatch, so a
clock that is set changes nothing. A machine that slept has a stopwatch that stood still; that its clock then jumped
against the stopwatch is noticed within a second, and the exchange is asked at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from core.errors import ProviderError
from market.providers.exchange_time import TimeReading

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from market.providers import ExchangeClock

MAX_NAP_SECONDS = 1.0
JUMP_SECONDS = 2.0
"""A difference between what clock and stopwatch say has passed; a nap on a busy machine does not make such a one."""
_FRESH_SECONDS = 0.5
logger = logging.getLogger(__name__)


async def nap(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but not longer than until ``stop`` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


class LiveClock:
    """The exchange's clock, for asynchronous work."""

    def __init__(
        self,
        read: Callable[[], Awaitable[TimeReading]],
        *,
        step: Callable[[datetime], Awaitable[None]] | None = None,
        fresh_seconds: float = math.inf,
        wall: Callable[[], datetime] | None = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet.

        Args:
            read: Asks the exchange for its time.
            step: Steps an exchange whose clock is stepped.
            fresh_seconds: A reading older than this is not carried on but replaced.
            wall: This machine's clock, which counts until the exchange has been read; None where it says nothing about
                the exchange's.
            monotonic: The stopwatch.
        """
        self._read, self._step = read, step
        self._fresh_seconds = fresh_seconds
        self._wall, self._monotonic = wall, monotonic
        self._reading = TimeReading(wall()) if wall is not None else None
        self._read_at = self._watched_at = monotonic()
        self._watched_wall = wall() if wall is not None else None
        self._is_in_doubt = self._is_away = False

    async def now(self) -> datetime:
        """Return the exchange's present; while it cannot be asked, what it must be by now.

        Raises:
            ProviderError: it never could be asked, and this machine's clock says nothing about it.
        """
        if self._reading is None or self._reading.is_stepped or self._age() > self._fresh_seconds:
            await self.check()
        return self._carried()

    async def sleep_until(self, moment: datetime, stop: asyncio.Event) -> datetime:
        """Return the present once it is ``moment`` or later, or at once when ``stop`` is set."""
        while (now := await self.now()) < moment and not stop.is_set():
            reading = self._reading
            if reading is not None and reading.is_stepped and self._step is not None:
                await self._step(moment)
                continue
            speed = reading.speed if reading is not None else 1.0
            await nap(min((moment - now).total_seconds() / speed, MAX_NAP_SECONDS), stop)
            await self._watch()
        return now

    async def check(self) -> None:
        """Read the exchange's clock; while it cannot be asked, what was known holds. Called once a minute.

        Raises:
            ProviderError: nothing is known.
        """
        before = self._monotonic()
        try:
            reading = await self._read()
        except ProviderError as error:
            if self._reading is None:
                raise
            if not self._is_away:
                logger.warning("the exchange's time cannot be asked: %s", error)
            self._is_away = True
            return
        self._is_in_doubt = self._is_away = False
        # the answer was made half-way between question and arrival
        read_at = (before + self._monotonic()) / 2
        if self._reading is not None and self._wall is not None:
            gap = (reading.moment - self._carried(read_at)).total_seconds()
            if abs(gap) > JUMP_SECONDS:
                logger.warning(
                    "the exchange's clock is %.1f s from where this machine expected it; the exchange's counts. "
                    "If that goes on, the exchange is a simulated one: set CLOCK=exchange",
                    gap,
                )
        self._reading, self._read_at = reading, read_at

    def _age(self) -> float:
        return self._monotonic() - self._read_at

    def _carried(self, at: float | None = None) -> datetime:
        """Return the last reading, carried on at its own speed to ``at`` of the stopwatch."""
        assert self._reading is not None  # noqa: S101  # `check` has raised otherwise
        moment, speed, is_stepped = self._reading
        seconds = (self._age() if at is None else at - self._read_at) * speed
        return moment if is_stepped else moment + timedelta(seconds=seconds)

    async def _watch(self) -> None:
        """Ask the exchange at once when this machine's clock moved otherwise than the stopwatch."""
        if self._wall is None or self._watched_wall is None:
            return
        wall, watched_at = self._wall(), self._monotonic()
        jumped = (wall - self._watched_wall).total_seconds() - (watched_at - self._watched_at)
        self._watched_wall, self._watched_at = wall, watched_at
        if abs(jumped) > JUMP_SECONDS:
            self._is_in_doubt = True
            logger.warning("this machine's clock jumped by %.0f s (set, or the machine slept)", jumped)
        if self._is_in_doubt:
            await self.check()


def follow_server_time(server_time: Callable[[], Awaitable[datetime]]) -> LiveClock:
    """Return the clock of an exchange whose time is real: read once a minute and whenever this machine's clock jumps."""

    async def read() -> TimeReading:
        return TimeReading(await server_time())

    return LiveClock(read)


def follow_exchange_clock(clock: ExchangeClock, monotonic: Callable[[], float] = time.monotonic) -> LiveClock:
    """Return the clock of a local exchange, which may be fast or stepped: read twice a second, stepped if it is stepped."""

    async def step(moment: datetime) -> None:
        await asyncio.to_thread(clock.wait_until, moment)

    async def read() -> TimeReading:
        return await asyncio.to_thread(clock.read)

    return LiveClock(read, step=step, fresh_seconds=_FRESH_SECONDS, wall=None, monotonic=monotonic)
