"""Known answers: one piece of evidence that passes, then each way in which it does not."""

from dataclasses import replace

import pytest

from models.statistics.sequential import interval
from reports.observation.exit_criteria import judge_observation
from reports.observation.exit_evidence import AlertCount, ExitBounds, ExitEvidence, LimitProof, Sides, Standing


def wins(share, count):
    """Return wins of exactly ``share``."""
    return (1.0,) * round(share * count) + (0.0,) * (count - round(share * count))


def blocks(share, count):
    """Return shares of four hours that scatter by 3 points around ``share``."""
    return tuple(share + (0.03 if number % 2 else -0.03) for number in range(count))


BASELINE = wins(0.77, 3000)


def seen(live):
    return {"wins": Sides(live, BASELINE), "win_share": interval(live, len(live))}


def tiers(high, medium, low, count=120):
    live, expected = (high, medium, low), (0.11, 0.29, 0.60)
    return {
        tier: Sides(blocks(share, count), blocks(own, 600))
        for tier, share, own in zip(("high", "medium", "low"), live, expected, strict=True)
    }


GOOD = ExitEvidence(
    mode="dryrun",
    clean_minutes=72 * 60,
    reset_cause="",
    standings=(Standing("BTC-USD", ("lstm-BTC",)), Standing("SOL-USD", (), {"lstm-SOL": ("accuracy", "brier_skill")})),
    proofs=(LimitProof("daily", True, "stopped"), LimitProof("total", True, "stopped")),
    alerts=AlertCount(owed=300, delivered=300),
    **seen(wins(0.78, 2000)),
    net_bps=(30.0, -10.0, 12.0) * 300,
    tiers=tiers(0.10, 0.30, 0.60),
    tier_shares={},
    signals_per_hour=5.0,
)


def state_of(verdict, name):
    return next(item for item in verdict.criteria if item.name == name).state


def test_judge_observation_with_every_criterion_met_is_go_for_the_promoted_products_only():
    verdict = judge_observation(GOOD)
    assert verdict.word == "GO"
    assert [item.state for item in verdict.criteria] == ["pass"] * 7
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
    ("live", "state"),
    [
        (wins(0.78, 2000), "pass"),
        (wins(0.60, 400), "fail"),
        (wins(0.95, 400), "fail"),
        (wins(0.80, 30), "not yet"),
        (wins(0.72, 2000), "not yet"),
        ((), "not yet"),
    ],
    ids=["near", "far below", "far above", "too few", "at the edge of the band", "none closed"],
)
def test_judge_observation_holds_the_win_rate_against_the_baseline(live, state):
    assert state_of(judge_observation(replace(GOOD, **seen(live))), "win_rate") == state


def test_judge_observation_with_few_signals_says_how_many_and_how_long():
    verdict = judge_observation(replace(GOOD, **seen(wins(0.77, 100))))
    # 2 * 0.77 * 0.23 * (log 20 + 1.2) / 0.05^2 = 594 against an exact baseline, 742 against one of 3,000 signals
    assert verdict.signals_needed == 742 - 100
    assert verdict.hours_needed == pytest.approx(642 / 5)


def test_judge_observation_against_a_small_baseline_says_that_no_observation_is_long_enough():
    evidence = replace(GOOD, wins=Sides(wins(0.77, 5000), wins(0.77, 100)))
    own = next(item for item in judge_observation(evidence).criteria if item.name == "win_rate")
    assert (own.state, own.signals_needed) == ("not yet", 0)
    assert "rests on too few" in own.repair


def test_judge_observation_without_a_baseline_needs_more():
    alone = {tier: Sides(own.live) for tier, own in GOOD.tiers.items()}
    verdict = judge_observation(replace(GOOD, wins=Sides(GOOD.wins.live), tiers=alone))
    assert verdict.word == "NEED MORE"
    assert (state_of(verdict, "win_rate"), state_of(verdict, "tier_mix")) == ("not yet", "not yet")


def test_judge_observation_with_a_tier_far_from_its_baseline_is_no_go():
    verdict = judge_observation(replace(GOOD, tiers=tiers(0.30, 0.20, 0.50)))
    assert verdict.word == "NO-GO"
    assert "high" in verdict.reasons[0]


def test_judge_observation_with_few_blocks_of_tiers_needs_more_hours():
    verdict = judge_observation(replace(GOOD, tiers=tiers(0.11, 0.29, 0.60, count=6)))
    assert verdict.word == "NEED MORE"
    assert verdict.hours_needed > 0


def test_judge_observation_without_a_scored_minute_waits():
    assert state_of(judge_observation(replace(GOOD, tiers=tiers(0.1, 0.3, 0.6, count=0))), "tier_mix") == "not yet"


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ((30.0, -10.0, 12.0) * 300, "pass"),
        ((30.0, -10.0, 12.0) * 3, "not yet"),
        ((10.0, -10.0) * 1000, "not yet"),
        ((8.0, -12.0) * 1000, "fail"),
        ((30.0, -10.0, 12.0) * 300 + (-400.0,), "not yet"),
        ((), "not yet"),
    ],
    ids=["earns", "too few", "earns nothing", "loses its costs", "one beyond every stop", "none closed"],
)
def test_judge_observation_asks_for_a_net_above_zero(values, state):
    assert state_of(judge_observation(replace(GOOD, net_bps=values)), "net") == state


def test_judge_observation_of_a_win_rate_without_earnings_is_no_go():
    """Right in 78 of 100 signals, as promised, and yet the few losses are larger."""
    verdict = judge_observation(replace(GOOD, net_bps=(2.0, 2.0, 2.0, -14.0) * 500))
    assert (verdict.word, state_of(verdict, "win_rate")) == ("NO-GO", "pass")


def test_judge_observation_takes_other_bounds():
    assert judge_observation(replace(GOOD, clean_minutes=60), ExitBounds(hours=1)).word == "GO"


def test_judge_observation_failure_outweighs_waiting():
    verdict = judge_observation(replace(GOOD, clean_minutes=60, **seen(wins(0.3, 400))))
    assert verdict.word == "NO-GO"
    assert verdict.hours_needed == 0
