from __future__ import annotations

import copy
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle
from models.serving.passport import CoverageCut
from runtime.decision import Decision, DecisionRules, MinuteInput, MinuteResult, ProductInput, decide, ensemble
from runtime.loaded_models import LoadedModel, ProductModels
from runtime.restored_state import decision_rules, fresh_state, product_rules
from runtime.risk.kill_switch import ACTIVE, Stopping

if TYPE_CHECKING:
    from core.settings import Settings
    from runtime.decision import TradingState

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
WEIGHTS = {"lstm": 0.35, "transformer": 0.40}
SURE = {"lstm": 0.9, "transformer": 0.9}
HUNDRED = Decimal(100)


class Nobody:
    def score(self, x_BTF: object, product: str) -> object:
        raise AssertionError


def models(cuts: dict[str, CoverageCut] | None = None) -> dict[str, ProductModels]:
    loaded = {
        kind: LoadedModel(kind, f"{kind}-1", 10, Nobody(), cuts=cuts or {})  # type: ignore[arg-type]
        for kind in ("lstm", "transformer")
    }
    return {"BTC-USD": ProductModels("BTC-USD", loaded), "ETH-USD": ProductModels("ETH-USD", {})}


class Desk:
    """A state that one minute after the other is decided on."""

    def __init__(self, state: TradingState, rules: DecisionRules, positions_per_product: int = 1) -> None:
        self.state, self.rules = state, rules
        # prices near 100 would make a position of the firm's five lots a small one
        state.account.sizing = replace(state.account.sizing, positions_per_product=positions_per_product, products={})

    def minute(
        self,
        number: int = 0,
        close: Decimal | None = HUNDRED,
        probabilities: dict[str, float | None] | None = None,
        *,
        is_stale: bool = False,
        stopping: Stopping = ACTIVE,
        start: datetime = AT,
    ) -> MinuteResult:
        open_time = start + number * MINUTE
        candle = None if close is None else Candle("BTC-USD", open_time, close, close, close, close, Decimal(1))
        at = open_time + MINUTE + timedelta(seconds=5)
        seen = ProductInput(candle, at, 1.0, is_stale, SURE if probabilities is None else probabilities)
        result = decide(MinuteInput(open_time, {"BTC-USD": seen}, stopping), self.state, self.rules)
        self.state = result.state
        return result

    def decision(self, *arguments: object, **changes: object) -> Decision:
        (decision,) = self.minute(*arguments, **changes).decisions  # type: ignore[arg-type]
        return decision

    def reason(self, *arguments: object, **changes: object) -> str:
        return self.decision(*arguments, **changes).row.reason


@pytest.fixture
def desk(settings: Settings) -> Desk:
    rules = decision_rules(settings, models(), session_id="s", mode="dryrun", feature_set="seed39@x")
    return Desk(fresh_state(settings, AT), rules)


@pytest.fixture
def busy(settings: Settings) -> Desk:
    """A desk that may hold many positions of a product."""
    rules = decision_rules(settings, models(), session_id="s", mode="dryrun", feature_set="seed39@x")
    return Desk(fresh_state(settings.model_copy(update={"max_leverage": 100.0}), AT), rules, 100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "emitted"),
        ({"is_stale": True}, "stale_candle"),
        ({"is_stale": True, "close": None}, "stale_candle"),
        ({"close": None}, "no_candle"),
        ({"close": None, "probabilities": {}}, "no_candle"),
        ({"probabilities": {}}, "no_model"),
        ({"probabilities": {"lstm": math.nan, "transformer": 0.9}}, "bad_score"),
        ({"probabilities": {"lstm": None, "transformer": math.inf}}, "bad_score"),
        ({"probabilities": {"lstm": 0.9, "transformer": 1.0000001}}, "bad_score"),
        ({"probabilities": {"lstm": -0.1, "transformer": 0.9}}, "bad_score"),
        ({"probabilities": {"lstm": None, "transformer": None}}, "warming_up"),
        ({"probabilities": {"lstm": 0.99, "transformer": None}}, "warming_up"),
        ({"probabilities": {"lstm": 0.74, "transformer": 0.74}}, "below_threshold"),
        ({"probabilities": {"lstm": 0.26, "transformer": 0.26}}, "below_threshold"),
        ({"probabilities": {"lstm": 0.25, "transformer": 0.25}}, "emitted"),
        ({"probabilities": {"lstm": 1.0, "transformer": 1.0}}, "emitted"),
        ({"stopping": Stopping("halted")}, "halted"),
        ({"stopping": Stopping("reducing")}, "reducing"),
        ({"stopping": Stopping(paused=frozenset({"BTC-USD"}))}, "paused"),
    ],
)
def test_decide_gives_the_first_reason_that_holds(desk: Desk, changes: dict[str, object], reason: str) -> None:
    decision = desk.decision(**changes)
    assert decision.row.reason == reason
    assert decision.row.is_emitted == (decision.signal is not None) == (reason == "emitted")
    assert len(desk.state.account.positions) == int(reason == "emitted")
    if reason in {"stale_candle", "no_candle", "no_model", "bad_score", "warming_up"}:
        assert (decision.row.probability, decision.row.p_lstm, decision.row.tier) == (None, None, None)


def test_decide_changes_nothing_it_was_given_and_gives_the_same_again(desk: Desk) -> None:
    desk.minute()
    before = desk.state
    kept = copy.deepcopy(before)
    first = desk.minute(1)
    assert before == kept
    assert first.state != kept
    desk.state = before
    assert desk.minute(1) == first


def test_bad_score_is_told_once_with_the_model_until_a_good_one_comes(desk: Desk) -> None:
    bad: dict[str, float | None] = {"lstm": math.nan, "transformer": 0.5}
    events = [desk.decision(number, probabilities=bad).event for number in range(3)]
    assert events[0] is not None
    assert (events[0].kind, events[0].severity, events[0].product) == ("bad_score", 2, "BTC-USD")
    assert "lstm lstm-1 scored nan" in events[0].detail
    assert events[1:] == [None, None]
    assert desk.decision(3, probabilities={"lstm": 0.5, "transformer": 0.5}).event is None
    assert desk.decision(4, probabilities=bad).event is not None


def test_decide_withholds_after_a_daily_and_a_total_loss(desk: Desk) -> None:
    desk.state.guardrails.daily_blocked = True
    assert desk.reason(0) == "daily_loss"
    desk.state.guardrails.total_blocked = True
    assert desk.reason(1) == "total_loss"


def test_decide_limits_high_signals_to_five_an_hour(busy: Desk) -> None:
    busy.state.account.sizing = replace(busy.state.account.sizing, risk_pct=Decimal("0.1"))
    assert [busy.reason(number) for number in range(7)] == ["emitted"] * 5 + ["rate_limited"] * 2


def test_product_has_one_position_at_a_time(desk: Desk) -> None:
    reasons = [desk.reason(number) for number in range(18)]
    assert reasons == ["emitted"] + ["position_open"] * 14 + ["emitted"] + ["position_open"] * 2
    assert len(desk.state.account.positions) == 1


def test_signals_beyond_what_may_still_be_lost_are_smaller_or_none(busy: Desk) -> None:
    """Of 4.5 % nothing but 0.1 % is left: the day must not end beyond it, wherever the next minute opens at the stops."""
    busy.state.account.balance -= 4_400
    first, second = busy.decision(0), busy.decision(1)
    assert first.signal is not None
    assert 0 < first.signal.size_usd < 10_000
    assert (second.row.reason, second.signal) == ("no_headroom", None)
    assert len(busy.state.account.positions) == 1
    assert busy.minute(2, first.signal.stop_price, {}).equity.equity_usd >= 95_500


@pytest.mark.parametrize("close", ["0", "0.00000001", "0.00000040"])
@pytest.mark.parametrize("sure", [0.9, 0.1])
def test_price_too_small_for_a_stop_is_a_reason_and_no_error(desk: Desk, close: str, sure: float) -> None:
    assert desk.reason(0, Decimal(close), {"lstm": sure, "transformer": sure}) == "no_headroom"


def test_signal_without_leverage_left_is_none(desk: Desk) -> None:
    desk.state.account.sizing = replace(desk.state.account.sizing, max_leverage=Decimal("0.00001"))
    assert desk.reason() == "no_headroom"


def test_last_minute_before_midnight_is_held_against_its_own_day(desk: Desk) -> None:
    last = datetime(2025, 1, 15, 22, 59, tzinfo=UTC)
    desk.minute(-1, None, start=last)
    desk.state.account.balance -= 5_400
    result = desk.minute(0, None, start=last)
    assert [event.kind for event in result.events if event.kind.startswith(("daily", "firm"))] == [
        *("daily_warn_60", "daily_warn_80", "daily_loss", "firm_limit")
    ]
    assert {event.happened_at for event in result.events if event.kind.startswith("daily")} == {last}
    assert result.equity.day_start_balance_usd == 94_600
    assert (result.state.guardrails.daily_blocked, result.state.guardrails.is_ended) == (False, True)


def test_decide_decides_a_minute_once(desk: Desk) -> None:
    assert [desk.reason(number) for number in (3, 3, 2)] == ["emitted", "duplicate", "duplicate"]
    assert len(desk.state.account.positions) == 1


def test_signal_carries_what_is_needed_to_recompute_it(desk: Desk) -> None:
    signal = desk.decision(probabilities={"lstm": 0.1, "transformer": 0.2}).signal
    assert signal is not None
    assert signal.direction == "short"
    assert signal.probability == pytest.approx((0.35 * 0.1 + 0.4 * 0.2) / 0.75)
    assert signal.confidence == pytest.approx(1 - signal.probability)
    assert signal.entry_price == Decimal("99.91")
    assert signal.stop_price > signal.entry_price > signal.target_price
    assert signal.reward_risk_ratio == pytest.approx(2.0)
    assert (signal.lstm_model_id, signal.transformer_model_id) == ("lstm-1", "transformer-1")
    assert signal.session == "london"


def test_decision_and_signal_keep_what_the_boosting_member_said(desk: Desk) -> None:
    own = desk.rules.products["BTC-USD"]
    ids = {**own.model_ids, "boosting": "boosting-1"}
    desk.rules = replace(desk.rules, products={"BTC-USD": replace(own, model_ids=ids)})
    decision = desk.decision(probabilities={"lstm": 0.1, "transformer": 0.2, "boosting": 0.15})
    assert decision.signal is not None
    assert decision.signal.probability == pytest.approx((0.35 * 0.1 + 0.4 * 0.2 + 0.5 * 0.15) / 1.25)
    assert (decision.row.p_boosting, decision.signal.p_boosting) == (0.15, 0.15)
    assert decision.signal.boosting_model_id == "boosting-1"


def test_signal_ids_are_the_same_again_and_differ_by_minute_and_mode(desk: Desk) -> None:
    again, live = Desk(desk.state, desk.rules), Desk(desk.state, replace(desk.rules, mode="live"))
    ids = [made.decision().signal.signal_id for made in (desk, again, live)]  # type: ignore[union-attr]
    assert ids[0] == ids[1] != ids[2]


def test_every_signal_has_an_outcome_after_fifteen_minutes(desk: Desk) -> None:
    signal = desk.decision().signal
    assert signal is not None
    later = [desk.minute(number, Decimal("100.5"), {}) for number in range(1, 20)]
    (outcome,) = [outcome for result in later for outcome in result.outcomes]
    assert (outcome.signal_id, outcome.exit_reason, outcome.is_win) == (signal.signal_id, "timeout", True)
    assert outcome.closed_at == AT + 16 * MINUTE


def test_two_losing_signals_pause_and_say_so(busy: Desk) -> None:
    events = []
    for number in range(40):
        probabilities = SURE if number in (0, 1) or number > 17 else {}
        result = busy.minute(number, HUNDRED - number * Decimal("0.05"), dict(probabilities))
        events += result.events
        if probabilities:
            assert result.decisions[0].row.reason == ("emitted" if number < 2 else "rate_limited")
    assert [event.kind for event in events] == ["loss_streak"]


def test_daily_stop_closes_positions_and_gives_them_an_outcome(desk: Desk) -> None:
    assert desk.decision().signal is not None
    desk.state.account.balance -= Decimal(4400)
    result = desk.minute(1, Decimal("99.9"))
    assert [outcome.exit_reason for outcome in result.outcomes] == ["daily_loss"]
    assert "daily_loss" in [event.kind for event in result.events]
    assert result.state.account.positions == []
    assert result.equity.open_positions == 0
    assert result.decisions[0].row.reason == "daily_loss"


def test_halting_closes_open_positions_and_reducing_lets_them_run_out(desk: Desk) -> None:
    assert desk.decision().signal is not None
    reduced = desk.minute(1, stopping=Stopping("reducing"))
    assert (len(reduced.outcomes), reduced.equity.open_positions) == (0, 1)
    paused = desk.minute(2, stopping=Stopping(paused=frozenset({"BTC-USD"})))
    assert paused.equity.open_positions == 1
    halted = desk.minute(3, Decimal("100.5"), stopping=Stopping("halted"))
    assert [outcome.exit_reason for outcome in halted.outcomes] == ["halted"]
    assert halted.equity.open_positions == 0
    assert halted.decisions[0].row.reason == "halted"


def test_pause_of_one_product_leaves_the_others(desk: Desk) -> None:
    assert desk.reason(stopping=Stopping(paused=frozenset({"ETH-USD"}))) == "emitted"


def test_position_closed_at_midnight_counts_for_the_old_day(desk: Desk) -> None:
    before_midnight = datetime(2025, 1, 15, 22, 59, tzinfo=UTC)
    desk.state.account.balance += Decimal(500)
    assert desk.minute(0, None, start=before_midnight).equity.day_start_balance_usd == 100_500
    desk.state.account.balance += Decimal(70)
    assert desk.minute(1, None, start=before_midnight).equity.day_start_balance_usd == 100_500


def test_gap_over_midnight_takes_the_balance_before_it(desk: Desk) -> None:
    assert desk.decision().signal is not None
    row = desk.minute(14 * 60, None).equity
    assert row.day_start_balance_usd == 100_000
    assert row.balance_usd != 100_000


@pytest.mark.parametrize(
    ("probabilities", "mixed"),
    [
        ({"lstm": 0.6}, 0.6),
        ({"transformer": 0.7}, 0.7),
        ({"lstm": 0.6, "transformer": 0.7}, (0.35 * 0.6 + 0.4 * 0.7) / 0.75),
        ({"lstm": None, "transformer": 0.7}, None),
        ({}, None),
    ],
)
def test_ensemble_is_renormalised_over_what_is_loaded(
    probabilities: dict[str, float | None], mixed: float | None
) -> None:
    assert ensemble(probabilities, WEIGHTS) == (None if mixed is None else pytest.approx(mixed))


def test_ensemble_of_weight_zero_is_a_plain_mean() -> None:
    assert ensemble({"lstm": 0.6, "transformer": 0.8}, {"lstm": 0.0, "transformer": 0.0}) == pytest.approx(0.7)


def test_coverage_tiers_take_the_models_own_cuts(settings: Settings) -> None:
    covered = settings.model_copy(update={"tiers": "coverage"})
    own = product_rules(
        covered,
        models({"high": CoverageCut(0.01, 0.58, 0.9, 10), "medium": CoverageCut(0.1, 0.55, 0.8, 100)})["BTC-USD"],
    )
    assert (own.tiers.high, own.tiers.medium, own.emit_threshold) == (0.58, 0.55, 0.58)
    assert own.tiers.margin == pytest.approx(0.006)
    fixed = product_rules(covered, models()["BTC-USD"])
    assert (fixed.tiers.high, fixed.emit_threshold) == (0.75, 0.75)
