"""Read what an observation left in the published databases, once for every report, and what follows from several rows.

One class a query: its fields are columns of `sql/queries/report_<name>.sql`, whose header gives units and meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from core.candles import MINUTE
from core.errors import StoreError
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.settings import Settings

_DAY = timedelta(days=1)
_MAX_POINTS = 1000
"""Points of a plotted line; more cannot be told apart on a page."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DecidedMinute:
    """One minute, over all products together (`report_minutes`)."""

    open_time: datetime
    is_complete: bool
    seen: int

    @property
    def is_decided(self) -> bool:
        """Whether every product has a decision for it, at least one of them in time."""
        return self.is_complete and self.seen > 0


@dataclass(frozen=True, slots=True)
class ProductDecisions:
    """One product's decisions (`report_coins`)."""

    product: str
    decided: int
    scored: int
    confidence_p50: float | None
    confidence_p95: float | None
    confidence_max: float | None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How often a reason decided (`report_reasons`)."""

    product: str
    reason: str
    decisions: int


@dataclass(frozen=True, slots=True)
class ConfidenceStep:
    """Scored decisions in one hundredth of confidence (`report_confidence`)."""

    product: str
    confidence_from: float
    decisions: int


@dataclass(frozen=True, slots=True)
class TierHour:
    """Scored decisions of one product and hour in each tier (`report_tiers`)."""

    product: str
    hour: datetime
    high: int
    medium: int
    low: int

    @property
    def counts(self) -> Mapping[str, int]:
        """Tier -> decisions."""
        return {"high": self.high, "medium": self.medium, "low": self.low}


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """How long decisions took (`report_latency`)."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ObservedSignal:
    """One signal beside its outcome; what is of the outcome is None while it is open (`report_signals`)."""

    made_at: datetime
    product: str
    open_time: datetime
    direction: str
    tier: str
    mode: str
    entry_price: float
    closed_at: datetime | None
    exit_reason: str | None
    gross_bps: float | None
    net_bps: float | None
    pnl_usd: float | None
    is_win: bool | None


@dataclass(frozen=True, slots=True)
class InputDrift:
    """Stability index of one model input (`report_drift`)."""

    product: str
    feature: str
    psi: float


@dataclass(frozen=True, slots=True)
class PricePoint:
    """One product's close in a bucket of minutes (`report_prices`)."""

    product: str
    open_time: datetime
    close: float


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The paper account in a bucket of minutes (`report_equity`)."""

    marked_at: datetime
    equity_usd: float
    day_start_balance_usd: float
    daily_used_pct: float
    total_used_pct: float


@dataclass(frozen=True, slots=True)
class OwedAlert:
    """One message and what became of it (`report_alerts`)."""

    created_at: datetime
    kind: str
    tier: str | None
    mode: str | None
    is_delivered: bool
    tries: int
    last_detail: str


@dataclass(frozen=True, slots=True)
class UnannouncedSignal:
    """A high-tier signal that owed no message; there should be none (`report_unannounced`)."""

    signal_id: str


@dataclass(frozen=True, slots=True)
class ObservedEvent:
    """A warning, block or alarm (`report_risk_events`)."""

    happened_at: datetime
    kind: str
    severity: int
    detail: str


@dataclass(frozen=True, slots=True)
class ObservedSession:
    """One start of the runtime and how it ended (`report_sessions`)."""

    session_id: str
    started_at: datetime
    mode: str
    feature_set: str
    clock: str
    ended_at: datetime | None
    reason: str | None
    detail: str | None
    last_decided: datetime | None
    decisions: int


@dataclass(frozen=True, slots=True)
class RegistryLine:
    """One event of the model registry (`report_registry`)."""

    kind: str
    slot: str
    model_id: str
    why: str


@dataclass(frozen=True, slots=True)
class CandleSource:
    """Who said the stored candles of a product (`report_sources`)."""

    product: str
    source: str
    candles: int
    first_open_time: datetime
    last_open_time: datetime


@dataclass(frozen=True, slots=True)
class ExportedDataset:
    """One data set exported for training, the newest first (`report_datasets`)."""

    digest: str
    feature_set: str
    start_time: datetime
    end_time: datetime
    row_count: int


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
    unannounced: tuple[UnannouncedSignal, ...]
    prices: tuple[PricePoint, ...]
    equity: tuple[EquityPoint, ...]
    alerts: tuple[OwedAlert, ...]
    risk_events: tuple[ObservedEvent, ...]
    drift: tuple[InputDrift, ...]
    registry: tuple[RegistryLine, ...]
    sources: tuple[CandleSource, ...]
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


def _rows(reader: Reader, kind: type[_T], query: str, **parameters: object) -> tuple[_T, ...]:
    names = [own.name for own in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    rows = reader.rows(f"queries/report_{query}", **parameters)
    return tuple(kind(**{name: row[name] for name in names}) for row in rows)


def read_record(settings: Settings, day: int | None = None) -> Record:
    """Read one day of the observation, or all of it.

    Raises:
        StoreError: nothing was decided yet, or not on that day.
    """
    with Reader(settings.paths) as reader:
        extent = _extent(reader, settings)
        since, until = (extent.since, extent.until) if day is None else extent.day(day)
        sessions = _rows(reader, ObservedSession, "sessions")
        bucket = max(1, -(-((until - since) // MINUTE) // _MAX_POINTS))
        alarms = _rows(reader, ObservedEvent, "risk_events", since=extent.since - _DAY, until=extent.until + _DAY)

        def of_span(kind: type[_T], query: str, **more: object) -> tuple[_T, ...]:
            return _rows(reader, kind, query, since=since, until=until, **more)

        def by_the_clock(kind: type[_T], query: str) -> tuple[_T, ...]:
            # a minute is decided after its close, so the span moves on by one. The first day begins with what came before
            # its first decision (the start message), the last one includes what came after (the stop message)
            first = since - _DAY if since == extent.since else since + MINUTE
            last = until + _DAY if until == extent.until else until + MINUTE
            return _rows(reader, kind, query, since=first, until=last)

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
            unannounced=of_span(UnannouncedSignal, "unannounced"),
            prices=of_span(PricePoint, "prices", bucket_minutes=bucket),
            # the account is marked at the close of a minute, a minute after its name
            equity=_rows(
                reader, EquityPoint, "equity", since=since + MINUTE, until=until + MINUTE, bucket_minutes=bucket
            ),
            alerts=by_the_clock(OwedAlert, "alerts"),
            risk_events=by_the_clock(ObservedEvent, "risk_events"),
            drift=of_span(InputDrift, "drift"),
            registry=of_market(RegistryLine, "registry"),
            sources=of_market(CandleSource, "sources"),
            datasets=of_market(ExportedDataset, "datasets"),
        )


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
