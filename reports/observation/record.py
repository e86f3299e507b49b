"""Read what an observation left in the published databases, once for every report, and what follows from several rows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from core.candles import MINUTE
from core.errors import StoreError
from core.files import write_text
from reports.observation.record_rows import (
    CandleProvenance,
    ConfidenceStep,
    DecidedMinute,
    EquityPoint,
    ExportedDataset,
    InputDrift,
    LatencyFigures,
    ObservedEvent,
    ObservedSession,
    ObservedSignal,
    OwedAlert,
    PricePoint,
    ProductDecisions,
    ReasonCount,
    RegistryLine,
    TierHour,
)
from store.reader import Reader
from store.signal_rows import ObservationRow

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings import Settings

_DAY = timedelta(days=1)
_MAX_POINTS = 1000
"""Points of a plotted line; more cannot be told apart on a page."""
_T = TypeVar("_T")
_EVER, _NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Extent:
    """The observation from its first decided minute to the minute after its last."""

    since: datetime
    until: datetime
    products: tuple[str, ...]
    began: datetime
    """When the observation began: what was told before then belongs to another."""
    ended: datetime
    """When the next one began; far in the future while it goes on."""
    observation: str = ""
    """Its id, empty in a store of older code."""

    @property
    def is_newest(self) -> bool:
        """Whether it is the observation that goes on."""
        return self.ended == _NEVER

    @property
    def first_midnight(self) -> datetime:
        """Return the start of day 0."""
        return self.since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    @property
    def days(self) -> int:
        """UTC days the observation has touched."""
        return (self.until - MINUTE - self.first_midnight) // _DAY + 1

    def includes(self, session: ObservedSession) -> bool:
        """Return whether a start of the runtime fell into the observation, or decided a minute of it."""
        last = _utc(session.last_decided or session.started_at)
        return last >= self.began and _utc(session.started_at) < self.ended

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
    """One span of an observation."""

    extent: Extent
    since: datetime
    until: datetime
    sessions: tuple[ObservedSession, ...]
    resets: tuple[Reset, ...]
    minutes: tuple[DecidedMinute, ...]
    products: tuple[ProductDecisions, ...]
    reasons: tuple[ReasonCount, ...]
    confidence: tuple[ConfidenceStep, ...]
    tiers: tuple[TierHour, ...]
    latency: LatencyFigures
    signals: tuple[ObservedSignal, ...]
    unannounced: int
    """High-tier signals that owed no message; there should be none."""
    prices: tuple[PricePoint, ...]
    equity: tuple[EquityPoint, ...]
    alerts: tuple[OwedAlert, ...]
    risk_events: tuple[ObservedEvent, ...]
    drift: tuple[InputDrift, ...]
    registry: tuple[RegistryLine, ...]
    sources: tuple[CandleProvenance, ...]
    datasets: tuple[ExportedDataset, ...]

    @property
    def mode(self) -> str:
        """Mode of the newest session, which is the one that would go on."""
        return self.sessions[-1].mode if self.sessions else "unknown"

    @property
    def source_names(self) -> list[str]:
        """The distinct sources of stored candles."""
        return sorted({row.source for row in self.sources})

    @property
    def closed(self) -> tuple[ObservedSignal, ...]:
        """The signals that have ended."""
        return tuple(signal for signal in self.signals if signal.is_win is not None)

    @property
    def expected_minutes(self) -> int:
        """Minutes of the span."""
        return (self.until - self.since) // MINUTE

    @property
    def decided_minutes(self) -> int:
        """Minutes with a decision for every product of the session, at least one of them in time."""
        return sum(minute.is_decided for minute in self.minutes)

    @property
    def blind_minutes(self) -> int:
        """Minutes whose rows were all written too late, after an outage or on a dead feed."""
        return sum(minute.is_complete and not minute.seen for minute in self.minutes)

    @property
    def missed_minutes(self) -> int:
        """Minutes of the span that were not decided, the blind ones among them."""
        return self.expected_minutes - self.decided_minutes

    @property
    def missed_note(self) -> str:
        """How many minutes were not decided, and how many of those only too late, in words."""
        late = f", {self.blind_minutes:,} of them written too late" if self.blind_minutes else ""
        return f"{self.missed_minutes:,} missed{late}"

    @property
    def restarts(self) -> int:
        """Starts after the first that fall into the span."""
        return sum(1 for session in self.sessions[1:] if self.since <= session.started_at < self.until)

    @property
    def is_open(self) -> bool:
        """Whether the newest session has not said how it ended: it runs, or was killed just now."""
        return bool(self.sessions) and self.sessions[-1].ended_at is None

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
            minute.is_decided and (reset is None or minute.open_time + MINUTE > reset.at) for minute in self.minutes
        )


def read_extent(settings: Settings, observation: str | None = None) -> Extent:
    """Return what was observed so far, in the newest observation or the one of this id.

    Raises:
        StoreError: nothing was decided yet, or there is no such observation.
    """
    with Reader(settings.paths) as reader:
        return _extent(reader, settings, observation)


def read_observations(settings: Settings) -> list[ObservationRow]:
    """Return every observation as published, the newest last; none of a store that older code wrote.

    Raises:
        StoreError: nothing is published yet.
    """
    with Reader(settings.paths) as reader:
        _require_published(settings)
        return _observations(reader)


def _require_published(settings: Settings) -> None:
    if not settings.paths.signals_copy.exists():
        msg = f"no observation is published under {settings.paths.home} yet; run: make run-dry"
        raise StoreError(msg)


def _observations(reader: Reader) -> list[ObservationRow]:
    if "observations" not in reader.names():
        return []
    rows = [ObservationRow(**row) for row in reader.rows("queries/runtime_observations")]
    return [replace(row, began_at=_utc(row.began_at)) for row in rows]


def _extent(reader: Reader, settings: Settings, observation: str | None = None) -> Extent:
    _require_published(settings)
    rows = _observations(reader)
    ids = [row.observation_id for row in rows]
    if observation is not None and observation not in ids:
        msg = f"there is no observation {observation}; see: desk observation list"
        raise StoreError(msg)
    chosen = ids.index(observation) if observation is not None else len(rows) - 1
    # only the first may have been told something before it began: what a start says before its first minute
    began = rows[chosen].began_at if chosen > 0 else _EVER
    ended = rows[chosen + 1].began_at if rows and chosen + 1 < len(rows) else _NEVER
    row = reader.rows("queries/report_extent", since=began, until=ended)[0]
    if row["first_open_time"] is None:
        what = f"in observation {ids[chosen]}" if chosen > 0 else "yet"
        msg = f"no minute was decided {what}, so there is nothing to report; run: make run-dry"
        raise StoreError(msg)
    products = tuple(row["products"].split(","))
    first, last = _utc(row["first_open_time"]), _utc(row["last_open_time"])
    return Extent(first, last + MINUTE, products, began, ended, ids[chosen] if ids else "")


def observation_folder(settings: Settings, extent: Extent) -> Path:
    """Return where the pages of an observation lie; those of the one before are moved out of the newest one's way."""
    folder, mark = settings.paths.observation, settings.paths.observation / "observation_id"
    if not extent.is_newest:
        return folder / extent.observation
    folder.mkdir(parents=True, exist_ok=True)
    before = mark.read_text(encoding="utf-8").strip() if mark.exists() else extent.observation
    if before != extent.observation:
        older = folder / (before or "earlier")
        older.mkdir(exist_ok=True)
        for page in [path for pattern in ("day*", "summary*", "plots/*") for path in folder.glob(pattern)]:
            target = older / page.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            page.replace(target)
    write_text(mark, extent.observation + "\n")
    return folder


def _rows(reader: Reader, kind: type[_T], query: str, **parameters: object) -> tuple[_T, ...]:
    names = [own.name for own in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    rows = reader.rows(f"queries/report_{query}", **parameters)
    return tuple(kind(**{name: row[name] for name in names}) for row in rows)


def read_record(settings: Settings, day: int | None = None, observation: str | None = None) -> Record:
    """Read one day of an observation, or all of it: of the newest, or of the one of this id.

    Raises:
        StoreError: nothing was decided yet, or not on that day.
    """
    with Reader(settings.paths) as reader:
        extent = _extent(reader, settings, observation)
        since, until = (extent.since, extent.until) if day is None else extent.day(day)
        sessions = tuple(own for own in _rows(reader, ObservedSession, "sessions") if extent.includes(own))
        bucket = max(1, -(-((until - since) // MINUTE) // _MAX_POINTS))
        alarms = _rows(
            reader,
            ObservedEvent,
            "risk_events",
            since=max(extent.began, extent.since - _DAY),
            until=min(extent.ended, extent.until + _DAY),
        )

        by_the_clock = _by_the_clock(extent, since, until)

        def of_span(kind: type[_T], query: str, **more: object) -> tuple[_T, ...]:
            return _rows(reader, kind, query, since=since, until=until, **more)

        def of_market(kind: type[_T], query: str) -> tuple[_T, ...]:
            return _rows(reader, kind, query) if settings.paths.market_copy.exists() else ()

        return Record(
            extent=extent,
            since=since,
            until=until,
            sessions=sessions,
            resets=_resets(sessions, alarms),
            minutes=of_span(DecidedMinute, "minutes"),
            products=of_span(ProductDecisions, "coins"),
            reasons=of_span(ReasonCount, "reasons"),
            confidence=of_span(ConfidenceStep, "confidence"),
            tiers=of_span(TierHour, "tiers", is_shadow=bool(sessions) and sessions[-1].mode == "shadow"),
            latency=next(iter(of_span(LatencyFigures, "latency")), LatencyFigures()),
            signals=of_span(ObservedSignal, "signals"),
            unannounced=len(reader.rows("queries/report_unannounced", since=since, until=until)),
            prices=of_span(PricePoint, "prices", bucket_minutes=bucket),
            # the account is marked at the close of a minute, a minute after its name
            equity=_rows(
                reader, EquityPoint, "equity", since=since + MINUTE, until=until + MINUTE, bucket_minutes=bucket
            ),
            alerts=_rows(reader, OwedAlert, "alerts", **by_the_clock),
            risk_events=_rows(reader, ObservedEvent, "risk_events", **by_the_clock),
            drift=of_span(InputDrift, "drift"),
            registry=of_market(RegistryLine, "registry"),
            sources=of_market(CandleProvenance, "sources"),
            datasets=of_market(ExportedDataset, "datasets"),
        )


def _by_the_clock(extent: Extent, since: datetime, until: datetime) -> dict[str, datetime]:
    """Return the span in which the minutes from ``since`` to ``until`` were decided: after their close, so one later.

    The first day begins with what came before its first decision (the start message), the last one includes what came
    after (the stop message).
    """
    return {
        "since": max(extent.began, since - _DAY) if since == extent.since else since + MINUTE,
        "until": min(extent.ended + MINUTE, until + _DAY) if until == extent.until else until + MINUTE,
    }


def _resets(sessions: tuple[ObservedSession, ...], alarms: tuple[ObservedEvent, ...]) -> tuple[Reset, ...]:
    """Return crashes and severity-1 alarms, oldest first.

    A session that never said how it ended crashed if another one started after it.
    """
    resets = [
        Reset(_utc(alarm.happened_at), f"{alarm.kind} of {_utc(alarm.happened_at):%Y-%m-%d %H:%M} UTC")
        for alarm in alarms
        if alarm.severity == 1
    ]
    for session in sessions:
        if session.reason == "error" or (session.ended_at is None and session is not sessions[-1]):
            at = _utc(session.ended_at or session.last_decided or session.started_at)
            resets.append(Reset(at, f"the crash of {at:%Y-%m-%d %H:%M} UTC"))
    return tuple(sorted(resets, key=lambda reset: reset.at))


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
