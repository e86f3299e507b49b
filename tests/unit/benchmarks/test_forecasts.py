"""What `benchmarks.forecasts` makes of forecasts: views that end before the test part, known gains, paired differences."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.forecasts import ensembles, fold_lines, lines, main, views
from core.candles import Span, minute_start
from core.dataset_files import DatasetManifest, DatasetRef, ManifestFeatures, PartBorders
from models.walk_forward.forecasts import Forecasts
from store.splits import Borders

DAYS = 30
START = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) // 60


@pytest.fixture
def reference(tmp_path):
    pq.write_table(pa.table({"minute": np.arange(START, START + 10_000)}), tmp_path / "d.parquet")
    made, span = (
        DatasetRef.at("0" * 64, tmp_path / "d.parquet"),
        Span(minute_start(START), minute_start(START + 10_000)),
    )
    borders = PartBorders(*(minute_start(START + minute) for minute in (7_000, 7_500, 8_000)))
    features = ManifestFeatures("flow", 1, "f" * 64, ("a",))
    DatasetManifest("0" * 64, features, ("BTC-USD",), span, 15, borders, ("coinbase",)).write(Path(made.manifest_path))
    return made


@pytest.fixture
def forecasts():
    """A month in which the truth is 0.6 or 0.4: the LSTM knows it, boosting half of it, the rival a quarter."""
    generator = np.random.default_rng(0)
    true_N = np.where(generator.random(DAYS * 1440) < 0.5, 0.6, 0.4)
    up_N = (generator.random(len(true_N)) < true_N).astype(np.int8)
    half_N, quarter_N = 0.5 + (true_N - 0.5) / 2, 0.5 + (true_N - 0.5) / 4
    said = {"base_rate": np.full(len(true_N), 0.5), "gradient_boosting": quarter_N, "lstm": true_N, "boosting": half_N}
    said["boosting raw"] = quarter_N
    minute_N = START + np.arange(len(true_N))
    return Forecasts(minute_N, up_N, np.where(up_N == 1, 1e-3, -1e-3), said)


def test_views_of_the_test_part_are_the_data_set_itself(reference, tmp_path):
    assert views(reference, "test", 1, tmp_path) == [reference]


@pytest.mark.parametrize("folds", [1, 3])
def test_views_of_the_validation_part_end_before_the_test_part(reference, tmp_path, folds):
    found = [
        json.loads(Path(view.manifest_path).read_text())["fold"]
        for view in views(reference, "validation", folds, tmp_path)
    ]
    borders = Borders.over(START, START + 10_000)
    assert len(found) == folds
    assert [fold["end"] for fold in found][-1] == borders.test
    assert all(left["end"] == right["test"] for left, right in pairwise(found))
    assert all(fold["train"] < fold["early_stop"] < fold["calibration"] < fold["test"] < fold["end"] for fold in found)


def test_ensembles_are_weighted_as_configured_and_equally(settings, forecasts):
    mixed = ensembles(settings, forecasts)
    lstm_N, boosting_N = forecasts.p_N["lstm"], forecasts.p_N["boosting"]
    np.testing.assert_allclose(mixed["ensemble"], (0.35 * lstm_N + 0.5 * boosting_N) / 0.85)
    np.testing.assert_allclose(mixed["equal ensemble"], (lstm_N + boosting_N) / 2)


def test_lines_tell_the_gain_that_is_known_and_the_difference_to_the_baseline(settings, forecasts):
    found = {line[0]: line[1:] for line in lines(forecasts, settings)}
    assert set(found) == {"base_rate", "gradient_boosting", "lstm", "boosting", "ensemble", "equal ensemble"}
    # log 2 less the entropy of 0.6 is 201.4e-4
    gains = {name: float(str(line[0]).split()[0]) for name, line in found.items()}
    assert gains["base_rate"] == 0.0
    assert gains["lstm"] == pytest.approx(201.4, abs=40)
    assert gains["lstm"] > gains["ensemble"] > gains["boosting"] > gains["gradient_boosting"] > 0
    assert float(str(found["boosting"][1])) == pytest.approx(gains["gradient_boosting"], abs=0.1)
    assert found["gradient_boosting"][2] == ""
    difference, low = (float(part.strip("(")) for part in str(found["boosting"][2]).split()[:2])
    assert difference == pytest.approx(gains["boosting"] - gains["gradient_boosting"], abs=0.11)
    assert 0 < low < difference


def test_fold_lines_have_a_gain_for_every_fold(settings, forecasts):
    rows = list(fold_lines([{"BTC-USD": forecasts}] * 2, settings, "BTC-USD"))
    assert [row[1] for row in rows] == [*forecasts.p_N, "ensemble", "equal ensemble"]
    assert all(len(row) == 4 and row[2] == row[3] for row in rows)


def test_forecasts_without_recorded_candles_names_the_option(tmp_path, capsys):
    assert main(["--data", str(tmp_path)]) == 0
    assert "--data" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--part", "test", "--folds", "2"], ["--members", "gru"], ["--every", "0"]])
def test_forecasts_refuses_what_makes_no_sense(wrong):
    with pytest.raises(SystemExit):
        main(wrong)
