"""Keep what a fold's model and baselines forecast as Parquet files, and read it again.

Shapes: N rows of one product, oldest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import ModelError
from core.files import read_json, whole_file, write_json
from core.integrity import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from core.dataset_files import DatasetRef

MODEL = "model"
"""Name of the walked-forward model among the forecasters; the others are baselines."""
FORMAT = 1
"""Raise it when what is forecast for the same model changes: forecasts of another format are made again."""
_PLAIN = ("minute", "direction", "return")


@dataclass(frozen=True, slots=True)
class Forecasts:
    """One product's judged minutes of one or more folds, and each forecaster's probabilities for them."""

    minute_N: NDArray[np.int64]
    direction_N: NDArray[np.int8]
    return_N: NDArray[np.float64]
    p_N: dict[str, NDArray[np.float64]]
    """Forecaster -> probability of up."""

    def beside(self, other: Forecasts) -> Forecasts:
        """Return the forecasts of both on the minutes that both have."""
        shared_N, own, theirs = np.intersect1d(self.minute_N, other.minute_N, assume_unique=True, return_indices=True)
        p_N = {name: mine_N[own] for name, mine_N in self.p_N.items()}
        p_N |= {name: its_N[theirs] for name, its_N in other.p_N.items()}
        return Forecasts(shared_N, self.direction_N[own], self.return_N[own], p_N)


def one_after_another(folds: Sequence[Forecasts]) -> Forecasts:
    """Return the folds' forecasts as one, each minute from the fold that judged it; forecasters missing in one are left out."""
    names = [name for name in folds[0].p_N if all(name in fold.p_N for fold in folds)]
    return Forecasts(
        np.concatenate([fold.minute_N for fold in folds]),
        np.concatenate([fold.direction_N for fold in folds]),
        np.concatenate([fold.return_N for fold in folds]),
        {name: np.concatenate([fold.p_N[name] for fold in folds]) for name in names},
    )


def write_forecasts(path: Path, key: str, forecasts: Mapping[str, Forecasts]) -> None:
    """Write forecasts by product to ``path``, then the file that says they are whole; ``key`` names what made them."""
    parts = [
        pa.table(
            {
                "product": [product] * len(own.minute_N),
                "minute": own.minute_N,
                "direction": own.direction_N,
                "return": own.return_N,
                **own.p_N,
            }
        )
        for product, own in forecasts.items()
    ]
    with whole_file(path) as draft:
        # a class may be missing in one product's training, and with it two of the baselines
        pq.write_table(pa.concat_tables(parts, promote_options="default"), draft, compression="zstd")
    write_json(path.with_suffix(".json"), {"format": FORMAT, "key": key, "sha256": sha256_of(path)})


def model_key(folder: Path, fold: DatasetRef) -> str:
    """Return what the forecasts of a fold by the graph in ``folder`` depend on."""
    return f"{fold.digest}:{sha256_of(folder / 'model.onnx')}"


def known_forecasts(path: Path, key: str) -> bool:
    """Return whether ``path`` holds whole forecasts of ``key``."""
    try:
        marker = read_json(path.with_suffix(".json"))
    except ModelError:
        return False
    wanted = {"format": FORMAT, "key": key}
    return wanted.items() <= marker.items() and path.exists() and marker.get("sha256") == sha256_of(path)


def read_forecasts(path: Path, product: str) -> Forecasts:
    """Read one product's forecasts.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        table = pq.read_table(path, filters=[("product", "==", product)], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        msg = f"the forecasts {path} cannot be read ({str(error).splitlines()[0]}); run again: desk walk-forward"
        raise ModelError(msg) from error
    arrays = {name: table[name].to_numpy() for name in table.column_names if name != "product"}
    names = [name for name in arrays if name not in _PLAIN and not np.isnan(arrays[name]).any()]
    return Forecasts(
        arrays["minute"].astype(np.int64),
        arrays["direction"].astype(np.int8),
        arrays["return"].astype(np.float64),
        {name: arrays[name].astype(np.float64) for name in names},
    )
