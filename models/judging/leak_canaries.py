"""Cheap alarms for leaks, read from the data set itself; a lit canary refuses the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.datasets.dataset import PARTS
from models.datasets.scaler import Scaler, fit_scaler
from models.judging.dataset_leaks import input_leaks, split_leaks

if TYPE_CHECKING:
    from models.datasets.dataset import Dataset


def failing_canaries(data: Dataset, scaler: Scaler) -> dict[str, str]:
    """Return the canaries that are lit, by name, with what was seen."""
    seen = {
        "unique_rows": _double_rows(data),
        "part_order": _part_order(data),
        "train_only_scaler": _scaler(data, scaler),
        "labels": _labels(data),
        "shuffled_split": _split(data, "shuffled split"),
        "coin_instants": _split(data, "coins split at different instants"),
        "label_among_inputs": "; ".join(f"{leak.place}: {leak.seen}" for leak in input_leaks(data)[:3]),
    }
    return {name: text for name, text in seen.items() if text}


def _split(data: Dataset, name: str) -> str:
    return next((f"{leak.place}: {leak.seen}" for leak in split_leaks(data) if leak.name == name), "")


def _double_rows(data: Dataset) -> str:
    for coin, product in enumerate(data.coins):
        minutes = data.minute_N[data.coin_N == coin]
        if (np.diff(minutes) <= 0).any():
            return f"{product} has a minute twice, or minutes out of order"
    return ""


def _part_order(data: Dataset) -> str:
    """Every label of a part must end before the next part begins, for all coins at the same instants."""
    last_seen, last_name = -np.inf, ""
    for position, name in enumerate(PARTS):
        minutes = data.minute_N[data.part_N == position]
        if not len(minutes):
            continue
        if minutes.min() < last_seen + data.horizon_minutes:
            return f"{name} begins less than {data.horizon_minutes} minutes after {last_name} ends"
        last_seen, last_name = minutes.max(), name
    return ""


def _scaler(data: Dataset, scaler: Scaler) -> str:
    own = fit_scaler(data)
    for ours, theirs in ((own.mean_CF, scaler.mean_CF), (own.sd_CF, scaler.sd_CF)):
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-5, atol=1e-12):
            return "the scaler's figures are not those of the training rows"
    return ""


def _labels(data: Dataset) -> str:
    """A label must be what the close a horizon later says, wherever that row is in the file."""
    back = data.horizon_minutes
    rows = np.flatnonzero(data.direction_N[:-back] >= 0) if len(data.minute_N) > back else np.array([], dtype=np.int64)
    later = rows + back
    whole = (data.coin_N[rows] == data.coin_N[later]) & (data.minute_N[later] - data.minute_N[rows] == back)
    rows, later = rows[whole], later[whole]
    wrong = (data.close_N[later] > data.close_N[rows]) != (data.direction_N[rows] == 1)
    return f"{int(wrong.sum())} labels are not what the close {back} minutes later says" if wrong.any() else ""
