"""Standardise inputs with figures taken from training rows only.

Shapes: N rows, C coins, F inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DatasetError
from models.datasets.dataset import PARTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.datasets.dataset import Dataset

# price levels drift out of the range they were trained on; beyond this many standard
# deviations an input says "far outside" and nothing more
CLIP = 5.0


@dataclass(frozen=True, slots=True)
class Scaler:
    """Mean and standard deviation per coin and input, float32."""

    mean_CF: NDArray[np.float32]
    sd_CF: NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """Return plain lists; every float32 survives the way through JSON."""
        return {"mean": self.mean_CF.tolist(), "sd": self.sd_CF.tolist(), "clip": CLIP}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Scaler:
        """Read what `as_json` wrote."""
        return cls(np.array(content["mean"], np.float32), np.array(content["sd"], np.float32))

    def scale_in_place(self, x_NF: NDArray[np.float32], coin_N: NDArray[np.int64]) -> None:
        """Standardise and clip every row with its own coin's figures."""
        for coin in range(len(self.mean_CF)):
            rows = _run_of(coin_N, coin)
            x_NF[rows] -= self.mean_CF[coin]
            x_NF[rows] /= self.sd_CF[coin]
        np.clip(x_NF, -CLIP, CLIP, out=x_NF)

    def scale_windows_in_place(self, x_BTF: NDArray[np.float32], coin: int) -> None:
        """Standardise and clip windows of one coin."""
        x_BTF -= self.mean_CF[coin]
        x_BTF /= self.sd_CF[coin]
        np.clip(x_BTF, -CLIP, CLIP, out=x_BTF)


def fit_scaler(data: Dataset) -> Scaler:
    """Fit mean and standard deviation per coin on the rows of the train part.

    Raises:
        DatasetError: a coin has no training row.
    """
    means, deviations = [], []
    for coin, product in enumerate(data.coins):
        rows = np.flatnonzero((data.coin_N == coin) & (data.part_N == PARTS.index("train")))
        if not len(rows):
            msg = f"{product} has no training row in data set {data.digest[:16]}; backfill a longer span: make backfill"
            raise DatasetError(msg)
        mean_F = np.empty(len(data.columns))
        sd_F = np.empty(len(data.columns))
        for column in range(len(data.columns)):  # one column at a time: two years in float64 would not be small
            values = data.x_NF[rows, column].astype(np.float64)
            mean_F[column], sd_F[column] = values.mean(), values.std()
        # an input that never moves carries nothing; 1 keeps it at zero instead of dividing by zero
        sd_F[sd_F <= 1e-9 * (1.0 + np.abs(mean_F))] = 1.0
        means.append(mean_F)
        deviations.append(sd_F)
    return Scaler(np.stack(means).astype(np.float32), np.stack(deviations).astype(np.float32))


def _run_of(coin_N: NDArray[np.int64], coin: int) -> slice:
    """Return the slice of one coin's rows, which lie together because rows are sorted by coin."""
    rows = np.flatnonzero(coin_N == coin)
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)
