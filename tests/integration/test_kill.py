"""kill -9 half-way, then the same command again: nothing lost, nothing doubled, only the missing work done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.candles import Page, Span
from core.settings import Paths
from market.exchange.simulated_market import simulated_market
from store.feature_store import FeatureStore
from store.reader import Reader
from tests.campaign.harness import kill_group, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAYS = 8
PAGES = DAYS * 1440 // 300 + 1


PRESENT = datetime(2025, 3, 1, tzinfo=UTC)


def test_backfill_killed_half_way_ends_equal_to_the_exchange(flows, exchange, tmp_path):
    runner = replace(flows, environ={**flows.environ, **exchange.environ, "PUBLIC_REQUESTS_PER_SECOND": "10"})
    began = exchange.requests()
    first = runner.start("backfill", products="BTC,ETH", days=DAYS)
    until(lambda: exchange.requests() - began > PAGES)
    kill_group(first)
    killed = exchange.requests() - began

    done = runner.run("backfill", products="BTC,ETH", days=DAYS)
    assert done.returncode == 0, done.stderr
    again = exchange.requests() - began - killed
    assert killed + again < 2 * PAGES + 2 * 28 + 40, "more was asked for again than the pages in flight"

    span = Span(exchange.present - timedelta(days=DAYS), exchange.present)
    with reader_of(tmp_path / "var") as reader:
        for product in ("BTC-USD", "ETH-USD"):
            truth = {candle.open_time: candle.close for candle in simulated_market("planted", product, 7).candles(span)}
            rows = reader.sql(f"select open_time, close from candles_1m where product = '{product}'")
            assert len(rows) == len(truth)
            assert {row["open_time"]: row["close"] for row in rows} == truth


def reader_of(home):
    return Reader(Paths(home))


def seeded_dataset(home):
    span = Span(PRESENT - timedelta(days=6), PRESENT)
    store = FeatureStore(home / "market.duckdb")
    store.migrate()
    for product in ("BTC-USD", "ETH-USD"):
        candles = simulated_market("planted", product, 7).candles(span)
        store.record_pages([Page(product, span, candles, PRESENT, "local:planted")])
    dataset = store.export_dataset(["BTC-USD", "ETH-USD"], span, home / "datasets", feature_set="seed39")
    store.close()
    return dataset


def test_training_killed_half_way_does_only_what_is_left(flows, tmp_path):
    home = tmp_path / "var"
    (home / "datasets").mkdir(parents=True)
    seeded_dataset(home)
    runner = replace(
        flows, environ={**flows.environ, "FEATURE_SET": "seed39", "TRAIN_PRESET": "demo", "TRAIN_WORKERS": "1"}
    )
    checkpoints = home / "models" / "checkpoints"

    def markers():
        return sorted(checkpoints.glob("*/candidate.json"))

    first = runner.start("train_all", products="BTC,ETH", epochs=2, transformer="false")
    until(markers, seconds=200)
    kill_group(first)
    survivors = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in markers()}
    assert len(survivors) == 1

    done = runner.run("train_all", products="BTC,ETH", epochs=2, transformer="false")
    assert done.returncode == 0, done.stderr
    assert len(markers()) == 2
    for path, (written, content) in survivors.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == (written, content), "a finished training was done again"
