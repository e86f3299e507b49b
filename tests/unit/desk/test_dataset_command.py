"""`desk dataset` as a person runs it, and the proof of a data set by `desk verify`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from core.candles import MINUTE, Page, Span
from core.errors import ConfigError, DatasetError
from core.settings import Paths
from desk import __main__ as command_line
from store.database import write_transaction
from store.feature_store import FeatureStore
from store.verification import prove_dataset

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + 900 * MINUTE)


@pytest.fixture
def desk():
    def run(*words):
        result = CliRunner().invoke(command_line.build("dataset"), ["dataset", *words], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def candles(walk):
    return walk("BTC-USD", SPAN.minutes, start=T0)


@pytest.fixture
def dataset(settings, candles, as_pages):
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    store.record_pages(as_pages(candles, SPAN))
    return store.export_dataset(["BTC-USD"], SPAN, settings.paths.datasets, feature_set="seed39")


def revise(settings, candle):
    told = Page(
        "BTC-USD",
        Span(candle.open_time, candle.open_time + MINUTE),
        (candle,),
        SPAN.end + timedelta(days=9),
        "synthetic",
    )
    assert FeatureStore(settings.paths.market_db).record_pages([told]).revised == 1


def test_rebuild_after_a_later_revision_gives_the_same_bytes(desk, settings, dataset, candles):
    before = Paths(settings.desk_home).datasets.joinpath(f"{dataset.digest[:16]}.parquet").read_bytes()
    revise(settings, type(candles[500])(*[*_values(candles[500])[:-1], candles[500].volume + 1]))
    shown = desk("rebuild", dataset.digest[:12])
    assert "the same bytes" in shown.output and "is there, and the same" in shown.output
    again = FeatureStore(settings.paths.market_db).export_dataset(
        ["BTC-USD"], SPAN, settings.paths.datasets, feature_set="seed39"
    )
    assert again.digest != dataset.digest, "the revision does change what is built today"
    assert settings.paths.datasets.joinpath(f"{dataset.digest[:16]}.parquet").read_bytes() == before


def _values(candle):
    return [getattr(candle, name) for name in ("product", "open_time", "open", "high", "low", "close", "volume")]


@pytest.mark.parametrize("spoil", ["gone", "one byte"])
def test_rebuild_puts_a_lost_or_spoiled_file_back(desk, settings, dataset, spoil):
    path = settings.paths.datasets / f"{dataset.digest[:16]}.parquet"
    whole = path.read_bytes()
    path.unlink()
    if spoil == "one byte":
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert not prove_dataset(dataset.digest, path)[0].holds
    assert "is there again" in desk("rebuild", dataset.digest).output
    assert path.read_bytes() == whole and prove_dataset(dataset.digest, path)[0].holds


def test_rebuild_does_not_make_an_old_one_the_latest(desk, settings, dataset):
    later = FeatureStore(settings.paths.market_db).export_dataset(
        ["BTC-USD"], Span(T0, SPAN.end - 10 * MINUTE), settings.paths.datasets, feature_set="seed39"
    )
    desk("rebuild", dataset.digest)
    assert FeatureStore(settings.paths.market_db).latest_dataset().digest == later.digest


def test_rebuild_of_a_store_that_lost_a_candle_says_so(desk, settings, dataset, candles):
    with write_transaction(settings.paths.market_db) as connection:
        connection.execute("delete from candles_1m where open_time = $1", [candles[600].open_time])
    with pytest.raises(DatasetError, match="came out as"):
        desk("rebuild", dataset.digest)


def test_rebuild_of_another_feature_sql_names_the_set(desk, settings, dataset):
    with write_transaction(settings.paths.market_db) as connection:
        connection.execute("update datasets set feature_hash = 'feed'")
    with pytest.raises(ConfigError, match="seed39"):
        desk("rebuild", dataset.digest)


@pytest.mark.parametrize("wrong", ["0000", ""])
def test_rebuild_of_an_unknown_hash_names_those_there_are(desk, dataset, wrong):
    with pytest.raises(DatasetError, match=rf"{dataset.digest[:16]}.*desk dataset list"):
        desk("rebuild", wrong)


def test_list_shows_what_is_there_and_what_is_missing(desk, settings, dataset):
    assert dataset.digest[:16] in desk("list").output
    (settings.paths.datasets / f"{dataset.digest[:16]}.parquet").unlink()
    assert "missing: desk dataset rebuild" in desk("list").output


def test_prove_dataset_names_a_manifest_of_another(settings, dataset):
    path = settings.paths.datasets / f"{dataset.digest[:16]}.parquet"
    path.with_suffix(".json").write_text(json.dumps({"digest": "feed"}))
    (proof,) = prove_dataset(dataset.digest, path)
    assert not proof.holds and proof.evidence == f"{path.stem}.json does not"
