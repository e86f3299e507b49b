"""Reading data sets and cutting windows from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from core.dataset_files import DatasetRef
from core.errors import DatasetError
from models.datasets.dataset import load_dataset
from models.datasets.scaler import CLIP, Scaler, fit_scaler
from models.datasets.windows import part_ends, usable_ends, windows


def test_load_dataset_gives_rows_as_the_store_wrote_them(make_dataset):
    reference = make_dataset(products=("BTC-USD", "ETH-USD"), minutes=400)
    data = load_dataset(reference)
    frame = pl.read_parquet(reference.path)
    assert data.coins == ("BTC-USD", "ETH-USD")
    assert data.x_NF.flags.c_contiguous
    assert data.x_NF.dtype == np.float32
    np.testing.assert_array_equal(data.x_NF[:, 3], frame["input_03"].to_numpy())
    np.testing.assert_array_equal(data.direction_N, frame["direction_15m"].fill_null(-1).to_numpy())
    assert (data.part_N == -1).sum() == frame["part"].null_count()
    assert len(data.rows("ETH-USD", "test")) == frame.filter(product="ETH-USD", part="test").height


def test_load_dataset_of_one_coin_leaves_the_others_out(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=300), ["ETH-USD"])
    assert data.coins == ("ETH-USD",)
    assert len(data.x_NF) == 300


def test_load_dataset_of_a_missing_coin_names_it(make_dataset):
    with pytest.raises(DatasetError, match="not SOL-USD"):
        load_dataset(make_dataset(minutes=300), ["SOL-USD"])


def test_load_dataset_of_a_changed_file_is_refused(make_dataset):
    reference = make_dataset(minutes=300)
    with Path(reference.path).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DatasetError, match="has sha256"):
        load_dataset(reference)


def test_load_dataset_of_a_missing_file_names_the_command(tmp_path):
    with pytest.raises(DatasetError, match="make features"):
        load_dataset(DatasetRef("0" * 64, str(tmp_path / "none.parquet"), str(tmp_path / "none.json")))


def test_load_dataset_with_another_manifest_is_refused(make_dataset):
    reference = make_dataset(minutes=300)
    manifest = json.loads(Path(reference.manifest_path).read_text())
    Path(reference.manifest_path).write_text(json.dumps(manifest | {"digest": "1" * 64}))
    with pytest.raises(DatasetError, match="belongs to data set 1111"):
        load_dataset(reference)


def test_load_dataset_with_an_infinite_input_names_the_column(make_dataset):
    def spoil(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(input_04=pl.lit(np.inf, pl.Float32))

    with pytest.raises(DatasetError, match="input_04"):
        load_dataset(make_dataset(minutes=300, spoil=spoil))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_windows_end_at_their_rows_in_one_contiguous_batch(kind):
    x_NF = np.arange(20, dtype=np.float32).reshape(10, 2)
    x_BTF = np.asarray(windows(kind(x_NF), np.array([5, 3, 9]), 4))
    assert x_BTF.shape == (3, 4, 2)
    assert x_BTF.dtype == np.float32
    assert x_BTF.flags.c_contiguous
    for window_TF, end in zip(x_BTF, (5, 3, 9), strict=True):
        np.testing.assert_array_equal(window_TF, x_NF[end - 3 : end + 1])


def test_windows_that_end_nowhere_are_an_empty_batch():
    assert windows(np.zeros((3, 2), np.float32), np.empty(0, np.int64), 4).shape == (0, 4, 2)


def test_usable_ends_never_mix_coins_and_never_cross_a_gap(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=300, gap_at=150))
    usable_N = usable_ends(data.minute_N, 60, data.coin_N)
    for end in range(len(usable_N)):
        first = end - 59
        whole = first >= 0 and data.coin_N[first] == data.coin_N[end]
        whole = whole and data.minute_N[end] - data.minute_N[first] == 59
        assert usable_N[end] == whole
    assert usable_N.sum() == 2 * ((150 - 59) + (149 - 59))


def test_part_ends_with_a_stride_takes_the_same_minutes_of_every_coin(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=600))
    ends = part_ends(data, "train", 60, stride=7, offset=3)
    assert (data.minute_N[ends] % 7 == 3).all()
    bitcoin, ether = (set(data.minute_N[ends[data.coin_N[ends] == coin]]) for coin in (0, 1))
    assert bitcoin == ether
    assert len(bitcoin) > 40


def test_part_ends_carry_labels_of_that_part_only(make_dataset):
    data = load_dataset(make_dataset(minutes=600))
    ends = part_ends(data, "calibration", 60)
    assert (data.part_N[ends] == 2).all()
    assert (data.direction_N[ends] >= 0).all()


def test_fit_scaler_reads_training_rows_only(make_dataset):
    data = load_dataset(make_dataset(minutes=600))
    rows = np.flatnonzero(data.part_N == 0)
    before = fit_scaler(data)
    np.testing.assert_allclose(before.mean_CF[0], data.x_NF[rows].mean(axis=0), rtol=1e-3, atol=1e-5)
    data.x_NF[rows[-1] + 1 :] += 1000.0
    np.testing.assert_array_equal(fit_scaler(data).mean_CF, before.mean_CF)


def test_scaler_keeps_every_bit_on_the_way_through_json(make_dataset):
    scaler = fit_scaler(load_dataset(make_dataset(minutes=300)))
    again = Scaler.from_json(json.loads(json.dumps(scaler.as_json())))
    np.testing.assert_array_equal(again.mean_CF, scaler.mean_CF)
    np.testing.assert_array_equal(again.sd_CF, scaler.sd_CF)


def test_scaler_of_an_input_that_never_moves_gives_zero(make_dataset):
    def spoil(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(input_04=pl.lit(7.0, pl.Float32))

    data = load_dataset(make_dataset(minutes=300, spoil=spoil))
    fit_scaler(data).scale_in_place(data.x_NF, data.coin_N)
    assert (data.x_NF[:, 4] == 0).all()
    assert np.abs(data.x_NF).max() <= CLIP


def test_scaler_standardises_each_coin_by_its_own_figures(make_dataset):
    data = load_dataset(make_dataset(products=("BTC-USD", "ETH-USD"), minutes=600))
    data.x_NF[data.coin_N == 1] *= 1000
    fit_scaler(data).scale_in_place(data.x_NF, data.coin_N)
    for coin in (0, 1):
        rows = (data.coin_N == coin) & (data.part_N == 0)
        np.testing.assert_allclose(data.x_NF[rows].std(axis=0), 1.0, atol=0.02)
