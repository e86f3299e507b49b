"""The loop: candles, features, scores, decisions, one commit, then alerts; every closed minute.

A tick takes the minutes that have closed since the last one (one in real time, up to `clock.batch_minutes` in a replay), fetches
them for all products at once, records them in an in-memory feature store, scores them with one call per model,
decides each minute in order, and commits all of it in one transaction. Only then are messages handed to the notifier,
so an alert never tells of something that is not stored. What was committed is never decided again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from core.candles import MINUTE, Span, floor_minute
from core.locks import runtime_lease
from runtime.engine import MinuteInput
from runtime.options import LoopOptions
from runtime.risk.guardrails import RiskEvent
from runtime.scoring import Scores, score_products
from runtime.session import Session, open_session
from runtime.shutdown import Stopping, StopRequestedError
from store.signal_rows import SessionEndRow, TickRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from core.candles import Candle
    from core.clock import Clock
    from core.settings import Settings
    from market.providers.base import Provider
    from runtime.candle_feed import Answers
    from runtime.engine import Verdict
    from runtime.loaded_models import ProductModels
    from store.signal_rows import OutboxRow

_NEVER = datetime.max.replace(tzinfo=UTC)
_log = logging.getLogger(__name__)

REASK_MINUTES = 5
"""Each tick asks again for this many minutes before it: candles that came late or were revised still reach the features."""
PUBLISH_EVERY_SECONDS = 600.0
STALE_ALARM = timedelta(minutes=10)
"""A product without any candle for so long raises the alarm; a quiet minute or two is normal for a small coin."""


class Notifying(Protocol):
    """What the loop needs of `runtime.alerts.notifier.Notifier`."""

    def offer(self, messages: Sequence[OutboxRow]) -> None:
        """Queue committed messages and return at once."""
        ...

    def close(self, timeout_seconds: float = 10.0) -> int:
        """Try what is left for a bounded time; return how many still wait."""
        ...


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What one session did."""

    session_id: str
    reason: str
    minutes: int
    decisions: int
    signals: int
    undelivered: int


def run_loop(
    settings: Settings,
    *,
    provider: Provider,
    clock: Clock,
    scorers: Mapping[str, ProductModels],
    notifier: Notifying,
    options: LoopOptions | None = None,
) -> SessionResult:
    """Run one session until its minutes are decided, a signal ends it, or an error does.

    Raises:
        PreflightError: another runtime serves the folder, or the candles are stale.
        DeskError: anything that went wrong on the way; the session's end is recorded first.
    """
    with runtime_lease(settings.paths.home), Stopping() as stopping:
        session = open_session(settings, provider, clock, scorers, options or LoopOptions())
        loop = Loop(session, notifier, options or LoopOptions(), stopping)
        reason, detail = "error", ""
        try:
            reason = loop.run()
        except Exception as error:
            # the outermost frame: whatever it was, the session's end must say so; it is raised again
            detail = f"{type(error).__name__}: {error}"
            raise
        finally:
            undelivered = loop.finish(reason, detail)
        return SessionResult(
            session.session_id, reason, loop.minutes, loop.counts.total(), loop.counts["emitted"], undelivered
        )


@dataclass(slots=True)
class Tick:
    """What one tick works on; asking the clock may cost a request, so it is asked once."""

    now: datetime
    answers: Answers
    scores: Scores = field(default_factory=dict)
    oldest_fresh: datetime = _NEVER
    _began: float = field(default_factory=time.perf_counter)

    def elapsed_ms(self) -> float:
        """Return milliseconds of work since the candles arrived."""
        return 1e3 * (time.perf_counter() - self._began)

    def present(self) -> datetime:
        """Return the clock's present, carried forward by the work done since it was asked."""
        return self.now + timedelta(milliseconds=self.elapsed_ms())


@dataclass(slots=True)
class Loop:
    """One session at work."""

    session: Session
    notifier: Notifying
    options: LoopOptions
    stopping: Stopping
    minutes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    _published_at: float = field(default_factory=time.monotonic)
    _owed: dict[str, datetime] = field(default_factory=dict)
    """Per product, the first minute the exchange could not be asked for."""

    def run(self) -> str:
        """Decide minutes until it is over; return why it is."""
        self.notifier.offer(self.session.opening_messages())
        self._catch_up()
        while not self._is_done():
            try:
                with self.stopping.waiting():
                    self._wait()
            except StopRequestedError:
                return "signal"
            self._tick()
            if self.stopping.is_requested:
                return "signal"
        return "iterations"

    def _is_done(self) -> bool:
        return 0 <= self.options.iterations <= self.minutes

    def _batch(self) -> int:
        left = self.options.iterations - self.minutes
        return (
            min(self.session.clock.batch_minutes, left)
            if self.options.iterations >= 0
            else self.session.clock.batch_minutes
        )

    def _wait(self) -> None:
        if self.options.sleep_seconds > 0 and self.minutes:
            time.sleep(self.options.sleep_seconds)
        self.session.clock.wait_until(self.session.next_open + self._batch() * MINUTE + self.session.settle)

    def _tick(self) -> None:
        last = floor_minute(self.session.clock.now() - self.session.settle) - MINUTE
        if self.options.iterations >= 0:
            last = min(last, self.session.next_open + (self.options.iterations - self.minutes - 1) * MINUTE)
        first = self.session.next_open
        if last < first:
            return
        self._take(first, last, self._fetch(first, last))
        self.minutes += (last - first) // MINUTE + 1
        self._report()

    def _catch_up(self) -> None:
        """Decide the minutes a stopped runtime missed; their candles are in the history fetched at the start."""
        session = self.session
        last = floor_minute(session.clock.now() - session.settle) - MINUTE
        if last >= session.next_open:
            self._take(session.next_open, last, session.history)
        session.forget_history()

    def _fetch(self, first: datetime, last: datetime) -> Answers:
        back = first - REASK_MINUTES * MINUTE
        spans = {
            product: Span(min(back, self._owed.get(product, back)), last + MINUTE) for product in self.session.products
        }
        answers = self.session.feed.ask(spans)
        for product in self.session.products:
            if product in answers.failures:
                _log.warning("%s: %s", product, answers.failures[product])
                # never older than what the feature store keeps
                self._owed.setdefault(product, max(first, last - self.session.kept))
            else:
                self._owed.pop(product, None)
        self.session.record(answers)
        return answers

    def _take(self, first: datetime, last: datetime, answers: Answers) -> None:
        tick = Tick(self.session.clock.now(), answers)
        rows = self.session.begin_tick(tick.now)
        tick.oldest_fresh = self._oldest_fresh(tick.now)
        tick.scores = self._scores(max(first, tick.oldest_fresh), last)
        open_time = first
        while open_time <= last:
            self._minute(open_time, tick, rows)
            open_time += MINUTE
        rows.drift = self.session.drift.finished(epoch_minute(last))
        self.session.next_open = last + MINUTE
        self.notifier.offer(self.session.store.commit_tick(rows))
        self.session.trim(last)
        self._publish_if_due()

    def _scores(self, first: datetime, last: datetime) -> Scores:
        session = self.session
        loaded = {product: models for product, models in session.scorers.items() if models.models}
        if not loaded or first > last:
            return {}
        longest = max(models.window_minutes for models in loaded.values())
        blocks = session.feature_blocks(sorted(loaded), first - (longest - 1) * MINUTE, last + MINUTE)
        for block in blocks.values():
            session.drift.count(block, epoch_minute(first), epoch_minute(last))
        return score_products(blocks, loaded, epoch_minute(first), epoch_minute(last))

    def _oldest_fresh(self, now: datetime) -> datetime:
        """Return the first minute that is not stale at ``now``; a replay's minutes age by their batch."""
        age = self.session.stale_after + (self.session.clock.batch_minutes - 1) * MINUTE
        oldest = now - age - MINUTE
        return floor_minute(oldest) if floor_minute(oldest) == oldest else floor_minute(oldest) + MINUTE

    def _minute(self, open_time: datetime, tick: Tick, rows: TickRows) -> None:
        session, engine = self.session, self.session.engine
        candles = {product: tick.answers.candles.get(product, {}).get(open_time) for product in session.products}
        closing = engine.close_minute(open_time, candles)
        rows.equity.append(closing.equity)
        rows.outcomes.extend(closing.outcomes)
        for event in closing.events:
            session.tell_risk(event, rows)
        rows.outbox.extend(session.announcer.advance(open_time + MINUTE))
        self._watch_staleness(open_time, candles, rows)
        for product in session.products:
            minute = self._input(product, open_time, candles[product], tick)
            self._keep(engine.decide(minute, switch_is_on=session.switch_is_on), rows)

    def _input(self, product: str, open_time: datetime, candle: Candle | None, tick: Tick) -> MinuteInput:
        session = self.session
        close_time = open_time + MINUTE
        is_stale = open_time < tick.oldest_fresh or session.lacks_input(product, tick.answers)
        decided_at = tick.present()
        latency = 1e3 * (decided_at - close_time).total_seconds()
        if session.clock.batch_minutes > 1 and not is_stale:
            # a replay: each minute is decided as if at its own time; latency is the work since its arrival
            decided_at, latency = close_time + session.settle, tick.elapsed_ms()
        loaded = session.scorers[product].models
        nothing: dict[str, float | None] = dict.fromkeys(loaded)
        return MinuteInput(
            product=product,
            open_time=open_time,
            decided_at=decided_at,
            latency_ms=latency,
            close=None if candle is None else candle.close,
            is_stale=is_stale,
            probabilities=tick.scores.get(product, {}).get(epoch_minute(open_time), nothing),
        )

    def _keep(self, verdict: Verdict, rows: TickRows) -> None:
        session = self.session
        if verdict.decision.reason == "duplicate":
            return
        self.counts[verdict.decision.reason] += 1
        rows.decisions.append(verdict.decision)
        session.announcer.decided(verdict.decision)
        if verdict.signal is not None:
            rows.signals.append(verdict.signal)
            rows.outbox.extend(session.announcer.signal(verdict.signal, session.headroom(verdict.signal.made_at)))

    def _watch_staleness(self, open_time: datetime, candles: Mapping[str, Candle | None], rows: TickRows) -> None:
        session = self.session
        for product, candle in candles.items():
            if candle is not None:
                session.last_candle[product] = open_time
                session.alarmed.discard(product)
            elif product not in session.alarmed and open_time - session.last_candle[product] >= STALE_ALARM:
                session.alarmed.add(product)
                detail = f"{product}: the last candle is of {session.last_candle[product]:%Y-%m-%d %H:%M} UTC; check the exchange and the network"
                session.tell_risk(RiskEvent(open_time + MINUTE, "stale", detail), rows, product=product)

    def _publish_if_due(self) -> None:
        if time.monotonic() - self._published_at >= PUBLISH_EVERY_SECONDS:
            self._published_at = time.monotonic()
            self.session.publish()

    def _report(self) -> None:
        if self.options.on_progress is not None:
            total = self.options.iterations if self.options.iterations >= 0 else self.minutes
            note = f"{self.session.next_open:%Y-%m-%d %H:%M} UTC, {self.counts['emitted']} signals"
            self.options.on_progress(self.minutes, total, note)

    def finish(self, reason: str, detail: str) -> int:
        """Record how it ended, send what is owed, publish; return how many messages still wait."""
        session = self.session
        now = session.clock.now()
        rows = TickRows(outbox=list(session.announcer.digests(now, is_last=True)))
        rows.outbox.append(session.announcer.stop(now, reason, {"minutes": self.minutes, **self.counts}))
        try:
            self.notifier.offer(session.store.commit_tick(rows))
            session.store.close_session(SessionEndRow(session.session_id, now, reason, detail[:500]))
        finally:
            left = self.notifier.close(self.options.drain_seconds)
            session.close()
        session.publish()
        return left


def epoch_minute(moment: datetime) -> int:
    """Return whole minutes since 1970."""
    return int(moment.timestamp()) // 60
