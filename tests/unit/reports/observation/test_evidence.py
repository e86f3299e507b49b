import pytest

from reports.observation.evidence import count_alerts, expected_tiers, expected_win_rate, gather, tier_shares, win_rate
from reports.observation.record import read_record


def test_win_rate_of_the_fixture_counts_closed_signals(observed):
    record = read_record(observed)
    closed = [row for row in record["signals"] if row["is_win"] is not None]
    share = win_rate(record["signals"])
    assert share.count == len(closed)
    assert share.value == pytest.approx(sum(row["is_win"] for row in closed) / len(closed))


def test_tier_shares_add_up_to_one(observed):
    shares = tier_shares(read_record(observed)["tiers"])
    assert sum(share.value for share in shares.values()) == pytest.approx(1)


def test_expected_win_rate_weighs_products_as_they_signalled():
    baseline = {"products": {"A-USD": {"win_rate": 0.8}, "B-USD": {"win_rate": 0.6}}}
    closed = [{"product": "A-USD"}] * 3 + [{"product": "B-USD"}]
    assert expected_win_rate(baseline, closed) == pytest.approx(0.75)


def test_expected_win_rate_falls_back_to_the_whole(observed):
    assert expected_win_rate({"win_rate": 0.7}, []) == 0.7
    assert expected_win_rate(None, []) is None


def test_expected_tiers_takes_counts_as_well_as_shares():
    rows = [{"product": "A-USD", "high": 1, "medium": 0, "low": 0}]
    mix = expected_tiers({"products": {"A-USD": {"tier_mix": {"high": 10, "medium": 30, "low": 60}}}}, rows)
    assert mix == {"high": 0.1, "medium": 0.3, "low": 0.6}


def test_count_alerts_with_two_refused_tells_what_the_target_said(fake_observation):
    counted = count_alerts(read_record(fake_observation(minutes=600, undelivered=2)))
    assert counted.pending == 2
    assert counted.last_detail == "HTTP 502"
    assert counted.oldest_pending_minutes > 0


def test_gather_in_shadow_counts_shadow_signals_and_owes_no_alert(fake_observation):
    record = read_record(fake_observation(minutes=600, mode="shadow", promoted=()))
    evidence = gather(record, (), None, None)
    assert evidence.mode == "shadow"
    assert evidence.wins is not None
    assert evidence.alerts.owed == 0
