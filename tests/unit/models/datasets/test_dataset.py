"""Rows of a data set file, against the plainest way to read them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DatasetError
from models.datasets.dataset import read_rows

COINS = ("BTC-USD", "ETH-USD", "SOL-USD")
INPUTS = ("a", "b", "c")
PARTS = ("train", "test")


def table_of(rows: int, seed: int, *, mixed: bool) -> pa.Table:
    """Random rows; sorted by coin as the store writes them, or ``mixed``."""
    dice = np.random.default_rng(seed)
    product = dice.choice(COINS, rows)
    direction = [None if value == 2 else int(value) for value in dice.integers(0, 3, rows)]
    return pa.table(
        {
            "product": pa.array(product if mixed else sorted(product), pa.string()),
            "minute": np.arange(rows) + 1000,
            "close": dice.normal(size=rows),
            **{name: dice.normal(size=rows).astype(np.float32) for name in INPUTS},
            "direction_15m": pa.array(direction, pa.int8()),
            "return_15m": pa.array([None if value is None else 0.5 for value in direction], pa.float64()),
            "part": pa.array(dice.choice([*PARTS, "none"], rows), pa.string()),
        }
    )


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5000),
    group=st.sampled_from([7, 300, 2049, 10_000]),
    wanted=st.lists(st.sampled_from(COINS), min_size=1, unique=True),
    span=st.one_of(st.none(), st.tuples(st.integers(900, 3000), st.integers(0, 3000))),
    mixed=st.booleans(),
    has_statistics=st.booleans(),
)
def test_read_rows_equals_a_plain_read(tmp_path_factory, rows, group, wanted, span, mixed, has_statistics):
    path = tmp_path_factory.getbasetemp() / "rows.parquet"
    pq.write_table(table_of(rows, rows, mixed=mixed), path, row_group_size=group, write_statistics=has_statistics)
    minutes = None if span is None else (span[0], span[0] + span[1])
    found = read_rows(path, wanted, INPUTS, PARTS, minutes)
    plain = pl.read_parquet(path).filter(pl.col("product").is_in(wanted))
    if minutes is not None:
        plain = plain.filter((pl.col("minute") >= minutes[0]) & (pl.col("minute") < minutes[1]))
    assert found.x_NF.flags.c_contiguous
    np.testing.assert_array_equal(found.x_NF, plain.select(INPUTS).to_numpy())
    np.testing.assert_array_equal(found.minute_N, plain["minute"])
    np.testing.assert_array_equal(found.close_N, plain["close"])
    np.testing.assert_array_equal(found.direction_N, plain["direction_15m"].fill_null(-1))
    np.testing.assert_array_equal(found.return_N, plain["return_15m"].to_numpy())
    assert [wanted[code] for code in found.product_N] == plain["product"].to_list()
    assert [PARTS[code] if code >= 0 else "none" for code in found.part_N] == plain["part"].to_list()


def test_read_rows_names_the_columns_that_are_missing(tmp_path):
    pq.write_table(table_of(10, 0, mixed=False).drop_columns(["b", "part"]), tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match="lacks the columns part, b"):
        read_rows(tmp_path / "x.parquet", COINS, INPUTS, PARTS)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
def test_read_rows_names_the_first_input_that_is_not_finite(tmp_path, bad):
    table = table_of(6000, 0, mixed=False)
    for place in (4, 5):  # the inputs b and c, in their last row
        values = [*table.column(place).to_pylist()[:-1], bad]
        table = table.set_column(place, INPUTS[place - 3], pa.array(values, pa.float32()))
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2500)
    with pytest.raises(DatasetError, match="not finite, the first in column b"):
        read_rows(tmp_path / "x.parquet", COINS, INPUTS, PARTS)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_read_rows_of_something_else_names_the_repair(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match="make features"):
        read_rows(tmp_path / "x.parquet", COINS, INPUTS, PARTS)
