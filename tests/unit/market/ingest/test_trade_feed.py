"""Following the market by its trades: built minutes are stored at once and replaced by the exchange's own."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.candles import MINUTE, Span
from market.ingest.followed_product import Coin
from market.ingest.trade_feed import TradeFeed
from market.providers.minute_builder import Trade
from market.providers.trade_stream import Batch, Lost, Opened


def sources(here):
    rows = here.rows("select source, count(*) as n from candles_1m group by source order by source")
    return {row["source"]: row["n"] for row in rows}


def once(change):
    """Return a spoiler that does ``change(events)`` when it first can: ``change`` returns None as long as it cannot."""
    done = []

    def spoil(events):
        changed = None if done else change(events)
        if changed is None:
            return events
        done.append(1)
        return changed

    return spoil


def in_minute(minute):
    """Return a change of the batch that holds most trades of BTC-USD in ``minute``."""

    def find(change):
        def maybe(events):
            batch, beat = events
            mine = [one for one in batch.trades if one.product == "BTC-USD" and minute <= one.time < minute + MINUTE]
            return [replace(batch, trades=tuple(change(batch.trades, mine))), beat] if len(mine) > 4 else None

        return maybe

    return find


def test_follow_trades_stores_built_minutes_and_the_exchange_confirms_them(world, start):
    here = world()
    tally = here.follow(8, trades=True)
    here.assert_equals_truth(start, start + 8 * MINUTE)
    # the first minute closed before the connection was made, in the second it was made
    assert sources(here) == {"local:planted": 4, "local:planted:trades": 12}
    assert (tally.built, tally.confirmed, tally.differed, tally.revised) == (12, 8, 0, 0)
    assert all(2.0 <= delay < 5 for delay in tally.delays)
    settled = Span(start, start + 6 * MINUTE)
    assert here.store.unconfirmed_windows("BTC-USD", settled) == []
    assert here.store.unconfirmed_windows("BTC-USD", Span(start, here.reached)) == [Span(settled.end, here.reached)]


def test_follow_trades_lost_message_drops_the_minute_in_hand_for_rest(world, start):
    here, hit = world(), start + 4 * MINUTE

    def lose(events):
        batch, beat = events
        return [Lost(batch.at, 1), beat] if hit <= batch.at - MINUTE < hit + MINUTE else None

    here.stream.spoil = once(lose)
    here.follow(9, trades=True)
    here.assert_equals_truth(start, start + 9 * MINUTE)
    assert any("not built from trades: the connection did not see all of it" in note for note in here.notes)
    assert here.rows("select * from candle_revisions") == []


def test_follow_trades_lost_trade_is_seen_by_its_number(world, start):
    here, hit = world(), start + 4 * MINUTE
    here.stream.spoil = once(in_minute(hit)(lambda trades, mine: [one for one in trades if one != mine[2]]))
    tally = here.follow(8, trades=True)
    here.assert_equals_truth(start, start + 8 * MINUTE)
    assert any("did not come" in note for note in here.notes)
    assert tally.revised == 0, "a minute that lacks a trade is not stored"


def test_follow_trades_late_trade_makes_a_revision_that_is_listed(world, start):
    here, hit = world(), start + 4 * MINUTE
    held, late = [], []

    def delay(events):
        batch, beat = events
        trades = list(batch.trades)
        mine = [one for one in trades if one.product == "BTC-USD" and hit <= one.time < hit + MINUTE]
        if len(mine) > 4:
            # the minute's last trade and all after it: what follows comes with the next batch, it itself minutes later
            late.append(mine[-1])
            held.extend(one for one in trades if one.product == "BTC-USD" and one.trade_id > mine[-1].trade_id)
            trades = [one for one in trades if one not in held and one not in late]
        elif held:
            trades += held
            held.clear()
        elif late and late[0].time < batch.at - 2 * MINUTE:
            trades += late
            late.clear()
        return [replace(batch, trades=tuple(trades)), beat]

    here.stream.spoil = delay
    tally = here.follow(10, trades=True)
    here.assert_equals_truth(start, start + 10 * MINUTE)
    listed = [note for note in here.notes if "revised by the exchange's candle" in note]
    revisions = here.rows("select open_time, source, volume from candle_revisions")
    assert len(listed) == len(revisions) == tally.revised == tally.differed == 1
    assert revisions[0]["source"] == "local:planted:trades"
    assert revisions[0]["open_time"].astimezone(UTC) == hit
    assert "volume" in listed[0]
    assert any("was built without a trade" in note for note in here.notes)
    assert here.rows("select source from candles_1m where open_time = $hit and product = 'BTC-USD'", hit=hit) == [
        {"source": "local:planted"}
    ]


@pytest.mark.parametrize("change", [lambda batch: batch[::-1], lambda batch: (*batch, *batch[:5])])
def test_follow_trades_disorder_and_duplicates_change_nothing(world, start, change):
    here = world()
    here.stream.spoil = lambda events: [replace(events[0], trades=change(events[0].trades)), events[1]]
    tally = here.follow(6, trades=True)
    here.assert_equals_truth(start, start + 6 * MINUTE)
    assert (tally.built, tally.revised) == (8, 0)


def test_follow_trades_without_a_connection_rest_does_it_all(world, start):
    here = world()
    here.stream.trouble = "no route"
    here.stream.spoil = lambda _: []
    tally = here.follow(5, trades=True)
    here.assert_equals_truth(start, start + 5 * MINUTE)
    assert tally.built == 0 and max(tally.delays) < 5


def test_follow_trades_go_on_through_an_outage_of_rest(world, start):
    here = world()
    away = (start + 4 * MINUTE, start + 9 * MINUTE)
    here.line.is_cut = lambda _: away[0] < here.exchange.present.now() < away[1]
    tally = here.follow(13, trades=True)
    here.assert_equals_truth(start, start + 13 * MINUTE)
    assert max(tally.delays) < 5, "no minute waited for REST"
    assert tally.differed == 0 and tally.confirmed > 15


def test_follow_trades_not_confirmed_before_the_end_are_confirmed_by_the_next_session(world, start):
    here = world()
    here.line.is_cut = lambda request: (
        "candles" in request.url.path and here.exchange.present.now() > start + 4 * MINUTE
    )
    here.follow(9, trades=True)
    left = here.store.unconfirmed_windows("BTC-USD", Span(start, here.reached))
    assert left, "a killed session leaves minutes that only trades vouch for"
    here.line.is_cut = lambda _: False
    here.exchange.present.advance(here.exchange.present.now() + timedelta(hours=8))
    here.follow(2)
    here.assert_equals_truth(start, here.reached)
    assert here.store.unconfirmed_windows("BTC-USD", Span(start, here.reached)) == []


def test_follow_trades_unsettled_rest_row_does_not_replace_a_whole_minute(world, start):
    here = world(settles_after_seconds=100.0)
    tally = here.follow(8, trades=True)
    stored, truth = here.stored(), here.truth(start, start + 8 * MINUTE)
    built = {key for key in truth if key[1] >= start + 2 * MINUTE}
    assert all(stored[key]["volume"] == truth[key].volume for key in built)
    assert tally.differed == 0
    revised = here.rows("select distinct open_time from candle_revisions")
    assert {row["open_time"].astimezone(UTC) for row in revised} <= {start, start + MINUTE}


def test_follow_trades_product_that_is_not_offered_is_left_out_of_the_stream(world, start):
    here = world()
    here.follow(4, trades=True, products=("BTC-USD", "BNB-USD"))
    assert here.stream.left_out == ["BNB-USD"]
    here.assert_equals_truth(start, start + 4 * MINUTE, ["BTC-USD"])


T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def trade(number, product="BTC-USD"):
    return Trade(product, number, Decimal(7), Decimal(1), T0 + timedelta(minutes=1, seconds=number))


class Nothing:
    trouble = ""

    def leave_out(self, product):
        """Nothing was asked for."""

    async def events(self):
        yield


def test_feed_gives_a_usdc_product_the_trades_of_its_usd_book():
    feed = TradeFeed(Nothing(), ["BTC-USDC", "BTC-USD", "ETH-USD"])
    feed.take(Opened(T0, "planted"))
    feed.take(Batch(T0 + 3 * MINUTE, (trade(1), trade(2), trade(1, "SOL-USD"))))
    coins = [Coin(name, T0) for name in ("BTC-USDC", "BTC-USD", "ETH-USD")]
    built = [closing.candles for closing in feed.close(coins, T0 + 2 * MINUTE)]
    assert [[candle.product for candle in candles] for candles in built] == [["BTC-USDC"], ["BTC-USD"], []]
    page = feed.page(coins[0], built[0][0], T0 + 3 * MINUTE, "coinbase")
    assert (page.product, page.source, page.window) == (
        "BTC-USDC",
        "local:planted:trades",
        Span(T0 + MINUTE, T0 + 2 * MINUTE),
    )


def test_feed_names_the_real_exchange_as_such():
    feed = TradeFeed(Nothing(), ["BTC-USD"])
    feed.take(Opened(T0, ""))
    feed.take(Batch(T0 + 3 * MINUTE, (trade(1),)))
    coin = Coin("BTC-USD", T0)
    (closing,) = feed.close([coin], T0 + 2 * MINUTE)
    assert feed.page(coin, closing.candles[0], T0 + 3 * MINUTE, "coinbase").source == "coinbase:trades"
