"""Following the market by REST: every minute once, gaps, outages, late candles, late settling, endings."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.candles import MINUTE, Span
from core.errors import CredentialsError, PreflightError, StoreBusyError, UnknownProductError
from core.locks import lease
from store.reader import Reader


def test_follow_stores_each_minute_within_five_seconds_of_its_close(world, start):
    here = world()
    stats = here.follow(6)
    here.assert_equals_truth(start, start + 6 * MINUTE)
    assert (stats.minutes, stats.stored, stats.revised) == (6, 12, 0)
    assert len(stats.delays) == 5, "the first minute had closed before the session began"
    assert max(stats.delays) < 5
    assert here.rows("select distinct source from candles_1m") == [{"source": "local:planted"}]


def test_follow_commits_a_minute_of_all_products_at_once(world, monkeypatch):
    here, commits = world(), []
    record = type(here.store).record_pages

    def counted(store, pages):
        commits.append({page.product for page in pages})
        return record(store, pages)

    monkeypatch.setattr("store.feature_store.FeatureStore.record_pages", counted)
    here.follow(4)
    assert commits == [{"BTC-USD", "ETH-USD"}] * 4


def test_follow_asks_three_minutes_of_each_product_and_no_more(world):
    here = world()
    here.follow(6)
    requested = [request for request in here.line.requested if request.url.path.endswith("/candles")]
    lengths = [(int(item.url.params["end"]) - int(item.url.params["start"])) // 60 for item in requested]
    assert len(requested) == 12 and max(lengths) == 3


def test_follow_fills_the_gap_since_the_last_stored_minute(world, start):
    here = world()
    here.follow(2)
    here.exchange.present.advance(here.exchange.present.now() + timedelta(hours=7, seconds=13))
    stats = here.follow(3)
    here.assert_equals_truth(start, here.reached)
    assert any("filling" in note for note in here.notes)
    assert here.store.missing_windows("BTC-USD", Span(start, here.reached - 6 * MINUTE)) == []
    assert stats.stored > 800


def test_follow_short_gap_takes_one_request(world, start):
    here = world()
    here.follow(2)
    here.exchange.present.advance(here.exchange.present.now() + 90 * MINUTE)
    here.line.requested.clear()
    here.follow(1)
    here.assert_equals_truth(start, start + 92 * MINUTE)
    assert sum(request.url.path.endswith("/candles") for request in here.line.requested) == 2


def test_follow_goes_on_after_an_outage_as_if_there_had_been_none(world, start):
    here = world()
    away = (start + 4 * MINUTE, start + 9 * MINUTE + timedelta(seconds=37))
    here.line.is_cut = lambda _: away[0] < here.exchange.present.now() < away[1]
    stats = here.follow(14)
    here.assert_equals_truth(start, start + 14 * MINUTE)
    assert stats.outages == 2, "one for each product"
    assert sum("answers again" in note for note in here.notes) == 2
    failed = here.rows("select count(*) as n from ledger where state = 'failed'")
    assert failed == [{"n": 0}], "what failed was answered later"


def test_follow_outage_of_one_product_leaves_the_other(world, start):
    here = world()
    here.line.is_cut = lambda request: "ETH-USD" in request.url.path
    here.follow(3)
    here.assert_equals_truth(start, start + 3 * MINUTE, ["BTC-USD"])
    assert here.rows("select product, state from ledger where state = 'failed'") == [
        {"product": "ETH-USD", "state": "failed"}
    ]
    assert [report.closes["ETH-USD"] for report in here.reports] == [None] * 3


def test_follow_retries_five_seconds_after_a_failure(world, start):
    here = world()
    away = (start + 3 * MINUTE, start + 3 * MINUTE + timedelta(seconds=20))
    here.line.is_cut = lambda _: away[0] < here.exchange.present.now() < away[1]
    stats = here.follow(5)
    here.assert_equals_truth(start, start + 5 * MINUTE)
    assert 20 < max(stats.delays) < 26


def test_follow_starts_while_the_exchange_is_away(world, start):
    here = world()
    here.line.is_cut = lambda _: here.exchange.present.now() < start + 3 * MINUTE
    here.follow(5)
    here.assert_equals_truth(start, start + 5 * MINUTE)
    assert any("going on until it answers" in note for note in here.notes)


def test_follow_machine_that_slept_fills_what_it_missed(world, start):
    here = world()

    def sleep_once(moment):
        if len(here.reports) == 3 and here.exchange.present.now() < start + timedelta(hours=2):
            here.exchange.present.advance(moment + timedelta(hours=2))

    here.clock.happens = sleep_once
    stats = here.follow(130)
    here.assert_equals_truth(start, start + stats.minutes * MINUTE)
    assert len(here.reports) < 20


def test_follow_minute_published_late_is_asked_for_again_and_still_in_time(world, start):
    here = world(published_after_seconds=2.5)
    stats = here.follow(5)
    here.assert_equals_truth(start, start + 5 * MINUTE)
    assert all(3.0 <= delay < 5 for delay in stats.delays)


def test_follow_minute_published_a_minute_late_comes_with_the_next(world, start):
    here = world(published_after_seconds=50.0)
    here.follow(5)
    here.assert_equals_truth(start, start + 4 * MINUTE)
    assert here.rows("select * from candle_revisions") == []


def test_follow_late_settling_is_read_after_two_minutes_and_both_versions_are_kept(world, start):
    here = world(settles_after_seconds=100.0)
    stats = here.follow(8)
    # all but the last two have settled
    settled, end = start + 6 * MINUTE, start + 8 * MINUTE
    truth, stored = here.truth(start, end), here.stored()
    young = {key for key in truth if key[1] >= settled}
    assert {key for key in truth if stored[key]["volume"] != truth[key].volume} == young
    revised = here.rows("select product, open_time, volume, known_at, superseded_at from candle_revisions")
    assert len(revised) == stats.revised == 12
    for row in revised:
        assert row["volume"] < stored[row["product"], row["open_time"]]["volume"]
        assert (row["superseded_at"] - row["open_time"]).total_seconds() >= 180
    here.follow(3)
    stored = here.stored()
    assert all(stored[key]["volume"] == candle.volume for key, candle in here.truth(start, end).items())
    assert stored.keys() == here.truth(start, here.reached).keys()


def test_follow_open_minute_is_never_stored(world):
    here = world()
    seen = []
    here.clock.happens = lambda _: seen.append(
        here.rows("select max(open_time) as newest from candles_1m")[0]["newest"] if here.reports else None
    )
    here.follow(5)
    assert here.rows("select * from candles_1m where known_at < open_time + interval 1 minute") == []
    assert len(seen) > 5


def test_follow_unknown_product_is_named_and_the_others_go_on(world, start):
    here = world()
    here.follow(3, products=("BTC-USD", "BNB-USD"))
    here.assert_equals_truth(start, start + 3 * MINUTE, ["BTC-USD"])
    assert any("BNB-USD is not offered" in note for note in here.notes)
    with pytest.raises(UnknownProductError, match="BNB-USD"):
        here.follow(2, products=("BNB-USD",))


def test_follow_refused_key_ends_it(world):
    here = world()
    here.retry = replace(here.retry, attempts=4)
    here.exchange.faults.plan([{"kind": "401", "count": 99}])
    with pytest.raises(CredentialsError):
        here.follow(2)


def test_follow_second_follower_of_a_folder_is_refused(world):
    here = world()
    here.settings.paths.make()
    with (
        lease(here.settings.paths.home / "follow.lock", "follower"),
        pytest.raises(PreflightError, match="another follower"),
    ):
        here.follow(1)


def test_follow_stop_ends_it_and_publishes(world, start):
    here = world()

    def end_it(_):
        if len(here.reports) == 3:
            here.stop.set()

    here.clock.happens = end_it
    stats = here.follow(-1)
    assert stats.minutes == 3
    with Reader(here.settings.paths) as reader:
        assert reader.sql("select count(*) as n from candles_1m") == [{"n": 6}]
    assert '"p95"' in (here.settings.paths.reports / "follow.json").read_text()


def test_follow_publishes_now_and_then(world, monkeypatch):
    here, made = world(), []
    monkeypatch.setattr("store.feature_store.FeatureStore.publish", lambda _, copy: made.append(copy))
    here.follow(4, publish_every=0.0)
    assert len(made) == 5


def test_follow_dry_run_stores_nothing_and_shows_the_closes(world):
    here = world()
    here.follow(3, is_dry=True)
    assert here.rows("select count(*) as n from candles_1m") == [{"n": 0}]
    assert all(close is not None for report in here.reports for close in report.closes.values())
    assert not here.settings.paths.market_copy.exists()


def test_follow_busy_store_costs_nothing(world, start, monkeypatch):
    here, tries = world(), []
    record = type(here.store).record_pages

    def busy(store, pages):
        tries.append(1)
        if len(tries) in (2, 3):
            raise StoreBusyError("another process has been writing")
        return record(store, pages)

    monkeypatch.setattr("store.feature_store.FeatureStore.record_pages", busy)
    here.follow(6)
    here.assert_equals_truth(start, start + 6 * MINUTE)
    assert sum("tried again" in note for note in here.notes) == 2


def test_follow_long_gap_that_cannot_be_filled_does_not_hold_up_the_present(world, start):
    here = world()
    here.follow(2)
    here.exchange.present.advance(here.exchange.present.now() + timedelta(hours=12))
    began = here.exchange.present.now()

    def is_old(request):
        return int(request.url.params.get("end", "99999999999")) < (began - timedelta(hours=6)).timestamp()

    here.line.is_cut = is_old
    stats = here.follow(2)
    assert max(stats.delays) < 5
    assert any("tried again with the next minute" in note for note in here.notes)
    here.line.is_cut = lambda _: False
    here.follow(2)
    here.assert_equals_truth(start, here.reached)


def test_follow_answer_that_never_comes_is_given_up(world, start, monkeypatch):
    monkeypatch.setattr("market.ingest.follower.FETCH_TIMEOUT_SECONDS", 0.05)
    here = world()
    here.line.is_slow = lambda request: "ETH-USD" in request.url.path and len(here.reports) < 2
    here.follow(4)
    here.assert_equals_truth(start, start + 4 * MINUTE)
    assert any("no answer within 0.05 s" in note for note in here.notes)
