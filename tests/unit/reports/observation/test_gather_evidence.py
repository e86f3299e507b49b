import pytest

from models.registry.baseline import BacktestFigures, Baseline
from reports.observation.gather_evidence import (
    count_alerts,
    expected_tiers,
    expected_win_rate,
    gather,
    promoted_slots,
    standings,
    tier_shares,
    win_rate,
)
from reports.observation.record import read_record
from reports.observation.record_rows import RegistryLine, TierHour


def test_win_rate_of_the_fixture_counts_closed_signals(observed):
    record = read_record(observed)
    closed = record.closed
    share = win_rate(record.signals)
    assert share.count == len(closed)
    assert share.value == pytest.approx(sum(signal.is_win for signal in closed) / len(closed))


def test_tier_shares_add_up_to_one(observed):
    shares = tier_shares(read_record(observed).tiers)
    assert sum(share.value for share in shares.values()) == pytest.approx(1)


def baseline(**products: BacktestFigures) -> Baseline:
    return Baseline(win_rate=0.7, products=products)


def test_expected_win_rate_weighs_products_as_they_signalled():
    known = baseline(A=BacktestFigures(win_rate=0.8), B=BacktestFigures(win_rate=0.6))
    assert expected_win_rate(known, ["A"] * 3 + ["B"]) == pytest.approx(0.75)


def test_expected_win_rate_falls_back_to_the_whole():
    assert expected_win_rate(baseline(), []) == 0.7
    assert expected_win_rate(None, []) is None


@pytest.mark.parametrize("scale", [1, 0.01])
def test_expected_tiers_takes_counts_as_well_as_shares(observed, scale):
    mix = {"high": 10 * scale, "medium": 30 * scale, "low": 60 * scale}
    hours = (TierHour("A", read_record(observed).since, 1, 0, 0),)
    shares = expected_tiers(baseline(A=BacktestFigures(tier_mix=mix)), hours)
    assert shares == pytest.approx({"high": 0.1, "medium": 0.3, "low": 0.6})


def test_count_alerts_with_two_refused_tells_what_the_target_said(fake_observation):
    counted = count_alerts(read_record(fake_observation(minutes=600, undelivered=2)))
    assert counted.pending == 2
    assert counted.last_detail == "HTTP 502"
    assert counted.oldest_pending_minutes > 0


def test_gather_in_shadow_counts_shadow_signals_and_owes_no_alert(fake_observation):
    record = read_record(fake_observation(minutes=600, mode="shadow", promoted=()))
    evidence = gather(record, (), None, ())
    assert evidence.mode == "shadow"
    assert evidence.wins is not None
    assert evidence.alerts.owed == 0


def test_standings_without_passports_take_the_gates_from_the_registry():
    events = (RegistryLine("refusal", "lstm:BTC-USD", "m1", "seed: refused by accuracy, audit"),)
    (standing,) = standings(("BTC-USD",), (), {}, events)
    assert standing.reason == "m1 failed accuracy, audit"


def test_promoted_slots_without_a_registry_file_are_replayed_from_its_history(observed):
    events = (RegistryLine("promotion", "lstm:A-USD", "m1", ""),)
    assert promoted_slots(observed, events) == {"lstm:A-USD": "m1"}
