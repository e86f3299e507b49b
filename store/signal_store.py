"""Read and write the signals database: decisions, signals, outcomes, messages owed and the paper account.

One short transaction per write, under the same kernel lock and publisher as the market database. What a tick
decided, owes and earned is committed together or not at all; keys that are there already are left alone, so offering
a tick twice changes nothing. Plain Python values only: the runtime imports neither pyarrow nor polars.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from core.candles import EPOCH
from store.connection import StoreSession, rows_of
from store.ingest import insert_rows
from store.signal_rows import (
    DecisionRow,
    DeliveryRow,
    DriftRow,
    EquityRow,
    ObservationRow,
    OutboxRow,
    OutcomeRow,
    OwedMessage,
    ReceiptRow,
    RiskEventRow,
    SessionEndRow,
    SessionRow,
    SignalRow,
    TickRows,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    import duckdb

Row = (
    SessionRow
    | ObservationRow
    | SessionEndRow
    | DecisionRow
    | SignalRow
    | OutcomeRow
    | OutboxRow
    | DeliveryRow
    | ReceiptRow
    | EquityRow
    | RiskEventRow
    | DriftRow
)

_KEYS: Mapping[str, tuple[str, ...]] = {
    "decisions": ("product", "open_time"),
    "signals": ("signal_id",),
    "outcomes": ("signal_id",),
    "outbox": ("message_key",),
    "equity": ("marked_at",),
    "feature_drift": ("day", "product", "feature"),
}
"""What may be offered twice and is stored once; of the other tables every row is new."""


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
class DeadLetter:
    """A message that was given up at a target, ``*`` for every target."""

    message_key: str
    created_at: datetime
    title: str
    target: str
    settled_at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class CrashedSession:
    """A session that ended by an error, or never said how it ended (``ended_at`` is None)."""

    session_id: str
    started_at: datetime
    ended_at: datetime | None
    detail: str


@dataclass(frozen=True, slots=True)
class ClosedSignal:
    """When a paper position ended, and what it came to in the quote currency."""

    closed_at: datetime
    pnl_usd: float


@dataclass(frozen=True, slots=True)
class AccountState:
    """The paper account of one mode as it was last marked; money in the quote currency."""

    mode: str
    session_id: str
    """The session that marked it last."""
    marked_at: datetime
    balance_usd: float
    equity_usd: float
    day_start_balance_usd: float
    open_positions: int
    daily_used_pct: float
    total_used_pct: float
    day_start_equity_usd: Decimal
    highest_day_start_usd: Decimal
    """The highest balance that a day of the firm began with."""
    highest_equity_usd: Decimal
    """The highest equity at any moment."""


@dataclass(frozen=True, slots=True)
class RestoredState:
    """All that a starting runtime takes up again."""

    last_minutes: dict[str, datetime]
    """Per product, the last minute decided."""
    tiers: dict[str, str]
    prices: dict[str, Decimal]
    """Per product, the last close a decision saw: what the account was marked at."""
    signals: tuple[RecentSignal, ...]
    losses: tuple[datetime, ...]
    open_signals: tuple[OpenSignal, ...]
    equity: AccountState | None
    risk_events: tuple[tuple[datetime, str], ...]
    crashed_sessions: tuple[tuple[str, datetime], ...]
    sessions: int
    quiet_since: datetime | None
    """The later of the last signal, the last message about a day without any, and the first start."""
    digested_until: datetime | None
    """When the last digest was owed."""
    first_start: datetime | None
    observation: ObservationRow | None
    """The newest; None before the first, and in a store of older code."""

    @property
    def stopped_level(self) -> str:
        """How far the last word on the kill switch stopped everything: active, reducing or halted."""
        return {"kill_switch_on": "halted", "kill_switch_reducing": "reducing"}.get(self._last_switch, "active")

    @property
    def kill_switch_was_on(self) -> bool:
        """Whether the last word on the kill switch stopped anything, a single product too."""
        return self._last_switch != "kill_switch_off"

    @property
    def _last_switch(self) -> str:
        words = [kind for _, kind in self.risk_events if kind.startswith("kill_switch")]
        return words[-1] if words else "kill_switch_off"


class SignalStore(StoreSession):
    """Reads and writes `signals.duckdb`; holds no connection between calls."""

    database = "signals"

    # writes

    def open_session(self, row: SessionRow) -> None:
        """Record a start of the runtime."""
        with self._writing() as connection:
            _insert(connection, "sessions", [row])

    def close_session(self, row: SessionEndRow) -> None:
        """Record how a session ended; a second word on the same session is kept too."""
        with self._writing() as connection:
            _insert(connection, "session_ends", [row])

    def begin_observation(self, row: ObservationRow) -> None:
        """Record that an observation begins."""
        with self._writing() as connection:
            _insert(connection, "observations", [row])

    def commit_tick(self, rows: TickRows) -> list[OutboxRow]:
        """Write everything one tick made in one transaction; return its messages, numbered.

        A message whose key was committed before is left out of the answer: it is owed once.
        """
        with self._writing() as connection:
            messages = _numbered(connection, rows.outbox)
            _insert(connection, "decisions", rows.decisions)
            _insert(connection, "signals", rows.signals)
            _insert(connection, "outcomes", rows.outcomes)
            _insert(connection, "equity", rows.equity)
            _insert(connection, "risk_events", rows.risk_events)
            _insert(connection, "feature_drift", rows.drift)
            _insert(connection, "observations", rows.observations)
            _insert(connection, "outbox", messages)
        return messages

    def record_deliveries(self, rows: Sequence[DeliveryRow], receipts: Sequence[ReceiptRow] = ()) -> None:
        """Record tries to send messages, and what is settled by them."""
        with self._writing() as connection:
            _insert(connection, "deliveries", rows)
            _insert(connection, "receipts", receipts)

    # reads

    def observations(self) -> list[ObservationRow]:
        """Return every observation, the newest last."""
        return [ObservationRow(**row) for row in self._rows("queries/runtime_observations")]

    def accounts(self) -> list[AccountState]:
        """Return the paper account of each mode that has one."""
        return [AccountState(**row) for row in self._rows("queries/account_by_mode")]

    def opened_minutes(self, mode: str) -> list[datetime]:
        """Return when the positions of a mode's account were opened, since its last reset."""
        return [row["opened_at"] for row in self._rows("queries/account_opened", mode=mode)]

    def results(self, mode: str) -> list[ClosedSignal]:
        """Return what the closed positions of a mode's account came to, since its last reset."""
        return [ClosedSignal(**row) for row in self._rows("queries/account_results", mode=mode)]

    def last_minutes(self) -> dict[str, datetime]:
        """Return the last minute decided of each product."""
        return {row["product"]: row["open_time"] for row in self._rows("queries/runtime_last_minutes")}

    def pending_messages(self, since: datetime = EPOCH) -> list[OwedMessage]:
        """Return the messages owed since ``since`` that are not delivered everywhere nor dead everywhere, in order."""
        return _owed(self._rows("queries/runtime_pending_messages", since=since))

    def messages(self, keys: Sequence[str]) -> list[OwedMessage]:
        """Return the messages of these keys in order; ``settled`` are the targets that took them."""
        return _owed(self._rows("queries/runtime_messages", keys=list(keys)))

    def dead_letters(self) -> list[DeadLetter]:
        """Return what was given up at a target and never taken there since, oldest first."""
        return [DeadLetter(**row) for row in self._rows("queries/runtime_dead_letters")]

    def resume_moment(self) -> datetime | None:
        """Return the last moment a runtime is known to have lived through, None before the first start."""
        if not self._file().exists():
            return None
        moment: datetime | None = self._rows("queries/runtime_resume_moment")[0]["moment"]
        return moment

    def minutes_decided(self) -> int:
        """Return how many different minutes have a decision of any product."""
        return int(self._rows("queries/runtime_counts")[0]["minutes"]) if self._file().exists() else 0

    def last_crash(self, session_id: str) -> CrashedSession | None:
        """Return the newest session but ``session_id`` that crashed, None where none did."""
        rows = self._rows("queries/runtime_last_crash", session_id=session_id)
        return CrashedSession(**rows[0]) if rows else None

    def starts(self) -> int:
        """Return how many sessions of the runtime there were."""
        return int(self._rows("queries/runtime_counts")[0]["sessions"])

    def restore(self, since: datetime, mode: str) -> RestoredState:
        """Return what a starting runtime takes up again: its mode has an account, limiter and positions of its own.

        Args:
            since: How far the limiter's memory reaches back.
            mode: dryrun, shadow or live.
        """
        with self._reading() as connection:

            def rows(query: str, **parameters: object) -> list[dict[str, Any]]:
                return rows_of(connection, f"queries/runtime_{query}", **parameters)

            last, observations = rows("last_minutes"), rows("observations")
            accounts = [AccountState(**row) for row in rows_of(connection, "queries/account_by_mode")]
            return RestoredState(
                last_minutes={row["product"]: row["open_time"] for row in last},
                tiers={row["product"]: row["tier"] for row in last if row["tier"]},
                prices={row["product"]: row["close"] for row in last if row["close"] is not None},
                signals=tuple(RecentSignal(**row) for row in rows("recent_signals", since=since, mode=mode)),
                losses=tuple(row["closed_at"] for row in rows("recent_losses", since=since, mode=mode)),
                open_signals=tuple(OpenSignal(**row) for row in rows("open_signals", mode=mode)),
                equity=next((own for own in accounts if own.mode == mode), None),
                risk_events=tuple((row["happened_at"], row["kind"]) for row in rows("risk_events", mode=mode)),
                crashed_sessions=tuple((row["session_id"], row["started_at"]) for row in rows("crashed_sessions")),
                sessions=rows("counts")[0]["sessions"],
                observation=ObservationRow(**observations[-1]) if observations else None,
                **rows("told")[0],
            )


def _owed(rows: Sequence[Mapping[str, Any]]) -> list[OwedMessage]:
    return [OwedMessage(**{**row, "settled": tuple(row["settled"])}) for row in rows]


def _numbered(connection: duckdb.DuckDBPyConnection, messages: Sequence[OutboxRow]) -> list[OutboxRow]:
    if not messages:
        return []
    keys = list(dict.fromkeys(message.message_key for message in messages))
    known = {row["message_key"] for row in rows_of(connection, "queries/runtime_known_messages", keys=keys)}
    last = rows_of(connection, "queries/runtime_counts")[0]["last_sequence"]
    fresh: dict[str, OutboxRow] = {}
    for message in messages:
        if message.message_key not in known and message.message_key not in fresh:
            fresh[message.message_key] = replace(message, sequence=last + len(fresh) + 1)
    return list(fresh.values())


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        names = [field.name for field in fields(rows[0])]
        values = [[getattr(row, name) for name in names] for row in rows]
        insert_rows(connection, table, names, values, key=_KEYS.get(table, ()))
