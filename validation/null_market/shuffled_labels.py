"""Shuffle the labels of a data set, so that its inputs have nothing to do with them.

``by minute``   labels change places at random, each with any other of its part. Every pattern of the labels themselves is gone
                too, and the data set shows what was done to it (a canary sees that labels are not what closes say).
``by day``      closes and labels of a part move on together, round its end, by a day or more. Neighbouring labels still share
                their minutes, moods still last hours, every label is what the closes beside it say: only the inputs are of
                another day. This is the harder null, and no canary can see it.

Shapes: N rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import epoch_minute
from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import read_json, write_json
from core.integrity import sha256_of
from models.datasets.dataset import PARTS, UNLABELLED

if TYPE_CHECKING:
    from numpy.typing import NDArray

BY_MINUTE, BY_DAY = "by minute", "by day"
_DAY = 1440


@dataclass(slots=True)
class _Labels:
    """What moves: the four columns that say what became of a minute."""

    close_N: NDArray[np.float64]
    direction_N: NDArray[np.int8]
    return_N: NDArray[np.float64]
    labelled_N: NDArray[np.bool_]


def shuffled(reference: DatasetRef, folder: Path, seed: int, how: str) -> DatasetRef:
    """Write a copy of a data set with its labels shuffled inside each part, under a hash and manifest of its own.

    Args:
        reference: The data set to start from; it is left alone.
        folder: Where the copy is written.
        seed: Decides the order.
        how: `BY_MINUTE` or `BY_DAY`.

    Raises:
        DatasetError: there is no such way, or a part is too short to be moved by a day.
    """
    if how not in {BY_MINUTE, BY_DAY}:
        msg = f"labels are shuffled {BY_MINUTE} or {BY_DAY}, not {how!r}"
        raise DatasetError(msg)
    table = pq.read_table(reference.path)
    manifest = read_json(Path(reference.manifest_path))
    horizon, generator = int(manifest["horizon_minutes"]), np.random.default_rng(seed)
    minute_N, labels = table["minute"].to_numpy(), _read(table)
    region_N = _regions(minute_N, manifest["borders"])
    for product in manifest["products"]:
        own_N = table["product"].to_numpy(zero_copy_only=False) == product
        for region in range(len(PARTS)):
            rows = np.flatnonzero(own_N & (region_N == region))
            if how == BY_MINUTE:
                _mix(labels, rows, generator)
            else:
                _move(labels, rows, generator, horizon)
    return _write(table, labels, region_N, manifest, folder, f"{how}, seed {seed}")


def _read(table: pa.Table) -> _Labels:
    return _Labels(
        table["close"].to_numpy().copy(),
        table["direction_15m"].fill_null(UNLABELLED).to_numpy().astype(np.int8),
        table["return_15m"].to_numpy(zero_copy_only=False).astype(np.float64),
        # a label that reaches into the next part stays out of the parts
        ~table["part"].is_null().to_numpy(zero_copy_only=False),
    )


def _regions(minute_N: NDArray[np.int64], borders: dict[str, str]) -> NDArray[np.int64]:
    """Return which part each minute lies in, whether it carries a label or not."""
    edges = [epoch_minute(datetime.fromisoformat(borders[name])) for name in PARTS[1:]]
    return np.array(edges).searchsorted(minute_N, side="right")


def _mix(labels: _Labels, rows: NDArray[np.int64], generator: np.random.Generator) -> None:
    labelled = rows[labels.labelled_N[rows]]
    order = generator.permutation(labelled)
    labels.direction_N[labelled], labels.return_N[labelled] = labels.direction_N[order], labels.return_N[order]
    bare = rows[~labels.labelled_N[rows]]
    labels.direction_N[bare], labels.return_N[bare] = UNLABELLED, np.nan


def _move(labels: _Labels, rows: NDArray[np.int64], generator: np.random.Generator, horizon: int) -> None:
    """Move closes and labels on by at least a day; what would look over the seam loses its label."""
    if len(rows) < 2 * _DAY + 1:
        msg = f"a part of {len(rows)} minutes cannot be moved by a day against its inputs; take a longer span"
        raise DatasetError(msg)
    by = int(generator.integers(_DAY, len(rows) - _DAY + 1))
    for column in (labels.close_N, labels.direction_N, labels.return_N, labels.labelled_N):
        column[rows] = np.roll(column[rows], by)
    for end in (by, len(rows)):
        seam = rows[max(0, end - horizon) : end]
        labels.direction_N[seam], labels.return_N[seam], labels.labelled_N[seam] = UNLABELLED, np.nan, False


def _write(
    table: pa.Table,
    labels: _Labels,
    region_N: NDArray[np.int64],
    manifest: dict[str, object],
    folder: Path,
    how: str,
) -> DatasetRef:
    bare_N = labels.direction_N == UNLABELLED
    columns = {
        "close": pa.array(labels.close_N),
        "direction_15m": pa.array(labels.direction_N, mask=bare_N),
        "return_15m": pa.array(labels.return_N, mask=bare_N),
        "part": pa.DictionaryArray.from_arrays(pa.array(region_N, mask=~labels.labelled_N | bare_N), list(PARTS)).cast(
            pa.string()
        ),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.names.index(name), table.field(name), column.cast(table.field(name).type))
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / ".draft.parquet"
    pq.write_table(table, draft, compression="zstd")
    digest = sha256_of(draft)
    path = draft.replace(folder / f"{digest[:16]}.parquet")
    write_json(path.with_suffix(".json"), json.loads(json.dumps(manifest)) | {"digest": digest, "shuffled": how})
    return DatasetRef.at(digest, path).with_manifest()
