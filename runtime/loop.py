"""Run the loop: every closed minute candles, features, scores, decisions, one commit, then alerts.

A tick takes the minutes that have closed since the last one (one in real time, up to `clock.batch_minutes` in a replay),
fetches them for all products at once, records them in an in-memory feature store, scores them with one call per model,
decides each minute in order, and commits all of it in one transaction. Only then are messages handed to the notifier,
so an alert never tells of something that is not stored. What was committed is never decided again.

Measured with three products and four models: a tick of one minute takes 133 ms, most of it planning the feature query, one
commit and three requests; in ticks of 60 minutes a replay decides 112 minutes a second.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from core.candles import MINUTE, epoch_minute, floor_minute
from core.errors import DiskFullError, FileError, ModelError, ProviderError, StoreError
from core.locks import runtime_lease
from runtime.decision import MinuteInput, ProductInput, can_settle, decide, settle
from runtime.inputs import LAG_STEP, MAX_LAG, Answers
from runtime.observation_terms import observed
from runtime.restored_state import product_rules
from runtime.risk.guardrails import RiskEvent
from runtime.risk.kill_switch import ACTIVE, Stopping, switch_event
from runtime.session import LoopOptions, Session, open_session
from runtime.staleness import StalenessWatch
from runtime.stop_signals import StopRequestedError, StopSignals
from store.signal_rows import SessionEndRow, TickRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from core.clock import Clock
    from core.settings import Settings
    from market.providers.base import Provider
    from runtime.alerts.notifier import Notifying
    from runtime.decision import Decision, MinuteResult
    from runtime.inputs import Scores
    from runtime.loaded_models import ProductModels
    from store.signal_rows import OutboxRow

PUBLISH_EVERY_SECONDS = 600.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 60.0
CLOCK_PAUSE_SECONDS = 5.0
TICK_DEADLINE_SECONDS = 5.0
"""A product's answer takes 0.1 to 0.5 s; one that hangs delays the others, and the end of the session, by no more than this."""
STORE_TROUBLE = (StoreError, DiskFullError, FileError, OSError)
"""What a full disk, a locked file or a folder without rights raise; each may pass."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What one session did."""

    session_id: str
    reason: str
    minutes: int
    decisions: int
    signals: int
    undelivered: int
    signal_number: int = 0
    """The signal that ended it, 0 for another end."""


def run_loop(
    settings: Settings,
    *,
    provider: Provider,
    clock: Clock,
    models: Mapping[str, ProductModels],
    notifier: Notifying,
    options: LoopOptions | None = None,
) -> SessionResult:
    """Run one session until its minutes are decided, a signal ends it, or an error does.

    Raises:
        PreflightError: another runtime serves the folder, or the candles are stale.
        DeskError: anything that went wrong on the way; the session's end is recorded first.
    """
    chosen = options or LoopOptions()
    with runtime_lease(settings.paths.home), StopSignals() as stopping, chosen.board.watched():
        session = open_session(settings, provider, clock, models, chosen)
        chosen.board.opened(session, clock.batch_minutes, chosen.sleep_seconds)
        loop = Loop(session, clock, notifier, chosen, stopping, session.trading, StalenessWatch(session.last_candle))
        reason, detail = "error", ""
        try:
            reason = loop.run()
        except Exception as error:
            # the outermost frame: whatever it was, the session's end must say so; it is raised again
            detail = f"{type(error).__name__}: {error}"
            raise
        finally:
            undelivered = loop.finish(reason, detail)
        counts = loop.minutes, loop.counts.total(), loop.counts["emitted"], undelivered
        return SessionResult(session.rules.session_id, reason, *counts, signal_number=stopping.number)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick works on; asking the clock may cost a request, so it is asked once."""

    now: datetime
    answers: Answers
    oldest_fresh: datetime
    """The first minute that is not stale."""
    scores: Scores
    began: float

    def elapsed_ms(self) -> float:
        """Return milliseconds of work since the candles arrived."""
        return 1e3 * (time.perf_counter() - self.began)


@dataclass(slots=True)
class Loop:
    """One session at work."""

    session: Session
    clock: Clock
    notifier: Notifying
    options: LoopOptions
    stopping: StopSignals
    trading: Stopping
    staleness: StalenessWatch
    minutes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _published_at: float = field(default_factory=time.monotonic)
    _last_now: datetime | None = None
    _lag: timedelta = timedelta()
    """How far the exchange's clock is behind ours, as learned from minutes it did not yet count as over."""

    def run(self) -> str:
        """Decide minutes until it is over; return why it is."""
        self.notifier.offer(self.session.owed)
        try:
            self._catch_up()
            while not 0 <= self.options.iterations <= self.minutes:
                try:
                    with self.stopping.waiting():
                        self._wait()
                    self._tick()
                except ProviderError as error:
                    # the exchange's clock is asked over the network; what it misses is decided late, as stale
                    _log.warning("the clock cannot be asked, trying again: %s", error)
                    self._pause(CLOCK_PAUSE_SECONDS)
                if self.stopping.is_requested:
                    return "signal"
        except StopRequestedError:
            return "signal"
        return "iterations"

    def _pause(self, seconds: float) -> None:
        with self.stopping.waiting():
            time.sleep(seconds)

    def _now(self) -> datetime:
        self._last_now = self.clock.now()
        return self._last_now

    @property
    def _settle(self) -> timedelta:
        """How long after its close a candle is asked for."""
        return timedelta(seconds=self.session.settings.settle_seconds)

    def _last_closed(self) -> datetime:
        return floor_minute(self._now() - self._settle - self._lag) - MINUTE

    def _batch(self) -> int:
        left = self.options.iterations - self.minutes
        return min(self.clock.batch_minutes, left) if self.options.iterations >= 0 else self.clock.batch_minutes

    def _wait(self) -> None:
        if self.options.sleep_seconds > 0 and self.minutes:
            time.sleep(self.options.sleep_seconds)
        self.clock.wait_until(self.session.next_open + self._batch() * MINUTE + self._settle + self._lag)

    def _tick(self) -> None:
        first, last = self.session.next_open, self._last_closed()
        if self.options.iterations >= 0:
            last = min(last, first + (self.options.iterations - self.minutes - 1) * MINUTE)
        if last < first:
            return
        self._take(first, last, self._answers(first, last))
        self.minutes += (last - first) // MINUTE + 1
        note = f"{self.session.next_open:%Y-%m-%d %H:%M} UTC, {self.counts['emitted']} signals"
        self.options.report(self.minutes, note)

    def _answers(self, first: datetime, last: datetime) -> Answers:
        self.options.board.lap()
        timeout = TICK_DEADLINE_SECONDS if self.clock.batch_minutes == 1 else None  # a replay has no hurry
        answers, waited = self.session.inputs.fetch_closed(first, last, timeout, self._nap)
        self.options.board.lap("fetch")
        # what was learned is forgotten slowly: our clock may have been set right; an exchange whose time stands still teaches nothing
        is_learned = timedelta() < waited < MAX_LAG
        self._lag = min(max(self._lag + waited if is_learned else self._lag - LAG_STEP / 4, timedelta()), MAX_LAG)
        return answers

    def _nap(self, length: timedelta) -> None:
        with self.stopping.waiting():
            self.clock.wait_until(self._now() + length)

    def _catch_up(self) -> None:
        """Decide the minutes a stopped runtime missed; their candles are in the history fetched at the start."""
        # a start may take minutes: those since the history was asked for are decided by the first tick
        last = min(self._last_closed(), self.session.history_until - MINUTE)
        if last >= self.session.next_open or self.session.state.unsettled:
            self._take(self.session.next_open, last, self.session.history)
        self.session.history = Answers()

    def _take(self, first: datetime, last: datetime, answers: Answers) -> None:
        """Decide the minutes ``[first, last]``, commit them together, then send."""
        session, rows, now, began = self.session, TickRows(), self._now(), time.perf_counter()
        self.options.board.lap()
        self._follow_registry(now, rows)
        self._follow_switch(now, rows)
        fresh = self._oldest_fresh(now)
        tick = Tick(now, answers, fresh, session.inputs.scores(max(first, fresh), last), began)
        self.options.board.lap("score")
        self._settle_waiting(tick, rows)
        open_time = first
        while open_time <= last:
            self._minute(open_time, tick, rows)
            open_time += MINUTE
        rows.drift = session.inputs.drift.finished(epoch_minute(last))
        session.next_open = max(session.next_open, last + MINUTE)
        self.options.board.lap("decide")
        owed = self._committed(rows, now)
        self.options.board.lap("commit")
        self.notifier.offer(owed)
        self.options.board.took(session, rows, now, self.trading)
        session.inputs.trim(last)
        if time.monotonic() - self._published_at >= PUBLISH_EVERY_SECONDS:
            self._published_at = time.monotonic()
            self._publish()

    def _committed(self, rows: TickRows, now: datetime) -> list[OutboxRow]:
        """Commit the rows, however long that takes; return the messages that are now owed.

        A full disk or a person's client keeps the store shut for a while: the rows are kept, deciding waits, and people
        are told at once. The minutes that pass meanwhile are decided late, as stale.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return self.session.store.commit_tick(rows)
            except STORE_TROUBLE as error:
                _log.warning("the decisions cannot be stored, trying again in %g s: %s", pause, error)
                if pause == FIRST_PAUSE_SECONDS:
                    self._tell(
                        RiskEvent(now, "store_blocked", f"nothing is decided until it can be written: {error}"), rows
                    )
                    self.notifier.offer(rows.outbox[-1:])
            self._pause(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _follow_registry(self, now: datetime, rows: TickRows) -> None:
        """Take up what was promoted or rolled back since the last tick; what cannot be used leaves the last good models."""
        session, inputs = self.session, self.session.inputs
        if inputs.reload is None or not inputs.has_new_registry():
            return
        try:
            models = inputs.reload()
        except ModelError as error:
            self._tell(RiskEvent(now, "model_refused", str(error)), rows)
            return
        if {name: own.model_ids for name, own in models.items()} == {
            name: own.model_ids for name, own in inputs.models.items()
        }:
            return
        inputs.models = session.announcer.models = models
        products = {product: product_rules(session.settings, own) for product, own in models.items()}
        session.rules = replace(session.rules, products=products)
        observation = observed(session.settings, session.rules, session.next_open, session.observation)
        if observation != session.observation:
            session.observation = observation
            rows.observations.append(observation)
        detail = "; ".join(f"{product}: {own.line or 'none'}" for product, own in models.items())
        self._tell(RiskEvent(now, "model_switched", detail), rows)

    def _follow_switch(self, now: datetime, rows: TickRows) -> None:
        """Ask the kill switch, once per tick; a change is an event."""
        state, before = self.session.switch.state(), self.trading
        self.trading = state.stopping
        if state.stopping != before:
            self._tell(RiskEvent(now, switch_event(state.stopping), state.text), rows)

    def _tell(self, event: RiskEvent, rows: TickRows) -> None:
        self.session.announcer.tell_risk(event, self.session.state.headroom(event.happened_at), rows)

    def _oldest_fresh(self, now: datetime) -> datetime:
        """Return the first minute that is not stale at ``now``; a replay's minutes age by their batch."""
        stale_after = timedelta(seconds=self.session.settings.stale_after_seconds)
        last_stale = now - stale_after - self.clock.batch_minutes * MINUTE - timedelta(microseconds=1)
        return floor_minute(last_stale) + MINUTE

    def _minute(self, open_time: datetime, tick: Tick, rows: TickRows) -> None:
        session = self.session
        minute = self._input(open_time, tick)
        result = decide(minute, session.state, session.rules)
        self._account(result, rows)
        rows.outbox.extend(session.announcer.advance(open_time + MINUTE))
        for event in self.staleness.watch(minute, session.inputs.silence(tick.answers)):
            session.announcer.tell_risk(event, result.headroom, rows)
        for decision in result.decisions:
            self._keep(decision, result, rows)

    def _account(self, result: MinuteResult, rows: TickRows) -> None:
        """Take up what a minute came to for the account."""
        self.session.state = result.state
        if result.equity is not None:
            rows.equity.append(result.equity)
        rows.outcomes.extend(result.outcomes)
        for event in result.events:
            self.session.announcer.tell_risk(event, result.headroom, rows)

    def _settle_waiting(self, tick: Tick, rows: TickRows) -> None:
        """Settle, in order, the minutes for whose candles the account waits."""
        session, inputs = self.session, self.session.inputs
        while session.state.unsettled:
            open_time = session.state.unsettled[0]
            minute = self._input(open_time, tick)
            if not can_settle(minute, session.state) and open_time >= tick.now - inputs.kept:
                inputs.owe([name for name, own in minute.products.items() if not own.is_known], open_time)
                return
            # what is too old to be asked for ends at the last price that is known
            self._account(settle(minute, session.state, session.rules), rows)

    def _input(self, open_time: datetime, tick: Tick) -> MinuteInput:
        held = [position.product for position in self.session.state.account.positions]
        products = dict.fromkeys([*self.session.inputs.products, *held])
        seen = {product: self._seen(product, open_time, tick) for product in products}
        # a minute that is decided late was over before anybody pressed
        return MinuteInput(open_time, seen, self.trading if open_time >= tick.oldest_fresh else ACTIVE)

    def _seen(self, product: str, open_time: datetime, tick: Tick) -> ProductInput:
        inputs, close_time = self.session.inputs, open_time + MINUTE
        is_stale = open_time < tick.oldest_fresh
        is_known = tick.answers.has_answer(product, open_time)
        is_answered = is_known and not inputs.are_missing(product, tick.answers)
        elapsed = tick.elapsed_ms()
        decided_at = tick.now + timedelta(milliseconds=elapsed)
        latency = 1e3 * (decided_at - close_time).total_seconds()
        if self.clock.batch_minutes > 1 and not is_stale:
            # a replay: each minute is decided as if at its own time; latency is the work since its arrival
            decided_at, latency = close_time + self._settle, elapsed
        candle = tick.answers.candles.get(product, {}).get(open_time)
        own = inputs.models.get(product)
        unscored: dict[str, float | None] = dict.fromkeys(own.models if own else ())
        scores = tick.scores.get(product, {}).get(epoch_minute(open_time), unscored)
        return ProductInput(candle, decided_at, latency, is_stale, scores, is_answered, is_known)

    def _keep(self, decision: Decision, result: MinuteResult, rows: TickRows) -> None:
        announcer, row = self.session.announcer, decision.row
        if row.reason == "duplicate":
            return
        self.counts[row.reason] += 1
        rows.decisions.append(row)
        announcer.decided(row)
        if decision.event is not None:
            announcer.tell_risk(decision.event, result.headroom, rows)
        if decision.signal is not None and decision.headroom is not None:
            rows.signals.append(decision.signal)
            rows.outbox.extend(announcer.signal(decision.signal, decision.headroom))

    def _publish(self) -> None:
        try:
            self.session.store.publish(self.session.settings.paths.signals_copy)
            self.options.board.count_dead_letters(self.session.store)
        except STORE_TROUBLE as error:
            # a convenience of readers: the next one is due in ten minutes
            _log.warning("the read copy could not be written: %s", error)

    def finish(self, reason: str, detail: str) -> int:
        """Record how it ended, send what is owed, publish; return how many messages still wait."""
        session = self.session
        self.options.board.ended(reason)
        try:
            now = self._now()
        except ProviderError:
            now = self._last_now or session.next_open
        rows = TickRows(outbox=list(session.announcer.digests(now, is_last=True)))
        rows.outbox.append(session.announcer.stop(now, reason, {"minutes": self.minutes, **self.counts}))
        try:
            self.notifier.offer(session.store.commit_tick(rows))
            session.store.close_session(SessionEndRow(session.rules.session_id, now, reason, detail[:500]))
        except STORE_TROUBLE as error:
            # the next start finds a session without an end, and says so
            _log.warning("the end of the session could not be stored: %s", error)
        finally:
            left = self.notifier.close(self.options.drain_seconds)
            session.inputs.close()
        self._publish()
        return left
