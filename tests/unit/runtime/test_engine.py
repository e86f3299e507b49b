from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle
from core.files import parse_json
from models.serving.passport import Appraisal, CoverageCut, Passport
from runtime.engine import Engine, MinuteInput, ensemble, session_of
from runtime.loaded_models import LoadedModel, ProductModels
from runtime.restored_state import engine_rules, fresh_engine, product_rules
from tests.judged_models import passport_json

if TYPE_CHECKING:
    from core.settings import Settings

AT = datetime(2025, 1, 15, 12, tzinfo=UTC)
WEIGHTS = {"lstm": 0.35, "transformer": 0.40}


class Nobody:
    def score(self, x_BTF: object, product: str) -> object:
        raise AssertionError


def models(passport: Passport | None = None) -> dict[str, ProductModels]:
    loaded = {
        kind: LoadedModel(kind, f"{kind}-1", 10, Nobody(), False, passport)  # type: ignore[arg-type]
        for kind in ("lstm", "transformer")
    }
    return {"BTC-USD": ProductModels("BTC-USD", loaded), "ETH-USD": ProductModels("ETH-USD", {})}


@pytest.fixture
def engine(settings: Settings) -> Engine:
    rules = engine_rules(settings, models(), session_id="s", mode="dryrun", feature_set="seed39@x")
    return fresh_engine(settings, rules, AT)


def minute(number: int = 0, **changes: object) -> MinuteInput:
    open_time = AT + number * MINUTE
    base = MinuteInput(
        product="BTC-USD",
        open_time=open_time,
        decided_at=open_time + MINUTE + timedelta(seconds=5),
        latency_ms=1.0,
        close=Decimal(100),
        is_stale=False,
        probabilities={"lstm": 0.9, "transformer": 0.9},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def bar(number: int, price: str) -> Candle:
    return Candle("BTC-USD", AT + number * MINUTE, *([Decimal(price)] * 4), Decimal(1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "emitted"),
        ({"is_stale": True}, "stale_candle"),
        ({"is_stale": True, "close": None}, "stale_candle"),
        ({"close": None}, "no_candle"),
        ({"close": None, "probabilities": {}}, "no_candle"),
        ({"probabilities": {}}, "no_model"),
        ({"probabilities": {"lstm": None, "transformer": None}}, "warming_up"),
        ({"probabilities": {"lstm": 0.99, "transformer": None}}, "warming_up"),
        ({"probabilities": {"lstm": 0.74, "transformer": 0.74}}, "below_threshold"),
        ({"probabilities": {"lstm": 0.26, "transformer": 0.26}}, "below_threshold"),
        ({"probabilities": {"lstm": 0.25, "transformer": 0.25}}, "emitted"),
    ],
)
def test_engine_gives_the_first_reason_that_holds(engine: Engine, changes: dict[str, object], reason: str) -> None:
    verdict = engine.decide(minute(**changes), switch_is_on=False)
    assert verdict.decision.reason == reason
    assert verdict.decision.is_emitted == (verdict.signal is not None) == (reason == "emitted")
    if reason in {"stale_candle", "no_candle", "no_model", "warming_up"}:
        assert (verdict.decision.probability, verdict.decision.p_lstm, verdict.decision.tier) == (None, None, None)


def test_engine_withholds_while_the_switch_is_on(engine: Engine) -> None:
    assert engine.decide(minute(), switch_is_on=True).decision.reason == "kill_switch"
    assert engine.account.positions == []


def test_engine_withholds_after_a_daily_and_a_total_loss(engine: Engine) -> None:
    engine.guardrails.daily_blocked = True
    assert engine.decide(minute(0), switch_is_on=False).decision.reason == "daily_loss"
    engine.guardrails.total_blocked = True
    assert engine.decide(minute(1), switch_is_on=False).decision.reason == "total_loss"


def test_engine_limits_high_signals_to_five_an_hour(engine: Engine) -> None:
    reasons = [engine.decide(minute(number), switch_is_on=False).decision.reason for number in range(7)]
    assert reasons == ["emitted"] * 5 + ["rate_limited"] * 2


def test_engine_decides_a_minute_once(engine: Engine) -> None:
    engine.decide(minute(3), switch_is_on=False)
    for number in (3, 2):
        assert engine.decide(minute(number), switch_is_on=False).decision.reason == "duplicate"
    assert len(engine.account.positions) == 1


def test_signal_carries_what_is_needed_to_recompute_it(engine: Engine) -> None:
    signal = engine.decide(minute(probabilities={"lstm": 0.1, "transformer": 0.2}), switch_is_on=False).signal
    assert signal is not None
    assert signal.direction == "short"
    assert signal.probability == pytest.approx((0.35 * 0.1 + 0.4 * 0.2) / 0.75)
    assert signal.confidence == pytest.approx(1 - signal.probability)
    assert signal.entry_price == Decimal("99.91")
    assert signal.stop_price > signal.entry_price > signal.target_price
    assert signal.reward_risk_ratio == pytest.approx(2.0)
    assert (signal.lstm_model_id, signal.transformer_model_id) == ("lstm-1", "transformer-1")
    assert signal.session == "london"


def test_decision_and_signal_keep_what_the_boosting_member_said(engine: Engine) -> None:
    said = {"lstm": 0.1, "transformer": 0.2, "boosting": 0.15}
    engine.rules.products["BTC-USD"].model_ids["boosting"] = "boosting-1"  # type: ignore[index]
    verdict = engine.decide(minute(probabilities=said), switch_is_on=False)
    assert verdict.signal is not None
    assert verdict.signal.probability == pytest.approx((0.35 * 0.1 + 0.4 * 0.2 + 0.5 * 0.15) / 1.25)
    assert (verdict.decision.p_boosting, verdict.signal.p_boosting) == (0.15, 0.15)
    assert verdict.signal.boosting_model_id == "boosting-1"


def test_signal_ids_are_the_same_again_and_differ_by_minute_and_mode(engine: Engine, settings: Settings) -> None:
    again = fresh_engine(settings, engine.rules, AT)
    live = fresh_engine(settings, replace(engine.rules, mode="live"), AT)
    made = [core.decide(minute(), switch_is_on=False).signal for core in (engine, again, live)]
    ids = [signal.signal_id for signal in made if signal is not None]
    assert ids[0] == ids[1] != ids[2]


def test_every_signal_has_an_outcome_after_fifteen_minutes(engine: Engine) -> None:
    engine.close_minute(AT, {"BTC-USD": bar(0, "100")})
    signal = engine.decide(minute(), switch_is_on=False).signal
    assert signal is not None
    outcomes = [
        outcome
        for number in range(1, 20)
        for outcome in engine.close_minute(AT + number * MINUTE, {"BTC-USD": bar(number, "100.5")}).outcomes
    ]
    assert [(outcome.signal_id, outcome.exit_reason, outcome.is_win) for outcome in outcomes] == [
        (signal.signal_id, "timeout", True)
    ]
    assert outcomes[0].closed_at == AT + 16 * MINUTE


def test_two_losing_signals_pause_and_say_so(engine: Engine) -> None:
    events = []
    for number in range(40):
        falling = str(100 - number * Decimal("0.05"))
        closing = engine.close_minute(AT + number * MINUTE, {"BTC-USD": bar(number, falling)})
        events += closing.events
        if number in (0, 1):
            assert engine.decide(minute(number, close=Decimal(falling)), switch_is_on=False).signal is not None
        elif number > 17:
            assert engine.decide(minute(number), switch_is_on=False).decision.reason == "rate_limited"
    assert [event.kind for event in events] == ["loss_streak"]


def test_daily_stop_closes_positions_and_gives_them_an_outcome(engine: Engine) -> None:
    engine.close_minute(AT, {"BTC-USD": bar(0, "100")})
    assert engine.decide(minute(), switch_is_on=False).signal is not None
    engine.account.balance -= Decimal(4400)
    closing = engine.close_minute(AT + MINUTE, {"BTC-USD": bar(1, "99.9")})
    assert [outcome.exit_reason for outcome in closing.outcomes] == ["daily_loss"]
    assert "daily_loss" in [event.kind for event in closing.events]
    assert engine.account.positions == []
    assert closing.equity.open_positions == 0


def test_position_closed_at_midnight_counts_for_the_old_day(engine: Engine) -> None:
    before_midnight = datetime(2025, 1, 15, 22, 59, tzinfo=UTC)
    engine.account.balance += Decimal(500)
    row = engine.close_minute(before_midnight, {}).equity
    assert row.day_start_balance_usd == 100_500
    engine.account.balance += Decimal(70)
    assert engine.close_minute(before_midnight + MINUTE, {}).equity.day_start_balance_usd == 100_500


def test_gap_over_midnight_takes_the_balance_before_it(engine: Engine) -> None:
    engine.close_minute(AT, {"BTC-USD": bar(0, "100")})
    signal = engine.decide(minute(), switch_is_on=False).signal
    assert signal is not None
    row = engine.close_minute(AT + timedelta(hours=14), {}).equity
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
    found = ensemble(probabilities, WEIGHTS)
    assert found == (None if mixed is None else pytest.approx(mixed))


def test_ensemble_of_weight_zero_is_a_plain_mean() -> None:
    assert ensemble({"lstm": 0.6, "transformer": 0.8}, {"lstm": 0.0, "transformer": 0.0}) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("hour", "name"), [(0, "tokyo"), (7, "tokyo"), (8, "london"), (15, "london"), (16, "new_york"), (23, "new_york")]
)
def test_session_follows_the_utc_hour(hour: int, name: str) -> None:
    assert session_of(AT.replace(hour=hour)) == name


def test_coverage_tiers_take_the_models_own_cuts(settings: Settings) -> None:
    cuts = {"high": CoverageCut(0.01, 0.58, 0.9, 10), "medium": CoverageCut(0.1, 0.55, 0.8, 100)}
    verdict = Appraisal(accepted=True, slot="lstm:BTC-USD", coverage_cuts=cuts)
    passport = parse_json(Passport, json.dumps(passport_json()).encode())
    passport = replace(passport, verdicts={"BTC-USD": verdict})
    covered = settings.model_copy(update={"tiers": "coverage"})
    own = product_rules(covered, models(passport)["BTC-USD"])
    assert (own.tiers.high, own.tiers.medium, own.emit_threshold) == (0.58, 0.55, 0.58)
    assert own.tiers.margin == pytest.approx(0.006)
    fixed = product_rules(covered, models()["BTC-USD"])
    assert (fixed.tiers.high, fixed.emit_threshold) == (0.75, 0.75)
