"""The signals database: decisions, signals, outcomes, messages owed and the paper account.

One short transaction per write, under the same kernel lock and publisher as the market database. What a tick
decided, owes and earned is committed together or not at all; keys that are there already are left alone, so offering
a tick twice changes nothing. Plain Python values only: the runtime imports neither pyarrow nor polars.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from store.database import migrate, publish, write_transaction
from store.schema import applied_hash, apply_schema
from store.signal_rows import (
    DecisionRow,
    DeliveryRow,
    DriftRow,
    EquityRow,
    OutboxRow,
    OutcomeRow,
    RiskEventRow,
    SessionEndRow,
    SessionRow,
    SignalRow,
    TickRows,
)
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    import duckdb

Row = (
    SessionRow
    | SessionEndRow
    | DecisionRow
    | SignalRow
    | OutcomeRow
    | OutboxRow
    | DeliveryRow
    | EquityRow
    | RiskEventRow
    | DriftRow
)


@dataclass(frozen=True, slots=True)
class OpenSignal:
    """A signal without an outcome: an open paper position."""

    signal_id: str
    product: str
    open_time: datetime
    direction: str
    reference_price: Decimal
    entry_price: Decimal
    target_price: Decimal
    stop_price: Decimal
    size_usd: float
    spread_bps: float
    slippage_bps: float


@dataclass(frozen=True, slots=True)
class RecentSignal:
    """A signal of the last hours, for the rate limiter and the digest."""

    made_at: datetime
    tier: str
    product: str
    direction: str
    confidence: float


@dataclass(frozen=True, slots=True)
class LastEquity:
    """The paper account as it was last marked."""

    marked_at: datetime
    balance_usd: float
    day_start_balance_usd: float


@dataclass(frozen=True, slots=True)
class RestoredState:
    """All that a starting runtime takes up again."""

    last_minutes: dict[str, datetime]
    """Per product, the last minute decided."""
    tiers: dict[str, str]
    signals: tuple[RecentSignal, ...]
    losses: tuple[datetime, ...]
    open_signals: tuple[OpenSignal, ...]
    equity: LastEquity | None
    risk_events: tuple[tuple[datetime, str], ...]
    crashed_sessions: tuple[tuple[str, datetime], ...]
    sessions: int
    quiet_since: datetime | None
    """The later of the last signal, the last message about a day without any, and the first start."""
    digested_until: datetime | None
    """When the last digest was owed."""

    @property
    def kill_switch_was_on(self) -> bool:
        """Whether the last word on the kill switch was on."""
        switched = [kind for _, kind in self.risk_events if kind.startswith("kill_switch")]
        return bool(switched) and switched[-1] == "kill_switch_on"


class SignalStore:
    """Reads and writes `signals.duckdb`; holds no connection between calls."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is made by `migrate`."""
        self.path = path

    def migrate(self) -> bool:
        """Create or refresh every table and view; return whether anything was done."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return migrate(self.path, lambda connection: apply_schema(connection, "signals"))

    def publish(self, copy: Path) -> Path:
        """Refresh the read copy that reports and people open."""
        return publish(self.path, copy)

    # writes

    def open_session(self, row: SessionRow) -> None:
        """Record a start of the runtime."""
        with write_transaction(self.path) as connection:
            _insert(connection, "sessions", [row])

    def close_session(self, row: SessionEndRow) -> None:
        """Record how a session ended; a second word on the same session is kept too."""
        with write_transaction(self.path) as connection:
            _insert(connection, "session_ends", [row])

    def commit_tick(self, rows: TickRows) -> list[OutboxRow]:
        """Write everything one tick made in one transaction; return its messages, numbered.

        A message whose key was committed before is left out of the answer: it is owed once.
        """
        with write_transaction(self.path) as connection:
            messages = _numbered(connection, rows.outbox)
            _insert(connection, "decisions", rows.decisions)
            _insert(connection, "signals", rows.signals)
            _insert(connection, "outcomes", rows.outcomes)
            _insert(connection, "equity", rows.equity)
            _insert(connection, "risk_events", rows.risk_events)
            _insert(connection, "feature_drift", rows.drift)
            _insert(connection, "outbox", messages)
        return messages

    def record_deliveries(self, rows: Sequence[DeliveryRow]) -> None:
        """Record tries to send messages."""
        with write_transaction(self.path) as connection:
            _insert(connection, "deliveries", rows)

    # reads

    def pending_messages(self, since: datetime) -> list[OutboxRow]:
        """Return the messages owed since ``since`` that no try has delivered, in order."""
        with write_transaction(self.path) as connection:
            found = _rows(connection, "runtime_pending_messages", since=since)
        return [OutboxRow(**row) for row in found]

    def resume_moment(self) -> datetime | None:
        """Return the last moment a runtime is known to have lived through, None before the first start."""
        if not self.path.exists():
            return None
        with write_transaction(self.path) as connection:
            if applied_hash(connection) is None:
                return None
            found: datetime | None = _rows(connection, "runtime_resume_moment")[0]["moment"]
        return found

    def minutes_decided(self) -> int:
        """Return how many different minutes have a decision of any product."""
        if not self.path.exists():
            return 0
        with write_transaction(self.path) as connection:
            if applied_hash(connection) is None:
                return 0
            return int(_rows(connection, "runtime_counts")[0]["minutes"])

    def restore(self, since: datetime) -> RestoredState:
        """Return what a starting runtime takes up again; ``since`` bounds the limiter's memory."""
        with write_transaction(self.path) as connection:
            last = _rows(connection, "runtime_last_minutes")
            equity = _rows(connection, "runtime_last_equity")
            return RestoredState(
                last_minutes={row["product"]: row["open_time"] for row in last},
                tiers={row["product"]: row["tier"] for row in last if row["tier"]},
                signals=tuple(RecentSignal(**row) for row in _rows(connection, "runtime_recent_signals", since=since)),
                losses=tuple(row["closed_at"] for row in _rows(connection, "runtime_recent_losses", since=since)),
                open_signals=tuple(OpenSignal(**row) for row in _rows(connection, "runtime_open_signals")),
                equity=LastEquity(**equity[0]) if equity else None,
                risk_events=tuple(
                    (row["happened_at"], row["kind"]) for row in _rows(connection, "runtime_risk_events")
                ),
                crashed_sessions=tuple(
                    (row["session_id"], row["started_at"]) for row in _rows(connection, "runtime_crashed_sessions")
                ),
                sessions=_rows(connection, "runtime_counts")[0]["sessions"],
                **_rows(connection, "runtime_told")[0],
            )


def _numbered(connection: duckdb.DuckDBPyConnection, messages: Sequence[OutboxRow]) -> list[OutboxRow]:
    if not messages:
        return []
    keys = list(dict.fromkeys(message.message_key for message in messages))
    known = {row["message_key"] for row in _rows(connection, "runtime_known_messages", keys=keys)}
    last = _rows(connection, "runtime_counts")[0]["last_sequence"]
    fresh: dict[str, OutboxRow] = {}
    for message in messages:
        if message.message_key not in known and message.message_key not in fresh:
            fresh[message.message_key] = replace(message, sequence=last + len(fresh) + 1)
    return list(fresh.values())


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    if not rows:
        return
    names = [field.name for field in fields(rows[0])]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    connection.execute(load_sql(f"queries/insert_{table}"), columns)


def _rows(connection: duckdb.DuckDBPyConnection, query: str, **parameters: object) -> list[dict[str, Any]]:
    cursor = connection.execute(load_sql(f"queries/{query}"), parameters or None)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, map(_in_utc, row), strict=True)) for row in cursor.fetchall()]


def _in_utc(value: object) -> object:
    # DuckDB gives another library's UTC; one spelling keeps keys and texts derived from moments the same
    return value.astimezone(UTC) if isinstance(value, datetime) else value
