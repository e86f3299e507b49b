"""A fold as a data set: its own rows and parts, its own scaler, and nothing of what comes after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from core.errors import DatasetError
from models.datasets.dataset import PARTS, load_dataset
from models.datasets.folds import FoldBorders, minutes_of, write_view
from models.datasets.scaler import fit_scaler

HORIZON = 15
ARRAYS = ("coin_N", "minute_N", "close_N", "x_NF", "direction_N", "return_N", "part_N")


@pytest.fixture
def base(make_dataset):
    return make_dataset(minutes=3000, products=("BTC-USD", "ETH-USD"), gap_at=700)


def _borders(base, every=1, start=0):
    first, _ = minutes_of(base)
    return FoldBorders(*(first + minute for minute in (start, 1000, 1200, 1500, 2000)), every)


def test_minutes_of_a_data_set_are_its_first_and_the_one_after_its_last(base):
    first, end = minutes_of(base)
    assert end - first == 3000


def test_fold_holds_its_own_rows_and_no_others(base, tmp_path):
    borders = _borders(base, start=100)
    data = load_dataset(write_view(base, borders, tmp_path))
    assert data.minute_N.min() == borders.train
    assert data.minute_N.max() == borders.end - 1
    assert data.coins == ("BTC-USD", "ETH-USD")
    whole = load_dataset(base)
    kept_N = (whole.minute_N >= borders.train) & (whole.minute_N < borders.end)
    assert np.array_equal(data.x_NF, whole.x_NF[kept_N])
    assert np.array_equal(data.close_N, whole.close_N[kept_N])


def test_rows_of_every_part_end_a_horizon_before_the_next_begins(base, tmp_path):
    borders = _borders(base)
    data = load_dataset(write_view(base, borders, tmp_path))
    edges = (borders.train, borders.early_stop, borders.calibration, borders.test, borders.end)
    for place, part in enumerate(PARTS):
        for product in data.coins:
            minute_N = data.minute_N[data.rows(product, part)]
            assert minute_N.min() >= edges[place]
            assert minute_N.max() + HORIZON == edges[place + 1] - 1
    assert (data.direction_N[data.part_N >= 0] >= 0).all()


def test_test_part_is_judged_every_so_many_minutes(base, tmp_path):
    borders = _borders(base, every=5)
    data = load_dataset(write_view(base, borders, tmp_path), ["BTC-USD"])
    minute_N = data.minute_N[data.rows("BTC-USD", "test")]
    assert (minute_N % 5 == 0).all()
    assert len(minute_N) == 97  # 500 minutes less the horizon, every fifth
    assert len(data.rows("BTC-USD", "calibration")) == 300 - HORIZON


def test_scaler_of_a_fold_knows_its_training_rows_alone(base, tmp_path):
    borders = _borders(base)
    whole = load_dataset(base, ["ETH-USD"])
    data = load_dataset(write_view(base, borders, tmp_path), ["ETH-USD"])
    train_N = (whole.minute_N < borders.early_stop - HORIZON) & (whole.direction_N >= 0)
    found = fit_scaler(data)
    assert np.allclose(found.mean_CF[0], whole.x_NF[train_N].mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-7)
    assert np.allclose(found.sd_CF[0], whole.x_NF[train_N].std(axis=0, dtype=np.float64), rtol=1e-5)


def test_whatever_comes_after_a_fold_changes_nothing_in_it(make_dataset, tmp_path):
    borders = _borders(make_dataset(minutes=3000))

    def spoil(frame: pl.DataFrame) -> pl.DataFrame:
        """Another world from the fold's end on: its candles, and with them every label that looks there."""
        after, reaches = pl.col("minute") >= borders.end, pl.col("minute") + HORIZON >= borders.end
        inputs = [name for name in frame.columns if name.startswith("input_")]
        return frame.with_columns(
            *(
                pl.when(after).then(pl.col(name) * 7 + 3).otherwise(pl.col(name)).alias(name)
                for name in [*inputs, "close"]
            ),
            pl.when(reaches).then(-pl.col("return_15m")).otherwise(pl.col("return_15m")).alias("return_15m"),
            pl.when(reaches)
            .then(1 - pl.col("direction_15m"))
            .otherwise(pl.col("direction_15m"))
            .alias("direction_15m"),
        ).with_columns(pl.col(inputs).cast(pl.Float32))

    one, other = make_dataset(minutes=3000), make_dataset(minutes=3000, spoil=spoil)
    assert one.digest != other.digest
    seen = [load_dataset(write_view(reference, borders, tmp_path)) for reference in (one, other)]
    for name in ARRAYS:
        assert np.array_equal(getattr(seen[0], name), getattr(seen[1], name), equal_nan=name == "return_N"), name


def test_fold_has_a_name_that_follows_from_file_and_borders(base, tmp_path):
    first, second = write_view(base, _borders(base), tmp_path), write_view(base, _borders(base, every=2), tmp_path)
    assert first.digest != second.digest
    assert write_view(base, _borders(base), tmp_path) == first
    assert first.path == base.path
    manifest = json.loads(Path(first.manifest_path).read_text())
    assert manifest["base_digest"] == base.digest
    assert "folds" not in manifest


def test_fold_whose_borders_were_moved_is_refused(base, tmp_path):
    reference = write_view(base, _borders(base), tmp_path)
    path = Path(reference.manifest_path)
    manifest = json.loads(path.read_text())
    manifest["fold"]["test"] -= 100
    path.write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="was changed"):
        load_dataset(replace(reference, manifest_sha256=""))


def test_fold_of_a_file_that_was_changed_is_refused(base, tmp_path):
    reference = write_view(base, _borders(base), tmp_path)
    path = Path(base.path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DatasetError, match="has sha256"):
        load_dataset(reference)


def test_fold_of_a_fold_is_refused(base, tmp_path):
    reference = write_view(base, _borders(base), tmp_path)
    with pytest.raises(DatasetError, match="is not the manifest of the whole data set"):
        write_view(reference, _borders(base), tmp_path)


def test_minutes_of_a_file_that_is_no_data_set_is_an_error(base, tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match="make features"):
        minutes_of(replace(base, path=str(broken)))
