"""Read an immutable data set: one Parquet file and the manifest beside it.

Shapes: N rows of the file, F inputs of the feature set, C coins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import DatasetError
from core.integrity import sha256_of
from models.datasets.folds import borders_of
from models.datasets.parquet_reader import NO_CODE, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.dataset_files import DatasetManifest, DatasetRef
    from models.datasets.folds import FoldBorders
    from models.datasets.parquet_reader import DatasetRows

PARTS = ("train", "early_stop", "calibration", "test")
UNLABELLED = NO_CODE


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows of one or more coins, sorted by coin and minute, with the manifest they came with."""

    digest: str
    manifest: DatasetManifest
    coins: tuple[str, ...]
    columns: tuple[str, ...]
    coin_N: NDArray[np.int64]
    """Index into ``coins``."""
    minute_N: NDArray[np.int64]
    close_N: NDArray[np.float64]
    x_NF: NDArray[np.float32]
    """Raw inputs, C-contiguous."""
    direction_N: NDArray[np.int8]
    """1 up, 0 not up, -1 without a label."""
    return_N: NDArray[np.float64]
    part_N: NDArray[np.int8]
    """Index into ``PARTS``, -1 where unlabelled or purged."""

    @property
    def horizon_minutes(self) -> int:
        """Minutes between a row and the close its label looks at."""
        return self.manifest.horizon_minutes

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the candles came from, as the store recorded it."""
        return self.manifest.sources

    def is_labelled(self, part: str, product: str | None = None) -> NDArray[np.bool_]:
        """Return for each row whether it is a labelled row of ``part``, of any coin or of one."""
        wanted_N: NDArray[np.bool_] = (self.part_N == PARTS.index(part)) & (self.direction_N != UNLABELLED)
        if product is not None:
            wanted_N &= self.coin_N == self.coins.index(product)
        return wanted_N

    def rows(self, product: str, part: str) -> NDArray[np.int64]:
        """Return the row numbers of one coin's labelled rows in one part."""
        return np.flatnonzero(self.is_labelled(part, product))


def load_dataset(reference: DatasetRef, products: Sequence[str] | None = None) -> Dataset:
    """Read ``products`` (all of them by default) and check the file against its digest.

    What a URI names has to be fetched first: `models.datasets.remote_dataset.fetch_dataset`.

    Raises:
        DatasetError: the file is missing, changed, or lacks a product or column.
    """
    path = Path(reference.path)
    if not path.exists():
        msg = f"the data set {path} is missing; build it again: make features"
        raise DatasetError(msg)
    manifest = reference.manifest()
    with ThreadPoolExecutor(1) as beside:
        # hashing takes as long as reading and neither needs the other: both at once, and nothing is returned before both
        digest = beside.submit(sha256_of, path)
        try:
            return _read(reference, manifest, products)
        finally:
            _require_digest(path, digest.result(), manifest.file_digest)


def _require_digest(path: Path, digest: str, expected: str) -> None:
    if digest != expected:
        msg = f"the data set {path.name} has sha256 {digest[:16]}, expected {expected[:16]}; delete it and build it again: make features"
        raise DatasetError(msg)


def _read(reference: DatasetRef, manifest: DatasetManifest, products: Sequence[str] | None) -> Dataset:
    fold, path = borders_of(manifest), Path(reference.path)
    coins = tuple(products) if products is not None else manifest.products
    columns = manifest.feature_set.columns
    if missing := [coin for coin in coins if coin not in manifest.products]:
        msg = f"the data set {path.name} holds {', '.join(manifest.products)}, not {', '.join(missing)}; build it for these: make features"
        raise DatasetError(msg)
    rows = read_rows(path, coins, columns, PARTS, (fold.train, fold.end) if fold else None)
    if fold is not None:
        rows = _of_fold(fold, rows, manifest.horizon_minutes)
    return Dataset(
        digest=reference.digest,
        manifest=manifest,
        coins=coins,
        columns=columns,
        coin_N=rows.product_N.astype(np.int64),
        minute_N=rows.minute_N,
        close_N=rows.close_N,
        x_NF=rows.x_NF,
        direction_N=rows.direction_N,
        return_N=rows.return_N,
        part_N=rows.part_N,
    )


def _of_fold(fold: FoldBorders, rows: DatasetRows, horizon: int) -> DatasetRows:
    """Assign each row to the fold's parts, and drop the labels that look past the fold's end."""
    later_N = rows.minute_N + horizon >= fold.end
    direction_N = np.where(later_N, UNLABELLED, rows.direction_N).astype(np.int8)
    part_N = np.where(direction_N == UNLABELLED, UNLABELLED, fold.parts(rows.minute_N, horizon)).astype(np.int8)
    return replace(rows, direction_N=direction_N, return_N=np.where(later_N, np.nan, rows.return_N), part_N=part_N)
