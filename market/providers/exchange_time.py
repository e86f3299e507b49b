"""Read the exchange's time: from the headers of its answers, and as a clock that the runtime can wait for."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import stamina

from core.candles import EPOCH
from core.errors import ClockSkewError, ExchangeUnavailableError
from market.exchange.control_guard import TOKEN_HEADER, read_token
from market.providers.base import LOOPBACK, TryAgainError
from market.providers.bounded_body import BoundedBody, json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_WAIT_SECONDS = 120.0
"""A longer ``Retry-After`` is cut to this: it holds every process that shares the rate limit, whose file takes a moment more
than three minutes off for a clock that began anew."""
_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_MAX_BYTES = 65_536
"""Of an answer with a time: they are a hundred bytes."""
_NAP_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class AnswerHeaders:
    """The headers of one answer, names in lower case; ``x-desk-`` ones come from the local exchange only."""

    values: Mapping[str, str]

    @property
    def market(self) -> str:
        """What the local exchange says it trades; the real one says nothing."""
        return self.values.get("x-desk-market", "")

    @property
    def is_simulated(self) -> bool:
        """Whether the exchange's present is not the time of day."""
        return self.values.get("x-desk-clock") == "simulated"

    @property
    def simulated_present(self) -> datetime:
        """The present of a simulated exchange.

        Raises:
            TryAgainError: it is not there.
        """
        try:
            return EPOCH + timedelta(milliseconds=int(self.values["x-desk-now"]))
        except (KeyError, ValueError, OverflowError) as error:
            msg = "an answer that calls itself simulated without x-desk-now"
            raise TryAgainError(msg) from error

    @property
    def date(self) -> datetime | None:
        """When the answer was made, in whole seconds."""
        return _http_date(self.values.get("date", ""))

    @property
    def retry_after(self) -> float | None:
        """The seconds of ``Retry-After``, two minutes at most; Coinbase is not known to send one, a proxy may."""
        text = self.values.get("retry-after", "").strip()
        try:
            seconds = float(text)
        except ValueError:
            until = _http_date(text)
            seconds = math.nan if until is None else (until - (self.date or datetime.now(UTC))).total_seconds()
        return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_WAIT_SECONDS)

    def wall_time(self, expected: datetime) -> datetime:
        """Return when a simulated exchange answered; its date is whole seconds, so a difference below two is none."""
        if self.date is None:
            return expected
        middle = self.date + timedelta(seconds=0.5)
        return middle if abs(middle - expected) > timedelta(seconds=2) else expected


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What answers have said of the exchange's time."""

    offset: timedelta = timedelta(0)
    """The exchange's time less this machine's; of the HTTP date where the exchange's present is simulated."""
    is_known: bool = False
    is_simulated: bool = False
    market: str = ""

    def require_small_offset(self, tolerated_seconds: float, exchange: str) -> float:
        """Return how far the two clocks are apart, in seconds.

        Raises:
            ClockSkewError: further than is tolerated.
        """
        skew = self.offset.total_seconds()
        if abs(skew) > tolerated_seconds:
            direction = "behind" if skew > 0 else "ahead of"
            msg = (
                f"this machine's clock is {abs(skew):.0f} seconds {direction} that of {exchange}; "
                f"at most {tolerated_seconds:g} are tolerated (MAX_CLOCK_SKEW_SECONDS). "
                "Set it: sudo timedatectl set-ntp true"
            )
            raise ClockSkewError(msg)
        return abs(skew)


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
                    return self._content(method, body)
        except (httpx.HTTPError, ValueError) as error:
            msg = f"the exchange's clock at {self._time} cannot be read ({type(error).__name__}); is it running?"
            raise ExchangeUnavailableError(msg) from error
        raise AssertionError(self._time)  # the context above either returns or raises

    def _content(self, method: str, body: dict[str, str] | None) -> dict[str, Any]:
        headers = {TOKEN_HEADER: read_token(httpx.URL(self._time).port or 80)} if self.is_local else {}
        headers["accept-encoding"] = BoundedBody.ENCODINGS
        with self._client.stream(method, self._time, json=body, headers=headers) as response:
            response.raise_for_status()
            if response.is_stream_consumed:
                # a transport that holds its answers in memory, as tests have
                content = json_object(response.content)
            else:
                bounded = BoundedBody(response.headers.get("content-encoding", ""), _MAX_BYTES)
                for chunk in response.iter_raw():
                    bounded.add(chunk)
                content = json_object(bounded.whole())
        if content is None:
            msg = "no JSON object"
            raise ValueError(msg)
        return content
