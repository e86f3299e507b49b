"""Kill the backfill at every named place while the exchange misbehaves; and see that the oracle can tell."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import backfill
from core.candles import MINUTE, Candle, Page, Span
from core.errors import StoreBusyError
from core.failpoints import PLACES
from market.exchange.faults import KINDS
from market.exchange.simulated_market import simulated_market
from store.database import write_lock, write_transaction
from store.feature_store import FeatureStore
from tests.campaign import __main__ as campaign_command
from tests.campaign.fault_campaign import Campaign, exchange_for
from tests.campaign.fault_oracle import Differences, Truth, Untrue, exported, judge
from tests.campaign.fault_plan import (
    EXPORT_PLACES,
    FIRST_PLACE,
    LATE,
    LISTED_AT,
    REGISTRY_PLACES,
    Death,
    deaths,
    scene,
)
from tests.campaign.harness import until

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2024, 1, 10, tzinfo=UTC)
SPAN = Span(START, START + timedelta(hours=20))
LATER = datetime(2024, 3, 1, tzinfo=UTC)


CAMPAIGN_PLACES = set(PLACES) - set(REGISTRY_PLACES)


def not_yet(counts):
    """Yield a full disk twice, and deaths until somebody has died at each place but those of an export."""
    places = [place for place in PLACES if place in CAMPAIGN_PLACES and place not in EXPORT_PLACES]
    while not counts.kills[FIRST_PLACE]:
        yield Death(FIRST_PLACE)
    yield Death("write.before_commit", 2, action="full")
    yield Death("publish.before_rename", action="full")
    while left := [place for place in places if not counts.kills[place]]:
        yield from map(Death, left)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_backfill_killed_at_every_place_under_faults_ends_equal_to_the_truth(tmp_path):
    with exchange_for(tmp_path) as (exchange, key):
        campaign = Campaign(5, tmp_path, exchange, key, days=(5, 6))
        campaign.episode(0, 3 * len(PLACES), plan=not_yet(campaign.counts))
    counts = campaign.counts
    assert counts.findings == []
    assert set(counts.kills) >= CAMPAIGN_PLACES, f"nobody died at {CAMPAIGN_PLACES - set(counts.kills)}"
    assert counts.ends["refused"], "no disk was full"
    assert counts.differences == Differences() and counts.minutes > 10_000
    assert counts.acknowledged > 30 and counts.reads > 10
    assert len(counts.faults) >= 8, "the exchange behaved too well to prove anything"
    assert set(counts.faults) <= set(KINDS)


def test_campaign_is_decided_by_its_seed():
    for number in range(20):
        assert scene(1, number) == scene(1, number)
        assert list(islice(deaths(1, number), 50)) == list(islice(deaths(1, number), 50))
    assert scene(1, 0) != scene(2, 0) and scene(1, 0) != scene(1, 1)
    assert list(islice(deaths(1, 0), 9)) != list(islice(deaths(2, 0), 9))


def test_campaign_comes_to_every_place_and_to_a_listing():
    seen = {death.place for number in range(20) for death in islice(deaths(1, number), 25)} | set(EXPORT_PLACES)
    assert seen >= CAMPAIGN_PLACES
    late = [one for one in (scene(1, number) for number in range(20)) if LATE in one.products]
    assert 5 <= len(late) < 20 and all(one.span.start < LISTED_AT < one.span.end for one in late)


@pytest.fixture
def truth():
    return Truth.of("null", "BTC-USD", SPAN)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "market.duckdb"
    FeatureStore(path).migrate()
    return path


@pytest.fixture
def filled(tmp_path, empty_database):
    """Return a function that makes a store of the market's candles, changed on their way."""

    def fill(change=lambda candles: candles):
        store = FeatureStore(shutil.copy(empty_database, tmp_path / "market.duckdb"))
        candles = change(simulated_market("null", "BTC-USD").candles(SPAN))
        pages = [
            Page(
                "BTC-USD", window, tuple(one for one in candles if one.open_time in times(window)), LATER, "local:null"
            )
            for window in SPAN.pages(300)
        ]
        store.record_pages(pages)
        return store

    return fill


def times(span):
    return {span.start + number * MINUTE for number in range(span.minutes)}


def test_oracle_finds_nothing_in_an_equal_store(filled, truth):
    assert judge(filled(), truth, acknowledged=[SPAN], whole=True) == Differences()


def test_oracle_counts_a_lost_minute_unless_a_fault_hid_it(filled, truth):
    store = filled(lambda candles: [*candles[:7], *candles[8:]])
    assert judge(store, truth, whole=True) == Differences(lost=1)
    assert judge(store, truth, Untrue({}, {"BTC-USD": {int(truth.minute_N[7])}}), whole=True) == Differences()
    assert judge(store, truth, Untrue({}, {"BTC-USD": {int(truth.minute_N[8])}}), whole=True) == Differences(lost=1)


def test_oracle_counts_a_different_minute_unless_a_fault_told_it(filled, truth):
    def change(candles):
        one = candles[9]
        return [
            *candles[:9],
            Candle(*(one.product, one.open_time, one.open, one.high, one.low, one.close), one.volume * 2),
        ]

    store = filled(lambda candles: [*change(candles), *candles[10:]])
    assert judge(store, truth, whole=True) == Differences(different=1)
    assert judge(store, truth, Untrue({"BTC-USD": {int(truth.minute_N[9])}}, {}), whole=True) == Differences()


def test_oracle_counts_doubled_and_invented_minutes(filled, truth):
    store = filled()
    columns = "product, {}, open, high, low, close, volume, source, known_at"
    with write_transaction(store.path) as connection:
        connection.execute("insert into candles_1m by name select * from candles_1m order by open_time limit 2")
    assert judge(store, truth, whole=True) == Differences(doubled=2)
    with write_transaction(store.path) as connection:
        moved = columns.format("open_time + interval 2 day as open_time")
        connection.execute(
            f"insert into candles_1m by name select {moved} from candles_1m order by open_time desc limit 3"
        )
    assert judge(store, truth, whole=True) == Differences(doubled=2, invented=3)


def test_oracle_counts_minutes_never_asked_and_an_acknowledgement_without_them(filled, truth):
    store, longer = filled(), Span(SPAN.start, SPAN.end + 60 * MINUTE)
    more = Truth.of("null", "BTC-USD", longer)
    assert judge(store, more, whole=False) == Differences()
    assert judge(store, more, whole=True) == Differences(unasked=60)
    assert judge(store, more, acknowledged=[Span(SPAN.end, SPAN.end + 5 * MINUTE)], whole=False) == Differences(
        unacknowledged=5
    )


def test_oracle_reads_an_export_to_the_last_digit(filled, truth, tmp_path):
    file = filled().export_raw("BTC-USD", SPAN, tmp_path / "raw")
    minute_N, value_NK = exported(file)
    assert truth.equals(minute_N, value_NK)
    value_NK[5, 4] += 1
    assert not truth.equals(minute_N, value_NK)


def test_publish_killed_while_cp_reads_keeps_writers_out_until_cp_is_done(filled, tmp_path):
    store, copy = filled(), tmp_path / "market_read.duckdb"
    began, tools = tmp_path / "began", tmp_path / "tools"
    tools.mkdir()
    (tools / "cp").write_text(f'#!/bin/sh\ntouch {began}\nsleep 1\nexec /bin/cp "$@"\n', encoding="utf-8")
    (tools / "cp").chmod(0o755)
    program = f"from pathlib import Path; from store.feature_store import FeatureStore as F; F(Path({str(store.path)!r})).publish(Path({str(copy)!r}))"
    publisher = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    )
    until(began.exists, seconds=30)
    publisher.send_signal(signal.SIGKILL)
    publisher.wait()
    with pytest.raises(StoreBusyError), write_lock(store.path, timeout_seconds=0.1):
        pass
    with write_lock(store.path, timeout_seconds=20):
        assert not copy.exists(), "a copy nobody finished must not be published"
    assert store.publish(copy).exists()


@pytest.mark.parametrize("benchmark", [backfill, campaign_command])
def test_benchmark_tells_its_options(benchmark, capsys):
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["--help"])
    assert ended.value.code == 0 and "--" in capsys.readouterr().out
