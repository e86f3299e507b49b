"""Forecast a fold's test part in this child process: by the judged graph, and by every baseline trained on the fold.

A job as JSON on standard input, one JSON line on standard output. Nothing here imports torch: the graph is served as
the runtime serves it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.child_process import do_job
from core.dataset_files import DatasetRef
from models.datasets.dataset import load_dataset
from models.datasets.windows import part_ends
from models.judging.appraise import score_rows
from models.judging.baselines import baseline_forecasts
from models.serving.scorer import Scorer
from models.walk_forward.forecasts import MODEL, Forecasts, known_forecasts, model_key, write_forecasts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset


def main() -> int:
    """Forecast what standard input describes; return 0, or 2 with the reason as a JSON line."""
    return do_job(_forecast)


def _forecast(job: dict[str, Any]) -> None:
    reference = DatasetRef(**job["dataset"])
    forecast_model(Path(job["candidate"]), reference, Path(job["forecasts"]))
    forecast_baselines(job["products"], reference, Path(job["baselines"]))


def forecast_model(folder: Path, reference: DatasetRef, path: Path) -> None:
    """Score the test part with the graph in ``folder``; forecasts of the same graph are kept."""
    key = model_key(folder, reference)
    if known_forecasts(path, key):
        return
    scorer = Scorer(folder)
    data = load_dataset(reference, scorer.passport.products)
    forecasts: dict[str, Forecasts] = {}
    for product in data.coins:
        ends = part_ends(data, "test", scorer.passport.window_minutes, product=product)
        forecasts[product] = _forecasts(
            data, ends, {MODEL: score_rows(data, scorer, product, ends, scorer.passport.window_minutes)}
        )
    write_forecasts(path, key, forecasts)


def forecast_baselines(products: list[str], reference: DatasetRef, path: Path) -> None:
    """Train every baseline on the fold's train part and forecast all its judged minutes; kept if made before."""
    if known_forecasts(path, reference.digest):
        return
    data = load_dataset(reference, products)
    forecasts: dict[str, Forecasts] = {}
    for product in data.coins:
        rows = data.rows(product, "test")
        forecasts[product] = _forecasts(data, rows, baseline_forecasts(data, product, rows))
    write_forecasts(path, reference.digest, forecasts)


def _forecasts(data: Dataset, rows: NDArray[np.int64], p_N: dict[str, NDArray[np.float64]]) -> Forecasts:
    return Forecasts(data.minute_N[rows], data.direction_N[rows], data.return_N[rows], p_N)


if __name__ == "__main__":
    sys.exit(main())
