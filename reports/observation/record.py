"""What an observation left in the published databases, read once for every report.

The record keeps query rows as plain dictionaries (their columns are described in the headers of
`sql/queries/observation_report.sql`) and adds what needs more than one of them: uptime, crashes, the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from core.candles import MINUTE
from core.errors import StoreError
from store.reader import Reader

if TYPE_CHECKING:
    from core.settings import Settings

Rows = list[dict[str, Any]]
_DAY = timedelta(days=1)
_BY_OPEN_TIME = ("minutes", "coins", "reasons", "confidence", "latency", "signals", "unannounced", "drift")
_BY_MOMENT = ("alerts", "risk_events")
_MARKET = ("registry", "metrics", "sources", "datasets")
_MAX_POINTS = 1000
"""Points of a plotted line; more cannot be told apart on a page."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The observation from its first decided minute to the minute after its last."""

    since: datetime
    until: datetime
    products: tuple[str, ...]

    @property
    def first_midnight(self) -> datetime:
        """Return the start of day 0."""
        return self.since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def days(self) -> int:
        """UTC days the observation has touched."""
        return (self.until - MINUTE - self.first_midnight) // _DAY + 1

    def day(self, number: int) -> tuple[datetime, datetime]:
        """Return the span of day ``number``, cut to what was observed.

        Raises:
            StoreError: the observation does not reach that day.
        """
        if not 0 <= number < self.days:
            msg = f"day {number} was not observed, days 0 to {self.days - 1} were; run: make observe-daily DAY=day{self.days - 1}"
            raise StoreError(msg)
        start = self.first_midnight + number * _DAY
        return max(start, self.since), min(start + _DAY, self.until)


@dataclass(frozen=True, slots=True)
class Reset:
    """Something that restarts the observation clock."""

    at: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class Record:
    """One span of an observation: query rows by name, and what follows from several of them."""

    extent: Extent
    since: datetime
    until: datetime
    rows: dict[str, Rows]
    sessions: Rows
    resets: tuple[Reset, ...]

    def __getitem__(self, query: str) -> Rows:
        """Return the rows of ``report_<query>``."""
        return self.rows.get(query, [])

    @property
    def mode(self) -> str:
        """Mode of the newest session, which is the one that would go on."""
        return str(self.sessions[-1]["mode"]) if self.sessions else "unknown"

    @property
    def expected_minutes(self) -> int:
        """Minutes of the span."""
        return (self.until - self.since) // MINUTE

    @property
    def decided_minutes(self) -> int:
        """Minutes with a decision for every product of the session, at least one of them in time."""
        return sum(1 for row in self["minutes"] if row["is_complete"] and row["seen"])

    @property
    def blind_minutes(self) -> int:
        """Minutes whose rows were all written too late, after an outage or on a dead feed."""
        return sum(1 for row in self["minutes"] if row["is_complete"] and not row["seen"])

    @property
    def missed_minutes(self) -> int:
        """Minutes of the span that were not decided, the blind ones among them."""
        return self.expected_minutes - self.decided_minutes

    @property
    def restarts(self) -> int:
        """Starts after the first that fall into the span."""
        return sum(1 for row in self.sessions[1:] if self.since <= row["started_at"] < self.until)

    @property
    def is_open(self) -> bool:
        """Whether the newest session has not said how it ended: it runs, or was killed just now."""
        return bool(self.sessions) and self.sessions[-1]["ended_at"] is None

    @property
    def last_reset(self) -> Reset | None:
        """The newest crash or severity-1 alarm up to the end of the span."""
        is_whole = self.until == self.extent.until
        past = [reset for reset in self.resets if is_whole or reset.at <= self.until]
        return past[-1] if past else None

    @property
    def clean_minutes(self) -> int:
        """Decided minutes since the last reset."""
        reset = self.last_reset
        return sum(
            1
            for row in self["minutes"]
            if row["is_complete"] and row["seen"] and (reset is None or row["open_time"] + MINUTE > reset.at)
        )


def read_extent(settings: Settings) -> Extent:
    """Return what was observed so far.

    Raises:
        StoreError: nothing was decided yet.
    """
    with Reader(settings.paths) as reader:
        return _extent(reader, settings)


def _extent(reader: Reader, settings: Settings) -> Extent:
    if not settings.paths.signals_copy.exists():
        msg = f"no observation is published under {settings.paths.home} yet; run: make run-dry"
        raise StoreError(msg)
    row = reader.rows("queries/report_extent")[0]
    if row["first_open_time"] is None:
        msg = "no minute was decided yet, so there is nothing to report; run: make run-dry"
        raise StoreError(msg)
    return Extent(_utc(row["first_open_time"]), _utc(row["last_open_time"]) + MINUTE, tuple(row["products"].split(",")))


def read_record(settings: Settings, day: int | None = None) -> Record:
    """Read one day of the observation, or all of it.

    Raises:
        StoreError: nothing was decided yet, or not on that day.
    """
    with Reader(settings.paths) as reader:
        extent = _extent(reader, settings)
        since, until = (extent.since, extent.until) if day is None else extent.day(day)
        sessions = reader.rows("queries/report_sessions")
        rows = _span_rows(reader, since, until)
        rows |= _moment_rows(reader, extent, since, until)
        is_shadow = bool(sessions) and sessions[-1]["mode"] == "shadow"
        rows["tiers"] = reader.rows("queries/report_tiers", since=since, until=until, is_shadow=is_shadow)
        for name in _MARKET:
            rows[name] = reader.rows(f"queries/report_{name}") if settings.paths.market_copy.exists() else []
        alarms = reader.rows("queries/report_risk_events", since=extent.since - _DAY, until=extent.until + _DAY)
    return Record(extent, since, until, rows, sessions, _resets(sessions, alarms))


def _span_rows(reader: Reader, since: datetime, until: datetime) -> dict[str, Rows]:
    rows = {name: reader.rows(f"queries/report_{name}", since=since, until=until) for name in _BY_OPEN_TIME}
    bucket = max(1, -(-((until - since) // MINUTE) // _MAX_POINTS))
    rows["prices"] = reader.rows("queries/report_prices", since=since, until=until, bucket_minutes=bucket)
    # the account is marked at the close of a minute, a minute after its name
    rows["equity"] = reader.rows(
        "queries/report_equity", since=since + MINUTE, until=until + MINUTE, bucket_minutes=bucket
    )
    return rows


def _moment_rows(reader: Reader, extent: Extent, since: datetime, until: datetime) -> dict[str, Rows]:
    """Read what happened by the clock: a minute is decided after its close, so the span moves on by one.

    The first day begins with what came before its first decision (the start message), the last one
    includes what came after (the stop message).
    """
    first = since - _DAY if since == extent.since else since + MINUTE
    last = until + _DAY if until == extent.until else until + MINUTE
    return {name: reader.rows(f"queries/report_{name}", since=first, until=last) for name in _BY_MOMENT}


def _resets(sessions: Rows, alarms: Rows) -> tuple[Reset, ...]:
    """Return crashes and severity-1 alarms, oldest first.

    A session that never said how it ended crashed if another one started after it.
    """
    found = [
        Reset(_utc(row["happened_at"]), f"{row['kind']} of {_utc(row['happened_at']):%Y-%m-%d %H:%M} UTC")
        for row in alarms
        if row["severity"] == 1
    ]
    for place, row in enumerate(sessions):
        is_last = place == len(sessions) - 1
        if row["reason"] == "error" or (row["ended_at"] is None and not is_last):
            at = _utc(row["ended_at"] or row["last_decided"] or row["started_at"])
            found.append(Reset(at, f"the crash of {at:%Y-%m-%d %H:%M} UTC"))
    return tuple(sorted(found, key=lambda reset: reset.at))


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
