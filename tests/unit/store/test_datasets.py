"""Data sets and raw exports: same order, same bytes; parts, purge and known-at cut."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from core.candles import HORIZON_MINUTES, MINUTE, Candle, Page, Span
from core.errors import DatasetError, StoreError
from store import month_cache as part_files
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.splits import Borders, walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.dataset_files import DatasetRef

T0 = datetime(2024, 3, 1, tzinfo=UTC)
MINUTES = 2_000
SPAN = Span(T0, T0 + MINUTES * MINUTE)
COINS = ["BTC-USD", "ETH-USD"]


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    """Two coins, 2,000 minutes, a tenth of them without a trade, a hole of 90 minutes in one."""
    path = tmp_path_factory.mktemp("filled") / "market.duckdb"
    store = FeatureStore(path)
    store.migrate()
    for product in COINS:
        candles = walk(product, MINUTES, start=T0, missing=0.1)
        if product == "ETH-USD":
            candles = [one for one in candles if not T0 + 900 * MINUTE <= one.open_time < T0 + 990 * MINUTE]
        store.record_pages(as_pages(candles, SPAN))
    return path


@pytest.fixture
def store(tmp_path: Path, filled: Path) -> FeatureStore:
    return FeatureStore(Path(shutil.copy(filled, tmp_path / "market.duckdb")))


@pytest.fixture(scope="module")
def exported(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetRef, pl.DataFrame, dict]:
    folder = tmp_path_factory.mktemp("home") / "datasets"
    reference = FeatureStore(filled).export_dataset(COINS, SPAN, folder, feature_set="seed39")
    manifest = json.loads(Path(reference.manifest_path).read_text(encoding="utf-8"))
    return reference, pl.read_parquet(reference.path), manifest


def test_export_dataset_same_order_gives_the_same_bytes(store: FeatureStore, tmp_path: Path) -> None:
    one, other = (store.export_dataset(COINS, SPAN, tmp_path / name, feature_set="seed39") for name in ("one", "other"))
    assert one.digest == other.digest
    assert Path(one.path).read_bytes() == Path(other.path).read_bytes()
    assert Path(one.manifest_path).read_bytes() == Path(other.manifest_path).read_bytes()
    assert Path(one.path).name == f"{one.digest[:16]}.parquet"


def test_export_dataset_rows_do_not_depend_on_how_it_is_cut(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the span crosses midnight into March, so that there are two parts a product
    early = Span(SPAN.start - timedelta(minutes=700), SPAN.end)
    whole = store.export_dataset(COINS, early, tmp_path / "whole", threads=1, feature_set="seed39")
    monkeypatch.setattr(part_files, "_CHUNK_MINUTES", 1)
    cut = store.export_dataset(COINS, early, tmp_path / "cut", threads=3, memory_mb=300, feature_set="seed39")
    assert Path(cut.path).read_bytes() == Path(whole.path).read_bytes()
    assert Path(cut.manifest_path).read_bytes() == Path(whole.manifest_path).read_bytes()


def test_export_dataset_is_catalogued_and_found_again(store: FeatureStore, tmp_path: Path) -> None:
    made = store.export_dataset(COINS, SPAN, tmp_path / "datasets", feature_set="seed39")
    assert store.latest_dataset() == made
    with store._reading() as connection:
        rows = connection.execute("select path, row_count from datasets").fetchall()
    assert rows == [(f"datasets/{made.digest[:16]}.parquet", pl.read_parquet(made.path).height)]


def test_dataset_columns_are_the_contract(exported: tuple[DatasetRef, pl.DataFrame, dict]) -> None:
    _, table, _ = exported
    head = ["product", "open_time", "minute", "close", "is_filled"]
    assert table.columns == [*head, *FEATURE_SETS["seed39"].columns, "direction_15m", "return_15m", "part"]
    kinds = [pl.String, pl.Datetime("us", "UTC"), pl.Int64, pl.Float64, pl.Boolean, *[pl.Float32] * 31]
    assert table.dtypes == [*kinds, pl.Int8, pl.Float64, pl.String]
    assert table.equals(table.sort("product", "minute"))


def test_dataset_minutes_break_only_where_a_segment_ends(exported: tuple[DatasetRef, pl.DataFrame, dict]) -> None:
    _, table, _ = exported
    steps = {
        product: np.diff(rows["minute"].to_numpy())
        for (product,), rows in table.group_by("product", maintain_order=True)
    }
    assert (steps["BTC-USD"] == 1).all()
    (broken,) = steps["ETH-USD"][steps["ETH-USD"] != 1]
    assert broken >= 90 + FEATURE_SETS["seed39"].warm_up_minutes


def test_dataset_labels_match_the_candles(
    exported: tuple[DatasetRef, pl.DataFrame, dict], walk: Callable[..., list[Candle]]
) -> None:
    _, table, _ = exported
    close = {int(one.open_time.timestamp()) // 60: one.close for one in walk("BTC-USD", MINUTES, start=T0, missing=0.1)}
    for row in table.filter(pl.col("product") == "BTC-USD").iter_rows(named=True):
        now, later = close.get(row["minute"]), close.get(row["minute"] + HORIZON_MINUTES)
        if now is None or later is None:
            assert row["direction_15m"] is None
        else:
            assert row["direction_15m"] == (later > now)
            assert row["return_15m"] == pytest.approx(float((later - now) / now), rel=1e-12, abs=1e-15)


def test_dataset_parts_follow_time_and_are_purged(exported: tuple[DatasetRef, pl.DataFrame, dict]) -> None:
    _, table, manifest = exported
    borders = [
        int(datetime.fromisoformat(manifest["borders"][name]).timestamp()) // 60
        for name in ("early_stop", "calibration", "test")
    ]
    names = ["train", "early_stop", "calibration", "test"]
    for number, part in enumerate(names):
        rows = table.filter(pl.col("part") == part)
        assert rows.height > 0
        assert rows["direction_15m"].null_count() == 0
        if number:
            assert rows["minute"].min() >= borders[number - 1]
        if number < 3:
            # the label of the last row lies before the next part begins
            assert rows["minute"].max() + HORIZON_MINUTES < borders[number]
    first, end = table["minute"].min(), table["minute"].max() + 1
    assert [round((border - first) / (end - first), 2) for border in borders] == [0.7, 0.78, 0.85]


def test_dataset_manifest_says_what_is_in_the_file(exported: tuple[DatasetRef, pl.DataFrame, dict]) -> None:
    reference, table, manifest = exported
    chosen = FEATURE_SETS["seed39"]
    assert manifest["digest"] == reference.digest
    assert manifest["feature_set"]["sha256"] == chosen.sha256
    assert manifest["feature_set"]["columns"] == list(chosen.columns)
    assert manifest["sources"] == ["synthetic"]
    assert sum(sum(parts.values()) for parts in manifest["rows"].values()) == table.height
    for product, parts in manifest["rows"].items():
        rows = table.filter(pl.col("product") == product)
        for part, count in parts.items():
            here = rows["part"].is_null() if part == "none" else rows["part"] == part
            assert here.sum() == count


def test_export_dataset_known_at_cut_rebuilds_a_past_one(store: FeatureStore, tmp_path: Path) -> None:
    before = store.export_dataset(COINS, SPAN, tmp_path / "before", feature_set="seed39")
    cut = datetime.fromisoformat(json.loads(Path(before.manifest_path).read_text(encoding="utf-8"))["known_at_cut"])
    changed = Candle("BTC-USD", T0 + 1_500 * MINUTE, *(Decimal(100),) * 4, Decimal(1))
    earlier = Span(T0 - 300 * MINUTE, T0)
    history = [replace(changed, open_time=earlier.start + number * MINUTE) for number in range(300)]
    learned = cut + timedelta(hours=1)
    store.record_pages(
        [
            Page("BTC-USD", Span(changed.open_time, changed.open_time + MINUTE), (changed,), learned, "synthetic"),
            Page("BTC-USD", earlier, tuple(history), learned, "synthetic"),
        ]
    )
    assert store.export_dataset(COINS, SPAN, tmp_path / "after", feature_set="seed39").digest != before.digest
    assert (
        store.export_dataset(COINS, SPAN, tmp_path / "again", known_at_cut=cut, feature_set="seed39").digest
        == before.digest
    )


def test_export_dataset_short_history_says_how_much_is_needed(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="289 minutes"):
        store.export_dataset(COINS, Span(T0, T0 + 200 * MINUTE), tmp_path, feature_set="seed39")
    with pytest.raises(DatasetError, match="make backfill"):
        store.export_dataset(["SOL-USD"], SPAN, tmp_path, feature_set="seed39")


def test_export_dataset_of_an_in_memory_store_equals_that_of_a_file(
    store: FeatureStore, tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    with FeatureStore.in_memory() as memory:
        memory.record_pages(as_pages(walk("BTC-USD", MINUTES, start=T0, missing=0.1), SPAN))
        in_memory = memory.export_dataset(["BTC-USD"], SPAN, tmp_path / "memory", feature_set="seed39")
    assert in_memory.digest == store.export_dataset(["BTC-USD"], SPAN, tmp_path / "file", feature_set="seed39").digest


def test_export_raw_name_never_changes_its_content(store: FeatureStore, tmp_path: Path) -> None:
    path = store.export_raw("BTC-USD", SPAN, tmp_path)
    manifest = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert path.name == "BTC-USD_1m_2024-03-01_2024-03-02.parquet"
    assert pl.read_parquet(path).height == manifest["rows"] == MINUTES - manifest["missing"]
    assert store.export_raw("BTC-USD", SPAN, tmp_path) == path
    path.write_bytes(path.read_bytes() + b" ")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="another content"):
        store.export_raw("BTC-USD", SPAN, tmp_path)
    assert path.read_bytes() == content


def test_borders_and_folds_cut_by_time() -> None:
    assert Borders.over(1_000, 2_000) == Borders(1_700, 1_775, 1_850)
    folds = walk_forward(0, 1_000, folds=5)
    assert [(fold.train_end, fold.test_start, fold.test_end) for fold in folds][:2] == [
        (485, 500, 600),
        (585, 600, 700),
    ]
    assert folds[-1].test_end == 1_000
