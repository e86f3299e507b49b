from dataclasses import replace
from datetime import timedelta

import pytest

from core.candles import MINUTE
from models.registry.baseline import BacktestFigures, Baseline, Outcome, TierBlock
from reports.observation.gather_evidence import (
    count_alerts,
    gather,
    promoted_slots,
    standings,
    tier_shares,
    win_share,
)
from reports.observation.record import Reset, read_record
from reports.observation.record_rows import RegistryLine


def test_win_share_of_the_fixture_counts_closed_signals_that_share_no_minute(observed):
    record = read_record(observed)
    share = win_share(record.signals)
    assert share.count == len(record.closed)
    assert 0 < share.effective < share.count
    moments = sorted(signal.open_time for signal in record.closed)
    assert share.effective <= (moments[-1] - moments[0]) / timedelta(minutes=15) + 1


def test_tier_shares_add_up_to_one(observed):
    shares = tier_shares(read_record(observed).tiers)
    assert sum(share.value for share in shares.values()) == pytest.approx(1)


def test_gather_holds_the_observation_against_the_products_it_signalled(observed):
    record = read_record(observed)
    own = {signal.product for signal in record.closed}
    outcomes = [Outcome(0, True, 5.0), Outcome(14, False, 5.0), Outcome(15, False, 5.0)]
    block = TierBlock(1, 10, 30, 60)
    figures = BacktestFigures(outcomes=outcomes, tier_blocks=[block, block])
    strange = BacktestFigures(outcomes=[Outcome(0, False, 0.0)] * 9, tier_blocks=[TierBlock(1, 100, 0, 0)])
    evidence = gather(record, (), Baseline(products=dict.fromkeys(own, figures) | {"NONE-USD": strange}), ())
    assert evidence.wins.baseline == (1.0, 0.0)
    assert evidence.expected_tiers == pytest.approx({"high": 0.1, "medium": 0.3, "low": 0.6})
    assert len(evidence.net_bps) == len(evidence.wins.live)


def test_gather_without_a_baseline_or_with_one_of_version_1_expects_nothing(observed):
    record = read_record(observed)
    for old in (None, Baseline(win_rate=0.7, products={"BTC-USD": BacktestFigures(win_rate=0.7)})):
        evidence = gather(record, (), old, ())
        assert (evidence.wins.baseline, evidence.expected_tiers) == ((), {})


def test_pace_does_not_start_again_at_a_crash(observed):
    """A crash an hour ago made 192 signals of two days a pace of 192 an hour."""
    record = read_record(observed)
    late = Reset(record.until - MINUTE, "the crash of just now")
    assert (
        gather(replace(record, resets=(late,)), (), None, ()).signals_per_hour
        == gather(record, (), None, ()).signals_per_hour
    )


def test_count_alerts_with_two_refused_tells_what_the_target_said(fake_observation):
    counted = count_alerts(read_record(fake_observation(minutes=600, undelivered=2)))
    assert counted.pending == 2
    assert counted.last_detail == "HTTP 502"
    assert counted.oldest_pending_minutes > 0


def test_gather_in_shadow_counts_shadow_signals_and_owes_no_alert(fake_observation):
    record = read_record(fake_observation(minutes=600, mode="shadow", promoted=()))
    evidence = gather(record, (), None, ())
    assert evidence.mode == "shadow"
    assert evidence.win_share is not None
    assert evidence.alerts.owed == 0


def test_standings_without_passports_take_the_gates_from_the_registry():
    events = (RegistryLine("refusal", "lstm:BTC-USD", "m1", "seed: refused by accuracy, audit"),)
    (standing,) = standings(("BTC-USD",), (), {}, events)
    assert standing.reason == "m1 failed accuracy, audit"


def test_promoted_slots_without_a_registry_file_are_replayed_from_its_history(observed):
    events = (RegistryLine("promotion", "lstm:A-USD", "m1", ""),)
    assert promoted_slots(observed, events) == {"lstm:A-USD": "m1"}
