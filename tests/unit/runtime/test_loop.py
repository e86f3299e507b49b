from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import SecretStr

from core.candles import Span, floor_minute
from core.clock import ManualClock
from core.errors import (
    DiskFullError,
    ExchangeUnavailableError,
    ModelMismatchError,
    NoPromotedModelError,
    PreflightError,
    ProviderError,
    StoreBusyError,
)
from core.settings import Settings, load_settings
from runtime import loop
from runtime.alerts.announcer import message
from runtime.loaded_models import ProductModels
from runtime.loop import run_loop
from runtime.risk.kill_switch import KillSwitch
from runtime.session import LoopOptions
from store.feature_sets import feature_set
from store.signal_rows import SessionRow, TickRows
from store.signal_store import SignalStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path
    from types import SimpleNamespace

    from core.candles import Page

RSI = feature_set("seed39").columns.index("rsi")


def reasons(settings: Settings, desk_play: SimpleNamespace) -> Counter[str]:
    return Counter(dict(desk_play.rows(settings, "select reason, count(*) from decisions group by reason")))


def test_loop_leaves_one_decision_a_minute_and_product(settings: Settings, desk_play: SimpleNamespace) -> None:
    notifier = desk_play.FakeNotifier()
    result = desk_play.play(settings, 8, notifier=notifier)
    assert (result.minutes, result.decisions, result.reason) == (8, 16, "iterations")
    assert desk_play.rows(settings, "select count(*), count(distinct (product, open_time)) from decisions") == [
        (16, 16)
    ]
    assert reasons(settings, desk_play) == {"emitted": 2, "position_open": 14}
    assert notifier.kinds() == ["start", "signal", "signal", "stop"]
    assert desk_play.rows(settings, "select reason from session_ends") == [("iterations",)]
    assert desk_play.rows(settings, "select count(*) from equity") == [(8,)]


def test_replay_in_batches_decides_as_minute_by_minute(
    settings: Settings, desk_play: SimpleNamespace, tmp_path: Path
) -> None:
    def wavy(last_NF: np.ndarray) -> np.ndarray:
        return np.clip(0.5 + 0.009 * (last_NF[:, RSI] - 50), 0, 1)

    other = load_settings(desk_home=tmp_path / "other")
    query = "select product, open_time, reason, probability, tier, close from decisions order by all"
    desk_play.play(settings, 30, probability=wavy)
    desk_play.play(other, 30, probability=wavy, batch=7)
    assert desk_play.rows(settings, query) == desk_play.rows(other, query)
    money = "select marked_at, balance_usd, equity_usd from equity order by all"
    assert desk_play.rows(settings, money) == desk_play.rows(other, money)
    signals = "select signal_id, size_usd, tier from signals order by all"
    assert desk_play.rows(settings, signals) == desk_play.rows(other, signals)


def test_minute_without_candle_never_emits(settings: Settings, desk_play: SimpleNamespace) -> None:
    provider = desk_play.FakeProvider(absent={("BTC-USD", desk_play.minute(2))})
    desk_play.play(settings, 4, provider=provider)
    found = desk_play.rows(
        settings, "select reason, close, probability from decisions where product = 'BTC-USD' order by open_time"
    )
    assert found[2] == ("no_candle", None, None)


def test_missing_model_and_short_history_say_so(settings: Settings, desk_play: SimpleNamespace) -> None:
    loaded = desk_play.models(["BTC-USD"], 0.9, kinds={"lstm": 6})
    loaded["ETH-USD"] = ProductModels("ETH-USD")
    hole = {("BTC-USD", desk_play.minute(-number)) for number in range(30, 200)}
    desk_play.play(settings, 2, loaded=loaded, provider=desk_play.FakeProvider(absent=hole))
    assert reasons(settings, desk_play) == {"no_model": 2, "warming_up": 2}


def test_candle_that_comes_too_late_is_stale(settings: Settings, desk_play: SimpleNamespace) -> None:
    class Dozing(ManualClock):
        def wait_until(self, moment: Any) -> None:
            self.moment = max(self.moment, moment) + timedelta(minutes=4)

    desk_play.play(settings, 5, clock=Dozing(desk_play.START))
    found = desk_play.rows(settings, "select reason from decisions where product = 'BTC-USD' order by open_time")
    assert [reason for (reason,) in found] == ["stale_candle"] * 3 + ["emitted", "position_open"]


@pytest.mark.parametrize(("feature_set", "left"), [("seed39", {}), ("flow", {"unanswered": 12})])
def test_outage_of_one_product_leaves_the_other_and_is_made_up_for(
    settings: Settings, desk_play: SimpleNamespace, feature_set: str, left: dict[str, int]
) -> None:
    """A set that reads the other coins has no row while one is away: then no coin is decided on, and the reason is there."""
    settings = settings.model_copy(update={"feature_set": feature_set})

    def down(product: str, span: Any) -> bool:
        return product == "ETH-USD" and desk_play.minute(2) <= span.end - timedelta(minutes=1) < desk_play.minute(14)

    notifier = desk_play.FakeNotifier()
    provider = desk_play.FakeProvider(down=down)
    desk_play.play(settings, 20, provider=provider, notifier=notifier, probability=0.5)
    found = desk_play.rows(
        settings, "select reason, count(*) from decisions where product = 'ETH-USD' group by 1 order by 1"
    )
    assert found == [("below_threshold", 8), ("unanswered", 12)]
    of_btc = desk_play.rows(
        settings, "select reason, count(*) from decisions where product = 'BTC-USD' group by 1 order by 1"
    )
    assert dict(of_btc) == left | {"below_threshold": 20 - sum(left.values())}
    (event,) = desk_play.rows(settings, "select kind, detail from risk_events")
    assert event[0] == "stale"
    assert "ETH-USD" in event[1]
    assert "stale" in notifier.kinds()


def test_kill_switch_works_within_a_tick_and_survives_a_restart(settings: Settings, desk_play: SimpleNamespace) -> None:
    switch = KillSwitch(settings.paths.kill_switch)

    class Pressing(ManualClock):
        def wait_until(self, moment: Any) -> None:
            self.moment = max(self.moment, moment)
            if self.moment >= desk_play.minute(3):
                switch.press("odd market")

    notifier = desk_play.FakeNotifier()
    desk_play.play(settings, 4, clock=Pressing(desk_play.START), notifier=notifier, products=["BTC-USD"])
    settings.paths.kill_switch.unlink()
    desk_play.play(settings, 2, start=desk_play.START + timedelta(minutes=4), products=["BTC-USD"])
    found = [reason for (reason,) in desk_play.rows(settings, "select reason from decisions order by open_time")]
    assert found == ["emitted", "position_open", "halted", "halted", "halted", "halted"]
    assert notifier.kinds().count("kill_switch") == 1
    assert desk_play.rows(settings, "select kind from risk_events") == [("kill_switch_on",)]


def test_restart_goes_on_where_it_stopped(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 5, products=["BTC-USD"])
    first = desk_play.rows(settings, "select balance_usd from equity order by marked_at desc limit 1")
    desk_play.play(settings, 25, start=desk_play.START + timedelta(minutes=5), products=["BTC-USD"], batch=25)
    assert reasons(settings, desk_play) == {"emitted": 2, "position_open": 28}
    assert desk_play.rows(settings, "select count(*) from outcomes") == [(1,)]
    assert first == [(100_000.0,)]
    (last,) = desk_play.rows(settings, "select balance_usd, open_positions from equity order by marked_at desc limit 1")
    (earned,) = desk_play.rows(settings, "select sum(pnl_usd) from outcomes")
    assert last == (pytest.approx(100_000 + earned[0]), 1)


def test_gap_of_a_stopped_runtime_is_filled_with_stale_minutes(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 3, products=["BTC-USD"])
    desk_play.play(settings, 2, start=desk_play.START + timedelta(minutes=33), products=["BTC-USD"])
    found = [reason for (reason,) in desk_play.rows(settings, "select reason from decisions order by open_time")]
    assert found[:3] == ["emitted", "position_open", "position_open"]
    assert found[3:31] == ["stale_candle"] * 28
    assert len(found) == 35
    # what was open when it stopped was settled with the candles of the gap, at its own minute
    (first,) = desk_play.rows(settings, "select min(closed_at) from outcomes")
    assert first[0] == desk_play.minute(16)


def test_runtime_off_for_long_starts_afresh(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 1, products=["BTC-USD"])
    desk_play.play(settings, 1, start=desk_play.START + timedelta(days=30), products=["BTC-USD"])
    assert desk_play.rows(settings, "select count(*) from decisions") == [(2,)]


def test_clock_before_the_last_decision_is_refused(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 3, products=["BTC-USD"])
    with pytest.raises(PreflightError, match="set the clock right"):
        desk_play.play(settings, 1, start=desk_play.START - timedelta(hours=1), products=["BTC-USD"])


def test_second_runtime_is_refused_and_told_the_process(settings: Settings, desk_play: SimpleNamespace) -> None:
    def second(_messages: object) -> None:
        desk_play.play(settings, 1, products=["BTC-USD"])

    with pytest.raises(PreflightError, match=f"process {os.getpid()}"):
        desk_play.play(settings, 1, products=["BTC-USD"], notifier=desk_play.FakeNotifier(second))


def test_signal_ends_the_session_cleanly(settings: Settings, desk_play: SimpleNamespace) -> None:
    class Interrupted(ManualClock):
        def wait_until(self, moment: Any) -> None:
            self.moment = max(self.moment, moment)
            if self.moment >= desk_play.minute(3):
                os.kill(os.getpid(), signal.SIGTERM)

    result = desk_play.play(settings, -1, clock=Interrupted(desk_play.START), products=["BTC-USD"])
    assert (result.reason, result.minutes, result.signal_number) == ("signal", 2, signal.SIGTERM)
    assert desk_play.rows(settings, "select reason from session_ends") == [("signal",)]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_error_is_recorded_and_raised_again(settings: Settings, desk_play: SimpleNamespace) -> None:
    def broken(_last: object) -> object:
        raise ArithmeticError("a fault of the model")

    with pytest.raises(ArithmeticError):
        desk_play.play(settings, 2, products=["BTC-USD"], probability=broken)
    assert desk_play.rows(settings, "select reason, detail from session_ends") == [
        ("error", "ArithmeticError: a fault of the model")
    ]


@pytest.mark.parametrize(
    "changes",
    [{"low": "0"}, {"close": "0"}, {"high": "1"}, {"close": "Infinity"}, {"volume": "-1"}, {"open": "1e10"}],
    ids=str,
)
def test_candle_that_breaks_the_stores_rules_is_none(
    settings: Settings, desk_play: SimpleNamespace, changes: dict[str, str]
) -> None:
    class Odd(desk_play.FakeProvider):
        @staticmethod
        def candle(product: str, moment: Any) -> Any:
            made = desk_play.FakeProvider.candle(product, moment)
            figures = {name: Decimal(figure) for name, figure in changes.items()}
            return replace(made, **figures) if moment == desk_play.minute(1) else made

    desk_play.play(settings, 2, products=["BTC-USD"], provider=Odd())
    found = desk_play.rows(settings, "select reason, close from decisions order by open_time")
    assert found[0][0] == "emitted"
    assert found[1] == ("no_candle", None)
    assert desk_play.rows(settings, "select count(*) from outcomes") == [(0,)]


def test_restart_marks_the_account_as_going_on_does(
    settings: Settings, desk_play: SimpleNamespace, tmp_path: Path
) -> None:
    """The candle after the restart is missing, so that each marks at the last price it knows."""
    other = load_settings(desk_home=tmp_path / "other")
    absent = {("BTC-USD", desk_play.minute(5))}
    desk_play.play(settings, 6, products=["BTC-USD"], provider=desk_play.FakeProvider(absent=absent))
    for minutes, start in ((5, 0), (1, 5)):
        provider = desk_play.FakeProvider(absent=absent)
        at = desk_play.START + timedelta(minutes=start)
        desk_play.play(other, minutes, products=["BTC-USD"], provider=provider, start=at)
    money = "select marked_at, balance_usd, equity_usd from equity order by all"
    marked = desk_play.rows(settings, money)
    assert len({equity for _, _, equity in marked}) > 3
    assert marked == desk_play.rows(other, money)


def test_unwritable_copy_and_a_gone_parent_end_no_session(
    settings: Settings, desk_play: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.paths.signals_copy.mkdir()
    monkeypatch.setattr(loop, "PUBLISH_EVERY_SECONDS", 0.0)
    calls = []

    def gone(*step: object) -> None:
        calls.append(step)
        raise BrokenPipeError

    options = LoopOptions(iterations=3, on_progress=gone)
    result = run_loop(
        settings,
        provider=desk_play.FakeProvider(),
        clock=ManualClock(desk_play.START),
        models=desk_play.models(["BTC-USD"]),
        notifier=desk_play.FakeNotifier(),
        options=options,
    )
    assert (result.reason, result.minutes, len(calls)) == ("iterations", 3, 1)


def test_store_that_is_shut_for_a_while_loses_no_row(
    settings: Settings, desk_play: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, shut = SignalStore.commit_tick, [StoreBusyError("held by a person"), DiskFullError("full"), OSError("io")]

    def busy(store: SignalStore, rows: TickRows) -> Any:
        if rows.decisions and len(rows.equity) and rows.decisions[0].open_time >= desk_play.minute(1) and shut:
            raise shut.pop(0)
        return commit(store, rows)

    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(SignalStore, "commit_tick", busy)
    notifier = desk_play.FakeNotifier()
    result = desk_play.play(settings, 3, products=["BTC-USD"], notifier=notifier)
    assert (result.reason, result.minutes, shut) == ("iterations", 3, [])
    assert desk_play.rows(settings, "select count(*) from decisions") == [(3,)]
    assert desk_play.rows(settings, "select kind, severity from risk_events") == [("store_blocked", 2)]
    assert "held by a person" in next(text.body for text in notifier.messages if text.kind == "risk")


def test_outage_of_the_exchanges_clock_ends_no_session(
    settings: Settings, desk_play: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(ManualClock):
        calls = 0

        def now(self) -> Any:
            Away.calls += 1
            if Away.calls in {5, 6, 7} or Away.calls > 12:
                raise ExchangeUnavailableError("no answer")
            return super().now()

    monkeypatch.setattr(loop, "CLOCK_PAUSE_SECONDS", 0.01)
    result = desk_play.play(settings, 3, products=["BTC-USD"], clock=Away(desk_play.START))
    assert (result.reason, result.minutes) == ("iterations", 3)
    assert Away.calls > 7


def test_session_without_an_end_is_reported_as_a_crash_once(settings: Settings, desk_play: SimpleNamespace) -> None:
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    store.open_session(SessionRow("lost", desk_play.START, "dryrun", "BTC-USD", "", "", "system"))
    notifier = desk_play.FakeNotifier()
    desk_play.play(settings, 1, products=["BTC-USD"], notifier=notifier)
    desk_play.play(settings, 1, products=["BTC-USD"], start=desk_play.START + timedelta(minutes=1))
    assert desk_play.rows(settings, "select kind, severity from risk_events") == [("crash", 1)]
    assert notifier.kinds()[:2] == ["risk", "start"]


def test_old_messages_are_dead_letters_but_risk_is_told_with_its_age(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    store = SignalStore(settings.paths.signals_db)
    store.migrate()
    old, young = desk_play.START - timedelta(hours=50), desk_play.START - timedelta(hours=20)
    owed = [
        message("risk", "total_loss", old, "failure", "Total loss stop", []),
        message("signal", "trade", old, "info", "long BTC-USD", []),
        message("signal", "young", young, "info", "long BTC-USD", []),
    ]
    store.commit_tick(TickRows(outbox=owed))
    notifier = desk_play.FakeNotifier()
    desk_play.play(settings, 1, products=["BTC-USD"], notifier=notifier)
    assert [row.title for row in notifier.messages[:2]] == ["50 h late: Total loss stop", "long BTC-USD"]
    assert "trade" not in [row.message_key for row in notifier.messages]
    assert [(letter.message_key, letter.target) for letter in store.dead_letters()] == [("trade", "*")]


def test_shadow_alerts_are_marked_as_no_trade(settings: Settings, desk_play: SimpleNamespace) -> None:
    notifier = desk_play.FakeNotifier()
    loaded = desk_play.models(["BTC-USD"], 0.9, shadow=True)
    desk_play.play(settings, 1, loaded=loaded, notifier=notifier, mode="shadow")
    (alert,) = [message for message in notifier.messages if message.kind == "signal"]
    assert alert.title.startswith("SHADOW")
    assert "not tradeable, a model behind it did not pass the gates" in alert.body


def test_medium_signals_wait_for_the_hour(settings: Settings, desk_play: SimpleNamespace) -> None:
    low = settings.model_copy(update={"emit_threshold": 0.6})
    notifier = desk_play.FakeNotifier()
    desk_play.play(low, 62, probability=0.7, products=["BTC-USD"], notifier=notifier, batch=31)
    digests = [message.title for message in notifier.messages if message.kind == "digest"]
    assert digests[0] == "2 medium or low signals, 2024-03-04 12:00 UTC"
    assert "signal" not in notifier.kinds()


def test_day_without_signals_is_told_with_the_reasons(settings: Settings, desk_play: SimpleNamespace) -> None:
    notifier = desk_play.FakeNotifier()
    desk_play.play(settings, 1442, probability=0.55, products=["BTC-USD"], notifier=notifier, batch=721)
    (quiet,) = [message for message in notifier.messages if message.kind == "no_signals"]
    assert "below_threshold" in quiet.body


def test_runtime_without_models_or_targets_or_candles_is_refused(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    with pytest.raises(NoPromotedModelError, match="--mode shadow"):
        desk_play.play(settings, 1, loaded={"BTC-USD": ProductModels("BTC-USD")})
    with pytest.raises(PreflightError, match="ALERT_URLS"):
        desk_play.play(settings, 1, mode="live")
    silent = desk_play.FakeProvider(absent={("BTC-USD", desk_play.minute(-n)) for n in range(5000)})
    with pytest.raises(PreflightError, match="no fresh candles"):
        desk_play.play(settings, 1, provider=silent, products=["BTC-USD"])
    assert silent.closed

    class Skewed(desk_play.FakeProvider):
        async def check(self) -> str:
            raise ProviderError("clock is off")

    with pytest.raises(ProviderError, match="clock is off"):
        desk_play.play(settings, 1, provider=Skewed())


def test_shadow_without_any_model_watches_and_says_so(settings: Settings, desk_play: SimpleNamespace) -> None:
    desk_play.play(settings, 2, loaded={"BTC-USD": ProductModels("BTC-USD")}, mode="shadow")
    assert reasons(settings, desk_play) == {"no_model": 2}


def test_promotion_takes_effect_in_the_next_tick_and_a_bad_one_does_not(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    answers: list[Any] = [
        desk_play.models(["BTC-USD"], 0.55, kinds={"transformer": 10}),
        ModelMismatchError("wrong columns"),
    ]

    def reload() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    class Promoting(ManualClock):
        def wait_until(self, moment: Any) -> None:
            self.moment = max(self.moment, moment)
            if self.moment >= desk_play.minute(3):
                settings.paths.registry.write_text(f"{self.moment}")

    notifier = desk_play.FakeNotifier()
    run_loop(
        settings,
        provider=desk_play.FakeProvider(),
        clock=Promoting(desk_play.START),
        models=desk_play.models(["BTC-USD"], 0.9, kinds={"lstm": 6}),
        notifier=notifier,
        options=LoopOptions(iterations=4, reload=reload),
    )
    found = desk_play.rows(settings, "select p_lstm, p_transformer from decisions order by open_time")
    assert found == [(0.9, None), (0.9, None), (None, 0.55), (None, 0.55)]
    assert [kind for (kind,) in desk_play.rows(settings, "select kind from risk_events order by happened_at")] == [
        "model_switched",
        "model_refused",
    ]
    assert "wrong columns" in notifier.messages[-2].body


@pytest.mark.parametrize("ahead", [5, 10, 29])
def test_clock_ahead_of_the_exchange_finds_its_candles_all_the_same(
    settings: Settings, desk_play: SimpleNamespace, ahead: int
) -> None:
    """15 of 15 minutes were `no_candle` at 10 s, and counted as clean hours."""
    clock = ManualClock(desk_play.START)

    class Behind(desk_play.FakeProvider):  # type: ignore[misc, name-defined]
        async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
            over = floor_minute(clock.moment - timedelta(seconds=ahead))
            async for page in super().pages(product, [Span(own.start, min(own.end, over)) for own in windows]):
                yield page

    provider = Behind()
    desk_play.play(settings, 15, clock=clock, provider=provider, probability=0.5)
    assert reasons(settings, desk_play) == {"below_threshold": 30}
    # it learns how far it is ahead, and asks a little more than once a minute after that
    assert len(provider.asked) < 2 * (15 + ahead + 15)


def test_product_that_hangs_holds_up_no_other(
    settings: Settings, desk_play: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One product on HTTP 502 delayed every other by 33.6 s a minute."""
    monkeypatch.setattr("runtime.loop.TICK_DEADLINE_SECONDS", 0.2)

    class Hanging(desk_play.FakeProvider):  # type: ignore[misc, name-defined]
        async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
            if product == "ETH-USD" and windows[-1].end > desk_play.minute(0):
                await asyncio.sleep(3600)
            async for page in super().pages(product, windows):
                yield page

    settings = settings.model_copy(update={"feature_set": "seed39"})
    desk_play.play(settings, 2, provider=Hanging(), probability=0.5)
    found = desk_play.rows(settings, "select product, reason, count(*) from decisions group by all order by all")
    assert found == [("BTC-USD", "below_threshold", 2), ("ETH-USD", "unanswered", 2)]


def test_live_mode_on_simulated_candles_is_refused(settings: Settings, desk_play: SimpleNamespace) -> None:
    settings = settings.model_copy(update={"alert_urls": SecretStr("json://127.0.0.1:9")})
    with pytest.raises(PreflightError, match="live mode refuses simulated or replayed candles"):
        desk_play.play(settings, 1, mode="live")


def test_minutes_of_a_slow_start_are_asked_for_before_they_are_decided(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    """They were decided from a history that ended before them, as if nothing had been traded."""
    desk_play.play(settings, 1)

    class Slow(ManualClock):
        asked = 0

        def now(self) -> datetime:
            self.asked += 1
            # the start takes three minutes after it has looked at the clock
            return self.moment if self.asked == 1 else self.moment + timedelta(minutes=3)

    desk_play.play(settings, 3, clock=Slow(desk_play.minute(2)))
    assert "no_candle" not in reasons(settings, desk_play)


def test_minute_that_no_candle_proves_is_unanswered_and_not_waited_for(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    """Some sources say nothing of a minute until a later candle is there; their clock says that it is over."""

    class Unproved(desk_play.FakeProvider):  # type: ignore[misc, name-defined]
        async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
            async for page in super().pages(product, windows):
                proved = Span(page.window.start, page.window.end - timedelta(minutes=1))
                yield replace(page, window=proved, candles=[own for own in page.candles if own.open_time < proved.end])

    provider = Unproved()
    desk_play.play(settings, 4, provider=provider, probability=0.5)
    assert reasons(settings, desk_play) == {"unanswered": 8}
    windows = Counter(window.end for _, window in provider.asked)
    assert max(windows.values()) == 2


def test_exchange_whose_time_stands_still_is_given_up_every_minute(
    settings: Settings, desk_play: SimpleNamespace
) -> None:
    """Old answers again and again: no minute is decided on them, and the wait does not grow."""

    class Frozen(desk_play.FakeProvider):  # type: ignore[misc, name-defined]
        async def pages(self, product: str, windows: Sequence[Span]) -> AsyncIterator[Page]:
            frozen = floor_minute(desk_play.minute(0))
            async for page in super().pages(product, [Span(own.start, min(own.end, frozen)) for own in windows]):
                yield page

    clock = ManualClock(desk_play.START)
    desk_play.play(settings, 4, clock=clock, provider=Frozen(), probability=0.5)
    assert reasons(settings, desk_play) == {"unanswered": 8}
    assert clock.moment < desk_play.minute(5)
