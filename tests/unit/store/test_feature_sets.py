"""Feature sets are data: a third one is a SQL file and a list; stale and unknown ones are refused by name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from core.candles import MINUTE, Span
from core.errors import ConfigError, ModelMismatchError
from core.settings import load_settings
from models.registry import Registry
from runtime.loaded_models import load_models
from store.feature_sets import FEATURE_SETS, SQL_ROOT, FeatureSet, feature_set, recorded_set
from store.feature_store import FeatureStore
from store.sql_files import parse_header
from tests.judged_models import write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.candles import Candle, Page
    from core.settings import Settings

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + 400 * MINUTE)

THIRD = """-- third: how the close stands to the one two minutes before, and whether it rose.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 1 minute
-- causal    lags only
-- warm-up   2 minutes
--
-- product             exchange product id
-- open_time           UTC start of the minute
-- minute              the same as whole minutes since 1970
-- close               last trade price, quote currency
-- is_filled           whether nobody traded in this minute
-- ratio_2             close over the close two minutes before
-- is_higher           1 where it is higher, else 0
create or replace view third as
select
    product,
    open_time,
    minute,
    close,
    is_filled,
    cast(close as double) / cast(lag(close, 2) over (partition by product order by minute) as double) as ratio_2,
    cast(close > lag(close, 2) over (partition by product order by minute) as integer) as is_higher
from candles_dense
qualify minute_of_segment >= 2;
"""


@pytest.fixture
def third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureSet:
    """One SQL file, one list."""
    folder = tmp_path / "sql"
    folder.mkdir()
    (folder / "third.sql").write_text(THIRD, encoding="utf-8")
    made = FeatureSet("third", 1, "third", ("ratio_2", "is_higher"), folder=folder)
    monkeypatch.setitem(FEATURE_SETS, "third", made)  # type: ignore[arg-type]
    return made


@pytest.fixture
def store(tmp_path: Path, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]) -> FeatureStore:
    made = FeatureStore(tmp_path / "market.duckdb")
    made.migrate()
    for coin in ("BTC-USD", "ETH-USD"):
        made.record_pages(as_pages(walk(coin, 400, start=T0), SPAN))
    return made


def test_third_set_has_its_warm_up_history_and_hash_from_its_file(third: FeatureSet) -> None:
    assert feature_set("third") is third
    assert (third.warm_up_minutes, third.history_minutes) == (2, 63)
    assert third.views[-1] == "third"
    assert len({FEATURE_SETS[name].sha256 for name in FEATURE_SETS}) == len(FEATURE_SETS)


def test_third_set_gives_blocks_in_memory_and_from_a_file(
    third: FeatureSet, store: FeatureStore, walk: Callable[..., list[Candle]]
) -> None:
    of_file = store.feature_block("ETH-USD", SPAN.start, SPAN.end, "third")
    with FeatureStore.in_memory() as memory:
        memory.upsert_candles(walk("ETH-USD", 400, start=T0))
        of_memory = memory.feature_block("ETH-USD", SPAN.start, SPAN.end, "third")
    closes = of_file.close_N
    assert of_file.x_NF.shape == (398, len(third.columns))
    np.testing.assert_allclose(of_file.x_NF[2:, 0], closes[2:] / closes[:-2], rtol=1e-6)
    np.testing.assert_array_equal(of_file.x_NF[2:, 1], closes[2:] > closes[:-2])
    assert of_file.x_NF.tobytes() == of_memory.x_NF.tobytes()


def test_third_set_gives_a_data_set_that_names_it(third: FeatureSet, store: FeatureStore, tmp_path: Path) -> None:
    made = store.export_dataset(["BTC-USD", "ETH-USD"], SPAN, tmp_path / "datasets", feature_set="third")
    manifest = json.loads(Path(made.manifest_path).read_text(encoding="utf-8"))["feature_set"]
    assert (manifest["name"], manifest["sha256"]) == ("third", third.sha256)
    assert manifest["columns"] == ["ratio_2", "is_higher"]
    assert pl.read_parquet(made.path).select(third.columns).null_count().sum_horizontal().item() == 0
    assert recorded_set("third", manifest["sha256"], "third") is third


def promote(settings: Settings, chosen: FeatureSet, market: list[str] | None = None) -> None:
    """Promote a graph that says 0.5 plus a little, with a passport as training on ``chosen`` would leave it."""
    folder = settings.paths.checkpoints / f"lstm-{chosen.name}"
    folder.mkdir(parents=True)
    shape = ["batch", 60, len(chosen.columns)]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("Sigmoid", ["mean"], ["probability"]),
        ],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    write_model(
        folder,
        f"lstm-{chosen.name}",
        inputs=list(chosen.columns),
        feature_set=chosen.name,
        feature_hash=chosen.sha256,
        opset=17,
        market=market,
    )
    Registry(settings.paths.registry).promote(folder, ["lstm:BTC-USD"], why="test")


def test_model_of_another_set_is_refused(third: FeatureSet, settings: Settings) -> None:
    promote(settings, third)
    wanted = load_settings(desk_home=settings.desk_home, feature_set="third")
    assert load_models(wanted, ["BTC-USD"])["BTC-USD"].model_ids == {"lstm": "lstm-third"}
    with pytest.raises(
        ModelMismatchError,
        match="lstm-third was trained on feature set third, FEATURE_SET is flow; set FEATURE_SET=third",
    ):
        load_models(settings, ["BTC-USD"])


def test_model_of_the_same_list_but_other_sql_is_refused(third: FeatureSet, settings: Settings) -> None:
    promote(settings, third)
    wanted = load_settings(desk_home=settings.desk_home, feature_set="third")
    assert third.folder is not None
    (third.folder / "third.sql").write_text(THIRD.replace("lag(close, 2)", "lag(close, 1)"), encoding="utf-8")
    FEATURE_SETS["third"] = replace(third)  # type: ignore[index]
    with pytest.raises(
        ModelMismatchError, match=f"lstm-third was trained on feature set third with hash {third.sha256[:12]}"
    ):
        load_models(wanted, ["BTC-USD"])


def test_model_of_a_crossing_set_is_refused_in_another_market(settings: Settings) -> None:
    promote(settings, feature_set("flow"), ["BTC-USD", "ETH-USD"])
    wanted = load_settings(desk_home=settings.desk_home, feature_set="flow")
    assert load_models(wanted, ["ETH-USD", "BTC-USD"])["BTC-USD"].model_ids == {"lstm": "lstm-flow"}
    for products in (["BTC-USD"], ["BTC-USD", "ETH-USD", "SOL-USD"]):
        with pytest.raises(ModelMismatchError, match="in a market of BTC-USD, ETH-USD, the runtime watches"):
            load_models(wanted, products)


def test_comments_and_layout_do_not_change_the_hash_but_lists_and_sql_do(third: FeatureSet, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "third.sql").write_text(
        THIRD.replace("-- causal ", "-- causal  indeed ").replace("    product,\n", "  product,\n"), encoding="utf-8"
    )
    assert replace(third, folder=folder).sha256 == third.sha256
    (folder / "third.sql").write_text(THIRD.replace("lag(close, 2)", "lag(close, 3)"), encoding="utf-8")
    assert replace(third, folder=folder).sha256 != third.sha256
    assert replace(third, columns=third.columns[::-1]).sha256 != third.sha256


def test_unknown_set_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"no feature set 'flaw', only seed39 version 1 \(seed39@.{12}\), flow version 1"
    ):
        feature_set("flaw")


def test_stale_set_is_an_error_that_names_those_there_are(third: FeatureSet) -> None:
    assert feature_set(third.identity) is third
    for stale in ("third@0123456789ab", f"third@{'0' * 64}"):
        with pytest.raises(
            ConfigError, match=r"third is recorded with hash 01?.*there are seed39 .*third version 1.*make features"
        ):
            feature_set(stale)


def test_data_set_of_another_set_than_the_setting_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        ConfigError,
        match=r"the data set is of feature set seed39, FEATURE_SET is flow; .*make features, or set FEATURE_SET=seed39",
    ):
        recorded_set("seed39", feature_set("seed39").sha256, "flow")
    with pytest.raises(ConfigError, match="is recorded with hash 000000000000"):
        recorded_set("flow", "0" * 64, "flow")


@pytest.mark.parametrize("name", ["seed39", "flow"])
def test_set_says_it_crosses_products_where_its_header_does(name: str) -> None:
    chosen = FEATURE_SETS[name]
    told = [
        "coins" in parse_header((SQL_ROOT / "views" / f"{view}.sql").read_text(encoding="utf-8")).facts
        for view in chosen.views
    ]
    assert any(told) is chosen.crosses_products


def test_crossing_set_of_a_file_reads_every_stored_coin_or_the_market_that_is_named(
    store: FeatureStore, tmp_path: Path
) -> None:
    columns = feature_set("flow").columns
    market = [position for position, column in enumerate(columns) if column.startswith("market_")]
    among_all = store.feature_block("BTC-USD", SPAN.start, SPAN.end, "flow")
    alone = store.feature_blocks(["BTC-USD"], SPAN.start, SPAN.end, "flow", market=["BTC-USD"])["BTC-USD"]
    assert among_all.x_NF[:, market].any(axis=0).all()
    assert not alone.x_NF[:, market].any()
    made = store.export_dataset(["ETH-USD", "BTC-USD"], SPAN, tmp_path / "datasets", feature_set="flow")
    rows = pl.read_parquet(made.path).filter(pl.col("product") == "BTC-USD")
    assert rows.select(columns).to_numpy().astype(np.float32).tobytes() == among_all.x_NF.tobytes()
    single = store.export_dataset(["BTC-USD"], SPAN, tmp_path / "datasets", feature_set="flow")
    assert pl.read_parquet(single.path).select(columns).to_numpy().astype(np.float32).tobytes() == alone.x_NF.tobytes()
    shutil.rmtree(tmp_path / "datasets")
