"""Open a session: refuse what must not start, fetch history, take up what the last session left, owe people the news."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, Span, floor_minute
from core.errors import NoPromotedModelError, PreflightError
from runtime.alerts.announcer import Announcer
from runtime.alerts.notifier import ALL_TARGETS
from runtime.drift import SHARES_FILE, DriftWatch, read_shares
from runtime.health.board import StatusBoard
from runtime.inputs import Answers, Feed, Inputs, file_mark
from runtime.observation_terms import capital_of, observed, of_older_code
from runtime.restored_state import decision_rules, restored_state
from runtime.risk.guardrails import RiskEvent
from runtime.risk.kill_switch import KillSwitch, Stopping
from runtime.risk.signal_limits import rate_rules_from
from store.feature_sets import feature_set
from store.feature_store import FeatureStore
from store.signal_rows import ReceiptRow, SessionRow, TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from core.clock import Clock
    from core.settings import Settings
    from market.providers.base import Provider
    from runtime.decision import CostsFor, DecisionRules, TradingState
    from runtime.inputs import Reload
    from runtime.loaded_models import ProductModels
    from store.signal_rows import ObservationRow, OutboxRow, SignalRow
    from store.signal_store import RecentSignal, RestoredState

LONGEST_WINDOW = 120
_log = logging.getLogger(__name__)
MAX_GAP = timedelta(days=7)
"""A runtime that was off for longer starts afresh: the minutes before are not worth a row each."""
QUERY_MEMORY_MB, PRODUCT_MEMORY_MB = 32, 4
"""What feature queries may use: three products ask for 26 MB, a hundred for 36, most of it vectors of which few rows are touched.

The whole process takes 203 MB at most with four models (measured): 100 MB are imported libraries, 38 MB the views."""
UNSENT_FOR = timedelta(hours=24)
"""Messages older than this become dead letters: an alert of yesterday's signal harms more than it helps."""
_ALWAYS_SENT = frozenset({"risk", "kill_switch", "stale"})
"""What is sent at any age, and says how late: a total loss must not go unheard because nobody was there."""
MAX_CANDLE_AGE = timedelta(minutes=60)
"""Beyond this the dense grid starts a new segment, so nothing could be scored for hours."""


@dataclass(slots=True)
class LoopOptions:
    """How a session runs; the defaults are what `desk run` means."""

    iterations: int = -1
    """Minutes to decide, -1 for ever."""
    sleep_seconds: float = 0.0
    """Extra pause after each tick."""
    mode: str | None = None
    """None: the one in the settings."""
    costs_for: CostsFor | None = None
    features: FeatureStore | None = None
    reload: Reload | None = None
    """Opens the models that serve now; asked when the registry has changed."""
    drain_seconds: float = 20.0
    on_progress: Callable[[int, int, str], None] | None = None
    board: StatusBoard = field(default_factory=StatusBoard)
    """Where the loop shows what it does; the default one shows nothing."""

    def report(self, minutes: int, note: str) -> None:
        """Say how far it is, to whoever wants to know."""
        if self.on_progress is None:
            return
        try:
            self.on_progress(minutes, self.iterations if self.iterations >= 0 else minutes, note)
        except (OSError, ValueError) as error:
            # who started this process is gone, and its pipe with it; deciding goes on
            _log.warning("progress goes nowhere any more: %s", error)
            self.on_progress = None


@dataclass(slots=True)
class Session:
    """What is open while a session runs: inputs, rules and state for the decisions, and where they go."""

    settings: Settings
    inputs: Inputs
    rules: DecisionRules
    state: TradingState
    store: SignalStore
    announcer: Announcer
    switch: KillSwitch
    trading: Stopping
    """How far the last session saw trading stopped."""
    next_open: datetime
    """The first minute not decided yet."""
    last_candle: dict[str, datetime]
    history_until: datetime
    """End of the minutes asked for at the start."""
    history: Answers
    """The candles fetched at the start: those of the minutes a stopped runtime missed are among them."""
    observation: ObservationRow
    """What goes on: models, rules and code that are observed."""
    owed: list[OutboxRow]
    """Messages no earlier session delivered, and those of the start itself."""


def open_session(
    settings: Settings, provider: Provider, clock: Clock, models: Mapping[str, ProductModels], options: LoopOptions
) -> Session:
    """Check, restore and warm up.

    Raises:
        PreflightError: it must not start; the text names the repairing command.
        ProviderError: the exchange cannot be asked, or its clock and ours disagree.
    """
    mode = options.mode or settings.mode
    _check_before_start(settings, mode, models)
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    features = options.features or FeatureStore.in_memory(
        memory_mb=QUERY_MEMORY_MB + PRODUCT_MEMORY_MB * len(models), spill=settings.paths.home
    )
    inputs = Inputs(
        settings=settings,
        feed=Feed(provider),
        features=features,
        models=models,
        kept=_kept(settings, clock, models),
        drift=DriftWatch(
            read_shares(settings.paths.home / "models" / SHARES_FILE), feature_set(settings.feature_set).columns
        ),
        reload=options.reload,
        registry_mark=file_mark(settings.paths.registry),
    )
    try:
        return _restored_session(clock, mode, inputs, store, options)
    except BaseException:
        inputs.close()
        raise


def _restored_session(clock: Clock, mode: str, inputs: Inputs, store: SignalStore, options: LoopOptions) -> Session:
    settings, models = inputs.settings, inputs.models
    provider_line = inputs.feed.check()
    now = clock.now()
    stored = store.restore(now - rate_rules_from(settings).memory, mode)
    _check_capital(settings, stored)
    next_open = _first_minute(now, inputs.products, stored)
    start = min(floor_minute(now), next_open) - inputs.kept
    history = inputs.feed.ask(dict.fromkeys(inputs.products, Span(start, floor_minute(now))))
    last_candle = _check_candles(history, inputs.products, now)
    if mode == "live" and (simulated := _simulated(history)):
        msg = f"live mode refuses simulated or replayed candles ({', '.join(simulated)}); start with --mode dryrun, or set PROVIDER to a real exchange"
        raise PreflightError(msg)
    session_id = hashlib.sha256(f"{now.isoformat()}|{stored.sessions}".encode()).hexdigest()[:12]
    rules = decision_rules(
        settings,
        models,
        session_id=session_id,
        mode=mode,
        feature_set=feature_set(settings.feature_set).identity,
        costs_for=options.costs_for,
    )
    state = restored_state(settings, rules, stored, now, next_open)
    session = Session(
        settings=settings,
        inputs=inputs,
        rules=rules,
        state=state,
        store=store,
        announcer=Announcer(session_id, mode, models, stored.quiet_since or now, _undigested(stored)),
        switch=KillSwitch(settings.paths.kill_switch, settings.kill_switch, was_on=stored.kill_switch_was_on),
        trading=Stopping(stored.stopped_level),
        next_open=next_open,
        last_candle=last_candle,
        history_until=floor_minute(now),
        history=history,
        observation=observed(settings, rules, floor_minute(now), stored.observation),
        owed=[],
    )
    inputs.record(history)
    inputs.trim(floor_minute(now))
    if spans := _positions_spans(state, floor_minute(now)):
        history.add(inputs.feed.ask(spans))
    _begin(session, stored, [provider_line, *_source_remarks(history)], now)
    return session


def _check_before_start(settings: Settings, mode: str, models: Mapping[str, ProductModels]) -> None:
    if mode != "shadow" and not any(own.models for own in models.values()):
        msg = f"no model is promoted for {', '.join(models)}; run: make train, then make evaluate, or start with --mode shadow to watch without one"
        raise NoPromotedModelError(msg)
    if mode == "live" and not settings.alert_targets:
        msg = "live mode has nobody to alert; set ALERT_URLS (for example tgram://bottoken/chatid), then run: desk alerts test"
        raise PreflightError(msg)


def _check_capital(settings: Settings, stored: RestoredState) -> None:
    """Refuse to go on with an account that began with another capital: every limit would be of the wrong sum."""
    if stored.equity is None or stored.observation is None:
        return
    before = capital_of(stored.observation)
    if before is not None and before != settings.initial_capital_usd:
        msg = (
            f"the account began with {before:,.2f} USD, INITIAL_CAPITAL_USD is {settings.initial_capital_usd:,.2f}; "
            'set it back, or begin a new account: desk account reset --reason "why"'
        )
        raise PreflightError(msg)


def _check_candles(history: Answers, products: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Return the last minute with a candle of each product; refuse a product that has none recent enough."""
    last: dict[str, datetime] = {}
    for product in products:
        if product in history.failures:
            msg = f"{product} could not be asked for: {history.failures[product]}"
            raise PreflightError(msg)
        newest = max(history.candles.get(product, {}), default=None)
        if newest is None or now - newest > MAX_CANDLE_AGE:
            seen = "none at all" if newest is None else f"the last one of {newest:%Y-%m-%d %H:%M} UTC"
            msg = f"{product} has no fresh candles ({seen}, now is {now:%Y-%m-%d %H:%M}); check the exchange with: desk doctor, or leave {product} out of PRODUCTS"
            raise PreflightError(msg)
        last[product] = newest
    return last


def _first_minute(now: datetime, products: tuple[str, ...], stored: RestoredState) -> datetime:
    last = max((stored.last_minutes[product] for product in products if product in stored.last_minutes), default=None)
    if last is None:
        return floor_minute(now)
    if last >= floor_minute(now):
        msg = (
            f"the last decision is of {last:%Y-%m-%d %H:%M} UTC, but the clock says {now:%Y-%m-%d %H:%M}; "
            "set the clock right, or DESK_HOME to another folder if this is another market"
        )
        raise PreflightError(msg)
    return floor_minute(now) if now - last > MAX_GAP else last + MINUTE


def _positions_spans(state: TradingState, until: datetime) -> dict[str, Span]:
    """Return the minutes that open positions lived through: the history may begin later, or leave their product out."""
    spans: dict[str, Span] = {}
    for held in state.account.positions:
        if held.opened_at < until:
            own = Span(held.opened_at, min(held.expires_at, until))
            before = spans.get(held.product, own)
            spans[held.product] = Span(min(before.start, own.start), max(before.end, own.end))
    return spans


def _kept(settings: Settings, clock: Clock, models: Mapping[str, ProductModels]) -> timedelta:
    # a model promoted while the session runs may read further back than those loaded now
    window = max(LONGEST_WINDOW, *(own.window_minutes for own in models.values()))
    return (feature_set(settings.feature_set).history_minutes + window + clock.batch_minutes) * MINUTE


def _simulated(history: Answers) -> list[str]:
    return sorted(source for source in history.sources if source.startswith(("local:", "synthetic")))


def _source_remarks(history: Answers) -> list[str]:
    simulated = _simulated(history)
    return [f"candles are simulated or replayed: {', '.join(simulated)}"] if simulated else []


def _undigested(stored: RestoredState) -> list[RecentSignal | SignalRow]:
    since = stored.digested_until
    return [signal for signal in stored.signals if signal.tier != "high" and (since is None or signal.made_at > since)]


def _begin(session: Session, stored: RestoredState, remarks: list[str], now: datetime) -> None:
    """Record the start, and the sessions that ended without a word, then owe people both."""
    rows, announcer, rules = TickRows(), session.announcer, session.rules
    for session_id, started_at in stored.crashed_sessions:
        detail = f"session {session_id}, started {started_at:%Y-%m-%d %H:%M} UTC, ended without a word"
        event = RiskEvent(now, "crash", detail)
        announcer.tell_risk(event, session.state.headroom(now), rows, session_id=session_id)
    rows.outbox.append(announcer.start(now, remarks))
    if session.observation != stored.observation:
        if stored.observation is None and stored.first_start is not None:
            rows.observations.append(of_older_code(floor_minute(stored.first_start)))
        rows.observations.append(session.observation)
    models = ",".join(
        f"{kind}:{product}={model.model_id}"
        for product, own in session.inputs.models.items()
        for kind, model in sorted(own.models.items())
    )
    products = ",".join(session.inputs.products)
    clock = session.settings.clock
    session.store.open_session(
        SessionRow(rules.session_id, now, rules.mode, products, models, rules.feature_set, clock)
    )
    session.store.commit_tick(rows)
    session.owed = _still_owed(session.store, now)


def _still_owed(store: SignalStore, now: datetime) -> list[OutboxRow]:
    """Return what is still to be sent; what is too old becomes a dead letter at every target."""
    pending = store.pending_messages()
    late = [message for message in pending if now - message.created_at > UNSENT_FOR]
    given_up = [message for message in late if message.kind not in _ALWAYS_SENT]
    why = f"older than {UNSENT_FOR // timedelta(hours=1)} hours when the runtime started"
    receipts = [
        ReceiptRow(message.message_key, ALL_TARGETS, now, is_delivered=False, detail=why) for message in given_up
    ]
    store.record_deliveries([], receipts)
    dead = {receipt.message_key for receipt in receipts}
    return [
        replace(message, title=f"{(now - message.created_at) // timedelta(hours=1)} h late: {message.title}")
        if message in late
        else message
        for message in pending
        if message.message_key not in dead
    ]
