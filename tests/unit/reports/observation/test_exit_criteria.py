"""Known answers: one piece of evidence that passes, then each way in which it does not."""

from dataclasses import replace

import pytest

from models.statistics.proportions import Share
from reports.observation.exit_criteria import (
    AlertCount,
    ExitBounds,
    ExitEvidence,
    LimitProof,
    Standing,
    judge_observation,
)

GOOD = ExitEvidence(
    mode="dryrun",
    clean_minutes=72 * 60,
    reset_cause="",
    standings=(Standing("BTC-USD", ("lstm-BTC",)), Standing("SOL-USD", (), {"lstm-SOL": ("accuracy", "brier_skill")})),
    proofs=(LimitProof("daily", True, "stopped"), LimitProof("total", True, "stopped")),
    alerts=AlertCount(owed=300, delivered=300),
    wins=Share(0.78, 0.735, 0.82, 400, 380),
    expected_win_rate=0.77,
    tiers={
        "high": Share(0.10, 0.08, 0.12, 4000, 900),
        "medium": Share(0.30, 0.27, 0.33, 4000, 900),
        "low": Share(0.60, 0.57, 0.63, 4000, 900),
    },
    expected_tiers={"high": 0.11, "medium": 0.29, "low": 0.60},
    signals_per_hour=5.0,
)


def state_of(verdict, name):
    return next(item for item in verdict.criteria if item.name == name).state


def test_judge_observation_with_every_criterion_met_is_go_for_the_promoted_products_only():
    verdict = judge_observation(GOOD)
    assert verdict.word == "GO"
    assert [item.state for item in verdict.criteria] == ["pass"] * 6
    assert "BTC-USD" in verdict.headline and "SOL-USD" not in verdict.headline
    assert any("SOL-USD" in reason and "brier_skill" in reason for reason in verdict.reasons)


def test_judge_observation_in_shadow_is_never_go():
    verdict = judge_observation(replace(GOOD, mode="shadow", standings=(Standing("BTC-USD", ("lstm-BTC",)),)))
    assert verdict.word == "NO-GO"
    assert "shadow" in verdict.headline
    assert verdict.reasons


def test_judge_observation_without_a_promoted_model_names_product_and_gates():
    refused = Standing("BTC-USD", (), {"lstm-BTC": ("accuracy",)})
    verdict = judge_observation(replace(GOOD, standings=(refused,)))
    assert verdict.word == "NO-GO"
    assert state_of(verdict, "models") == "fail"
    assert verdict.reasons[0] == "BTC-USD: lstm-BTC failed accuracy"


def test_judge_observation_of_a_product_never_judged_names_the_command():
    verdict = judge_observation(replace(GOOD, standings=(Standing("BTC-USD"),)))
    assert "make train" in verdict.reasons[0]


def test_judge_observation_a_minute_short_of_72_hours_needs_more():
    verdict = judge_observation(replace(GOOD, clean_minutes=72 * 60 - 1))
    assert verdict.word == "NEED MORE"
    assert state_of(verdict, "clock") == "not yet"
    assert verdict.hours_needed == pytest.approx(1 / 60)


def test_judge_observation_after_a_crash_says_what_restarted_the_clock():
    verdict = judge_observation(replace(GOOD, clean_minutes=600, reset_cause="the crash of Monday"))
    assert "since the crash of Monday" in verdict.criteria[0].figure
    assert verdict.hours_needed == 62.0


def test_judge_observation_with_an_unblocked_limit_is_no_go():
    proofs = (LimitProof("daily", True, ""), LimitProof("total", False, "equity fell to 80,000"))
    verdict = judge_observation(replace(GOOD, proofs=proofs))
    assert verdict.word == "NO-GO"
    assert "total" in verdict.reasons[0] and "80,000" in verdict.reasons[0]


def test_judge_observation_without_the_simulation_needs_more_and_names_the_command():
    verdict = judge_observation(replace(GOOD, proofs=()))
    assert verdict.word == "NEED MORE"
    assert "simulate-loss" in verdict.reasons[0]


def test_judge_observation_with_an_undelivered_alert_of_an_ended_session_is_no_go():
    alerts = AlertCount(owed=300, delivered=299, oldest_pending_minutes=2, last_detail="HTTP 502")
    verdict = judge_observation(replace(GOOD, alerts=alerts))
    assert verdict.word == "NO-GO"
    assert "HTTP 502" in verdict.reasons[0]


@pytest.mark.parametrize(("minutes", "state"), [(2.0, "not yet"), (11.0, "fail")])
def test_judge_observation_with_an_alert_on_its_way_waits_a_while(minutes, state):
    alerts = AlertCount(owed=300, delivered=299, oldest_pending_minutes=minutes, is_running=True)
    assert state_of(judge_observation(replace(GOOD, alerts=alerts)), "alerts") == state


def test_judge_observation_with_a_signal_that_never_owed_a_message_is_no_go():
    verdict = judge_observation(replace(GOOD, alerts=AlertCount(owed=300, delivered=300, unannounced=1)))
    assert verdict.word == "NO-GO"


def test_judge_observation_without_any_alert_owed_is_not_proven():
    verdict = judge_observation(replace(GOOD, alerts=AlertCount()))
    assert verdict.word == "NEED MORE"
    assert verdict.signals_needed == 1


@pytest.mark.parametrize(
    ("wins", "state"),
    [
        (Share(0.78, 0.735, 0.82, 400, 380), "pass"),
        (Share(0.60, 0.55, 0.65, 400, 380), "fail"),
        (Share(0.90, 0.87, 0.93, 400, 380), "fail"),
        (Share(0.80, 0.60, 0.92, 30, 30), "not yet"),
        (Share(0.71, 0.68, 0.74, 900, 900), "not yet"),
        (None, "not yet"),
    ],
    ids=["near", "far below", "far above", "too few", "at the edge of the band", "none closed"],
)
def test_judge_observation_holds_the_win_rate_against_the_baseline(wins, state):
    assert state_of(judge_observation(replace(GOOD, wins=wins)), "win_rate") == state


def test_judge_observation_with_few_signals_says_how_many_and_how_long():
    verdict = judge_observation(replace(GOOD, wins=Share(0.80, 0.60, 0.92, 30, 30)))
    # 1.96^2 * 0.8 * 0.2 / 0.05^2 = 246 in all
    assert verdict.signals_needed == 246 - 30
    assert verdict.hours_needed == pytest.approx(216 / 5)


def test_judge_observation_without_a_baseline_needs_more():
    verdict = judge_observation(replace(GOOD, expected_win_rate=None, expected_tiers=None))
    assert verdict.word == "NEED MORE"
    assert (state_of(verdict, "win_rate"), state_of(verdict, "tier_mix")) == ("not yet", "not yet")


def test_judge_observation_with_a_tier_far_from_its_baseline_is_no_go():
    verdict = judge_observation(replace(GOOD, expected_tiers={"high": 0.30, "medium": 0.20, "low": 0.50}))
    assert verdict.word == "NO-GO"
    assert "high" in verdict.reasons[0]


def test_judge_observation_with_a_wide_tier_interval_needs_more_hours():
    tiers = {**GOOD.tiers, "low": Share(0.60, 0.40, 0.78, 400, 20)}
    verdict = judge_observation(replace(GOOD, tiers=tiers))
    assert verdict.word == "NEED MORE"
    assert verdict.hours_needed > 0


def test_judge_observation_without_a_scored_minute_waits():
    assert state_of(judge_observation(replace(GOOD, tiers={})), "tier_mix") == "not yet"


def test_judge_observation_takes_other_bounds():
    assert judge_observation(replace(GOOD, clean_minutes=60), ExitBounds(hours=1)).word == "GO"


def test_judge_observation_failure_outweighs_waiting():
    verdict = judge_observation(replace(GOOD, clean_minutes=60, wins=Share(0.3, 0.25, 0.35, 400, 380)))
    assert verdict.word == "NO-GO"
    assert verdict.hours_needed == 0
