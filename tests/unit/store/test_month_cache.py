"""Feature parts: what is kept between two data sets, when it is used and when it is made anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle, Page, Span
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.month_cache import Order, Parts, Scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.dataset_files import DatasetRef

START = datetime(2024, 2, 28, tzinfo=UTC)
FEBRUARY_ENDS = datetime(2024, 3, 1, tzinfo=UTC)
END = datetime(2024, 3, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def filled(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    """Two days of February and two of March."""
    made = FeatureStore(tmp_path_factory.mktemp("filled") / "market.duckdb")
    made.migrate()
    made.record_pages(as_pages(walk("BTC-USD", 4 * 1440, start=START, missing=0.05), Span(START, END)))
    return made._file()


@pytest.fixture
def store(tmp_path: Path, filled: Path) -> FeatureStore:
    return FeatureStore(Path(shutil.copy(filled, tmp_path / "market.duckdb")))


def built(store: FeatureStore, folder: Path, end: datetime = END, **more: object) -> DatasetRef:
    return store.export_dataset(["BTC-USD"], Span(START, end), folder, feature_set="seed39", **more)  # type: ignore[arg-type]


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "parts" / "seed39" / "BTC-USD").iterdir()}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Span]:
    """The spans that were computed, in the order they came."""
    spans: list[Span] = []
    rows = Scratch.rows

    def noted(scratch: Scratch, product: str, span: Span) -> object:
        spans.append(span)
        return rows(scratch, product, span)

    monkeypatch.setattr(Scratch, "rows", noted)
    return spans


def test_export_dataset_has_the_same_bytes_with_and_without_parts(
    store: FeatureStore, tmp_path: Path, computed: list[Span]
) -> None:
    fresh = built(store, tmp_path / "a")
    assert computed == [Span(START, END)]
    again = built(store, tmp_path / "a")
    assert computed == [Span(START, END)], "nothing new was computed"
    for name in parts(tmp_path / "a"):
        (tmp_path / "a" / "parts" / "seed39" / "BTC-USD" / name).unlink()
    without = built(store, tmp_path / "a")
    assert len(computed) == 2
    elsewhere = built(store, tmp_path / "b")
    assert Path(fresh.path).read_bytes() == Path(elsewhere.path).read_bytes()
    assert fresh.digest == again.digest == without.digest == elsewhere.digest


def test_export_dataset_one_more_day_computes_the_last_month_alone(
    store: FeatureStore, tmp_path: Path, computed: list[Span]
) -> None:
    built(store, tmp_path / "grown", END - DAY)
    computed.clear()
    grown = built(store, tmp_path / "grown")
    assert computed == [Span(FEBRUARY_ENDS, END)]
    assert grown.digest == built(store, tmp_path / "fresh").digest


def test_export_dataset_first_day_of_a_month_also_completes_the_labels_before_it(
    store: FeatureStore, tmp_path: Path, computed: list[Span]
) -> None:
    built(store, tmp_path / "grown", FEBRUARY_ENDS)
    computed.clear()
    grown = built(store, tmp_path / "grown", FEBRUARY_ENDS + DAY)
    assert computed == [Span(START, FEBRUARY_ENDS + DAY)]
    assert grown.digest == built(store, tmp_path / "fresh", FEBRUARY_ENDS + DAY).digest


@pytest.mark.parametrize(
    ("minutes_into_march", "expected"),
    [
        (2000, [Span(FEBRUARY_ENDS, END)]),
        # within reach of February's last labels
        (10, [Span(START, END)]),
    ],
)
def test_export_dataset_late_revision_computes_what_it_reaches(
    store: FeatureStore, tmp_path: Path, computed: list[Span], minutes_into_march: int, expected: list[Span]
) -> None:
    before = built(store, tmp_path / "a")
    known_at_cut = datetime.fromisoformat(json.loads(Path(before.manifest_path).read_text())["known_at_cut"])
    moment = FEBRUARY_ENDS + minutes_into_march * MINUTE
    late = Candle("BTC-USD", moment, *(Decimal(77),) * 4, Decimal(9))
    learned = known_at_cut + timedelta(hours=1)
    store.record_pages([Page("BTC-USD", Span(moment, moment + MINUTE), (late,), learned, "synthetic")])
    computed.clear()
    after = built(store, tmp_path / "a")
    assert computed == expected
    assert after.digest != before.digest
    assert after.digest == built(store, tmp_path / "fresh").digest
    assert built(store, tmp_path / "a", known_at_cut=known_at_cut).digest == before.digest


def test_export_dataset_computes_damaged_parts_again(store: FeatureStore, tmp_path: Path, computed: list[Span]) -> None:
    good = built(store, tmp_path / "a")
    whole = parts(tmp_path / "a")
    folder = tmp_path / "a" / "parts" / "seed39" / "BTC-USD"
    first, second = sorted(whole)
    (folder / first).write_bytes(whole[first][:1000])
    middle = len(whole[second]) // 2
    (folder / second).write_bytes(whole[second][:middle] + b"\xff\x00\xff\x00" + whole[second][middle + 4 :])
    computed.clear()
    assert built(store, tmp_path / "a").digest == good.digest
    assert len(computed) == 2
    assert parts(tmp_path / "a") == whole


def test_export_dataset_keeps_only_the_newest_part_of_a_month(store: FeatureStore, tmp_path: Path) -> None:
    built(store, tmp_path / "a", END - DAY)
    before = set(parts(tmp_path / "a"))
    built(store, tmp_path / "a")
    after = set(parts(tmp_path / "a"))
    assert len(before) == len(after) == 2
    assert len(before & after) == 1


def test_parts_are_named_by_the_sql_and_the_span_and_the_candles(store: FeatureStore, tmp_path: Path) -> None:
    seed39 = FEATURE_SETS["seed39"]
    order = Order(("BTC-USD",), Span(START, END), seed39, END + DAY * 9, store.copy_candles, store.candle_fingerprints)
    fewer = replace(seed39, columns=seed39.columns[:-1])
    orders = {
        "same": order,
        "columns": replace(order, features=fewer),
        "span": replace(order, span=Span(START + MINUTE, END)),
        "cut": replace(order, cut=START),
    }
    first = {name: Parts(one, tmp_path).parts["BTC-USD"][0].path.name for name, one in orders.items()}
    assert first["same"] == Parts(order, tmp_path).parts["BTC-USD"][0].path.name
    assert len(set(first.values())) == len(first)


def test_parts_of_a_set_that_crosses_products_depend_on_the_others(
    store: FeatureStore, tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> None:
    crossing = replace(FEATURE_SETS["seed39"], crosses_products=True)
    order = Order(
        ("BTC-USD", "ETH-USD"), Span(START, END), crossing, END + DAY * 9, store.copy_candles, store.candle_fingerprints
    )
    before = [part.path.name for part in Parts(order, tmp_path).parts["BTC-USD"]]
    store.record_pages(as_pages(walk("ETH-USD", 1440, start=FEBRUARY_ENDS + DAY), Span(FEBRUARY_ENDS + DAY, END)))
    after = [part.path.name for part in Parts(order, tmp_path).parts["BTC-USD"]]
    assert before[0] == after[0]
    assert before[1] != after[1]
