"""Opening a session: check, warm up, restore, and everything a tick then works with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, Span, floor_minute
from core.errors import ModelError, PreflightError
from runtime.announcer import Announcer
from runtime.candle_feed import Answers, Feed
from runtime.drift import SHARES_FILE, DriftWatch, read_shares
from runtime.preflight import check_before_start, check_candles
from runtime.restored_state import engine_rules, limiter_memory, product_rules, restored_engine
from runtime.risk.guardrails import RiskEvent
from runtime.risk.kill_switch import KillSwitch
from store.feature_sets import feature_set
from store.feature_store import FeatureStore
from store.signal_rows import OutboxRow, RiskEventRow, SessionRow, TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.clock import Clock
    from core.settings import Settings
    from market.providers.base import Provider
    from runtime.engine import Engine
    from runtime.loaded_models import ProductModels
    from runtime.options import LoopOptions, Reload
    from runtime.risk.guardrails import Headroom
    from store.feature_sets import FeatureBlock
    from store.signal_store import RestoredState

LONGEST_WINDOW = 120
LONGEST_GAP = timedelta(days=7)
"""A runtime that was off for longer starts afresh: the minutes before are not worth a row each."""
QUERY_MEMORY_MB, COIN_MEMORY_MB = 32, 4
"""What feature queries may use: three coins ask for 26 MB, a hundred for 36, most of it vectors of which few rows are touched."""
UNSENT_FOR = timedelta(hours=24)
"""Messages older than this are not sent any more: an alert of yesterday's signal harms more than it helps."""


@dataclass(slots=True)
class Session:
    """What a running session holds."""

    session_id: str
    mode: str
    products: tuple[str, ...]
    settings: Settings
    clock: Clock
    feed: Feed
    features: FeatureStore
    store: SignalStore
    scorers: Mapping[str, ProductModels]
    engine: Engine
    announcer: Announcer
    switch: KillSwitch
    switch_is_on: bool
    next_open: datetime
    history: Answers
    kept: timedelta
    """How far back the in-memory feature store reaches."""
    last_candle: dict[str, datetime]
    drift: DriftWatch
    opening: list[OutboxRow] = field(default_factory=list)
    alarmed: set[str] = field(default_factory=set)
    reload: Reload | None = None
    registry_mark: tuple[int, int] | None = None

    @property
    def settle(self) -> timedelta:
        """How long after its close a candle is asked for."""
        return timedelta(seconds=self.settings.settle_seconds)

    @property
    def stale_after(self) -> timedelta:
        """How long after its close a minute may still be decided."""
        return timedelta(seconds=self.settings.stale_after_seconds)

    def lacks_input(self, product: str, answers: Answers) -> bool:
        """Return whether candles its features need could not be asked for: its own, or those of any coin they also read."""
        if feature_set(self.settings.feature_set).crosses_products:
            return bool(answers.failures)
        return product in answers.failures

    def headroom(self, moment: datetime) -> Headroom:
        """Return what may still be lost today."""
        return self.engine.guardrails.headroom(moment, self.engine.account.equity)

    def tell_risk(self, event: RiskEvent, rows: TickRows, *, product: str = "") -> None:
        """Keep a risk event and owe people its message."""
        rows.risk_events.append(
            RiskEventRow(event.happened_at, self.session_id, event.kind, event.severity, event.detail)
        )
        rows.outbox.append(self.announcer.risk(event, self.headroom(event.happened_at), product=product))

    def begin_tick(self, now: datetime) -> TickRows:
        """Ask the kill switch and the registry, once per tick; a change is an event."""
        rows = TickRows()
        self._follow_registry(now, rows)
        state = self.switch.state()
        if state.is_on != self.switch_is_on:
            self.switch_is_on = state.is_on
            kind = "kill_switch_on" if state.is_on else "kill_switch_off"
            self.tell_risk(RiskEvent(now, kind, f"{state.reason} ({state.source})"), rows)
        return rows

    def _follow_registry(self, now: datetime, rows: TickRows) -> None:
        """Take up what was promoted or rolled back since the last tick; what cannot be used leaves the last good models."""
        mark = file_mark(self.settings.paths.registry)
        if self.reload is None or mark == self.registry_mark:
            return
        self.registry_mark = mark
        before = {product: loaded.model_ids for product, loaded in self.scorers.items()}
        try:
            scorers = self.reload()
        except ModelError as error:
            self.tell_risk(RiskEvent(now, "model_refused", str(error)), rows)
            return
        if before == {product: loaded.model_ids for product, loaded in scorers.items()}:
            return
        self.scorers = scorers
        rules = {product: product_rules(self.settings, loaded) for product, loaded in scorers.items()}
        self.engine.rules = replace(self.engine.rules, products=rules)
        self.announcer.why_not_live = not_live_reasons(self.settings, self.mode, scorers)
        self.announcer.models = model_lines(scorers)
        detail = "; ".join(f"{product}: {text or 'none'}" for product, text in self.announcer.models.items())
        self.tell_risk(RiskEvent(now, "model_switched", detail), rows)

    def opening_messages(self) -> list[OutboxRow]:
        """Return what is owed from before and about the start itself."""
        return self.opening

    def record(self, answers: Answers) -> None:
        """Put fetched candles into the in-memory feature store."""
        candles = [candle for known in answers.candles.values() for candle in known.values()]
        if candles:
            self.features.upsert_candles(candles)

    def feature_blocks(self, products: Sequence[str], start: datetime, end: datetime) -> Mapping[str, FeatureBlock]:
        """Return the features of ``products`` over ``[start, end)``, by the same SQL as in training."""
        return self.features.feature_blocks(products, start, end, self.settings.feature_set)

    def trim(self, last: datetime) -> None:
        """Forget candles no feature needs any more."""
        self.features.trim(last - self.kept)

    def forget_history(self) -> None:
        """Let go of the candles fetched at the start; the feature store has them."""
        self.history = Answers()

    def publish(self) -> None:
        """Refresh the read copy of the signals database."""
        self.store.publish(self.settings.paths.signals_copy)

    def close(self) -> None:
        """Let go of the provider and the in-memory store."""
        self.feed.close()
        self.features.close()


@dataclass(frozen=True, slots=True)
class Parts:
    """What is opened before anything is asked."""

    mode: str
    store: SignalStore
    feed: Feed
    features: FeatureStore


def open_session(
    settings: Settings,
    provider: Provider,
    clock: Clock,
    scorers: Mapping[str, ProductModels],
    options: LoopOptions,
) -> Session:
    """Check, restore and warm up.

    Raises:
        PreflightError: it must not start; the text names the repairing command.
        ProviderError: the exchange cannot be asked, or its clock and ours disagree.
    """
    mode = options.mode or settings.mode
    check_before_start(settings, mode, scorers)
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    feed = Feed(provider)
    features = options.features or FeatureStore.in_memory(memory_mb=QUERY_MEMORY_MB + COIN_MEMORY_MB * len(scorers))
    try:
        return _open(settings, clock, scorers, options, Parts(mode, store, feed, features))
    except BaseException:
        feed.close()
        features.close()
        raise


def _open(
    settings: Settings, clock: Clock, scorers: Mapping[str, ProductModels], options: LoopOptions, parts: Parts
) -> Session:
    mode, store, feed, features = parts.mode, parts.store, parts.feed, parts.features
    provider_line = feed.check()
    now = clock.now()
    state = store.restore(now - limiter_memory(settings))
    products = tuple(scorers)
    next_open = _first_minute(now, products, state)
    kept = _kept(settings, clock, scorers)
    history = feed.ask({product: Span(_history_start(now, next_open, kept), floor_minute(now)) for product in products})
    last_candle = check_candles(history, products, now)
    session_id = hashlib.sha256(f"{now.isoformat()}|{state.sessions}".encode()).hexdigest()[:12]
    chosen = feature_set(settings.feature_set)
    feature_id = f"{chosen.name}@{chosen.sha256[:12]}"
    rules = engine_rules(
        settings, scorers, session_id=session_id, mode=mode, feature_set=feature_id, costs_for=options.costs_for
    )
    session = Session(
        session_id=session_id,
        mode=mode,
        products=products,
        settings=settings,
        clock=clock,
        feed=feed,
        features=features,
        store=store,
        scorers=scorers,
        engine=restored_engine(settings, rules, state, now),
        announcer=_announcer(settings, session_id, mode, scorers, state, now),
        switch=KillSwitch(settings.paths.kill_switch, settings.kill_switch, was_on=state.kill_switch_was_on),
        switch_is_on=state.kill_switch_was_on,
        next_open=next_open,
        history=history,
        kept=kept,
        last_candle=last_candle,
        drift=DriftWatch(read_shares(settings.paths.home / "models" / SHARES_FILE), chosen.columns),
        reload=options.reload,
        registry_mark=file_mark(settings.paths.registry),
    )
    session.record(history)
    session.trim(floor_minute(now))
    _begin(session, state, feature_id, [provider_line, *_source_remarks(history)], now)
    return session


def _first_minute(now: datetime, products: tuple[str, ...], state: RestoredState) -> datetime:
    known = [state.last_minutes[product] for product in products if product in state.last_minutes]
    if not known:
        return floor_minute(now)
    last = max(known)
    if last >= floor_minute(now):
        msg = (
            f"the last decision is of {last:%Y-%m-%d %H:%M} UTC, but the clock says {now:%Y-%m-%d %H:%M}; "
            "set the clock right, or DESK_HOME to another folder if this is another market"
        )
        raise PreflightError(msg)
    if now - last > LONGEST_GAP:
        return floor_minute(now)
    return last + MINUTE


def _kept(settings: Settings, clock: Clock, scorers: Mapping[str, ProductModels]) -> timedelta:
    # a model promoted while the session runs may read further back than those loaded now
    window = max(LONGEST_WINDOW, *(loaded.window_minutes for loaded in scorers.values()))
    return (feature_set(settings.feature_set).history_minutes + window + clock.batch_minutes) * MINUTE


def _history_start(now: datetime, next_open: datetime, kept: timedelta) -> datetime:
    return min(floor_minute(now), next_open) - kept


def _source_remarks(history: Answers) -> list[str]:
    made_up = sorted(source for source in history.sources if source.startswith(("local:", "synthetic")))
    return [f"candles are simulated or replayed: {', '.join(made_up)}"] if made_up else []


def _announcer(
    settings: Settings,
    session_id: str,
    mode: str,
    scorers: Mapping[str, ProductModels],
    state: RestoredState,
    now: datetime,
) -> Announcer:
    announcer = Announcer(
        session_id=session_id,
        mode=mode,
        why_not_live=not_live_reasons(settings, mode, scorers),
        models=model_lines(scorers),
        quiet_since=state.quiet_since or now,
    )
    since = state.digested_until
    announcer.waiting = [
        (signal.made_at, signal.tier, signal.product, signal.direction, signal.confidence)
        for signal in state.signals
        if signal.tier != "high" and (since is None or signal.made_at > since)
    ]
    return announcer


def not_live_reasons(settings: Settings, mode: str, scorers: Mapping[str, ProductModels]) -> dict[str, str]:
    """Return per product why its signals are no trade."""
    return {product: why_not_live(settings, mode, loaded) for product, loaded in scorers.items()}


def model_lines(scorers: Mapping[str, ProductModels]) -> dict[str, str]:
    """Return per product the models behind it, in words."""
    return {product: models_line(loaded) for product, loaded in scorers.items()}


def file_mark(path: Path) -> tuple[int, int] | None:
    """Return what changes whenever the file is replaced, None while there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino


def why_not_live(settings: Settings, mode: str, loaded: ProductModels) -> str:
    """Return why signals of these models are no trade, empty if nothing stands against it."""
    if loaded.why_not_live:
        return loaded.why_not_live
    if loaded.is_shadow:
        return "a model behind it did not pass the gates"
    if mode == "shadow":
        return "the runtime only shadows"
    if settings.gate_profile == "calibrated":
        return "information, not tradeable after costs"
    return ""


def models_line(loaded: ProductModels) -> str:
    """Return the model ids behind one product, and how right their most confident calls were in calibration."""
    parts = []
    for kind, model in sorted(loaded.models.items()):
        cut = model.passport.cuts(loaded.product).get("high") if model.passport else None
        right = f" (surest 1 % were right {cut.accuracy:.0%} of the time)" if cut and cut.accuracy is not None else ""
        parts.append(f"{kind} {model.model_id}{right}")
    return ", ".join(parts)


def _begin(session: Session, state: RestoredState, feature_id: str, remarks: list[str], now: datetime) -> None:
    """Record the start, and what the last session left untold, then owe people both."""
    rows = TickRows()
    for session_id, started_at in state.crashed_sessions:
        detail = f"session {session_id}, started {started_at:%Y-%m-%d %H:%M} UTC, ended without a word"
        event = RiskEvent(now, "crash", detail)
        rows.risk_events.append(RiskEventRow(now, session_id, event.kind, event.severity, detail))
        rows.outbox.append(session.announcer.risk(event, session.headroom(now), product=""))
    rows.outbox.append(session.announcer.start(now, session.products, remarks))
    models = ",".join(
        f"{kind}:{product}={model.model_id}"
        for product, loaded in session.scorers.items()
        for kind, model in sorted(loaded.models.items())
    )
    row = SessionRow(
        session.session_id, now, session.mode, ",".join(session.products), models, feature_id, session.settings.clock
    )
    session.store.open_session(row)
    session.store.commit_tick(rows)
    session.opening = session.store.pending_messages(now - UNSENT_FOR)
