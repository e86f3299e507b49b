"""Read an immutable data set: one Parquet file and the manifest beside it.

Shapes: N rows of the file, F inputs of the feature set, C coins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import DatasetError, ModelError
from core.files import read_json
from core.integrity import sha256_of
from core.remote_folder import is_uri
from core.settings import load_settings
from models.datasets.folds import borders_of
from models.datasets.parquet_reader import NO_CODE, read_rows
from models.datasets.remote_dataset import fetch_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.dataset_files import DatasetRef
    from models.datasets.folds import FoldBorders
    from models.datasets.parquet_reader import Rows

PARTS = ("train", "early_stop", "calibration", "test")
UNLABELLED = NO_CODE


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows of one or more coins, sorted by coin and minute, with the manifest they came with."""

    digest: str
    manifest: dict[str, Any]
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
        return int(self.manifest["horizon_minutes"])

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the candles came from, as the store recorded it."""
        return tuple(self.manifest["sources"])

    def rows(self, product: str, part: str) -> NDArray[np.int64]:
        """Return the row numbers of one coin's labelled rows in one part."""
        wanted = (self.part_N == PARTS.index(part)) & (self.coin_N == self.coins.index(product))
        return np.flatnonzero(wanted & (self.direction_N != UNLABELLED))


def load_dataset(reference: DatasetRef, products: Sequence[str] | None = None) -> Dataset:
    """Read ``products`` (all of them by default) and check the file against its digest.

    A reference to a URI is fetched first, into the data sets of this ``DESK_HOME``, unless it lies there already.

    Raises:
        DatasetError: the file is missing, changed, or lacks a product or column.
        RemoteFolderError: the URI cannot be read.
    """
    if is_uri(reference.path):
        reference = fetch_dataset(reference, load_settings().paths.datasets)
    path = Path(reference.path)
    if not path.exists():
        msg = f"the data set {path} is missing; build it again: make features"
        raise DatasetError(msg)
    manifest = _manifest(Path(reference.manifest_path), reference.digest)
    with ThreadPoolExecutor(1) as beside:
        # hashing takes as long as reading and neither needs the other: both at once, and nothing is returned before both
        digest = beside.submit(sha256_of, path)
        try:
            return _read(path, reference.digest, manifest, products)
        finally:
            # a fold has a name of its own; the file's is that of the whole
            _require_digest(path, digest.result(), manifest.get("base_digest", reference.digest))


def _require_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        msg = f"the data set {path.name} has sha256 {found[:16]}, expected {expected[:16]}; delete it and build it again: make features"
        raise DatasetError(msg)


def _read(path: Path, digest: str, manifest: dict[str, Any], products: Sequence[str] | None) -> Dataset:
    fold = borders_of(manifest)
    coins = tuple(products) if products is not None else tuple(manifest["products"])
    columns = tuple(manifest["feature_set"]["columns"])
    if missing := [coin for coin in coins if coin not in manifest["products"]]:
        msg = f"the data set {path.name} holds {', '.join(manifest['products'])}, not {', '.join(missing)}; build it for these: make features"
        raise DatasetError(msg)
    rows = read_rows(path, coins, columns, PARTS, (fold.train, fold.end) if fold else None)
    if fold is not None:
        rows = _of_fold(fold, rows, int(manifest["horizon_minutes"]))
    return Dataset(
        digest=digest,
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


def _of_fold(fold: FoldBorders, rows: Rows, horizon: int) -> Rows:
    """Say anew which part each row belongs to, and forget the labels that come from after the fold."""
    later_N = rows.minute_N + horizon >= fold.end
    direction_N = np.where(later_N, UNLABELLED, rows.direction_N).astype(np.int8)
    part_N = np.where(direction_N == UNLABELLED, UNLABELLED, fold.parts(rows.minute_N, horizon)).astype(np.int8)
    return replace(rows, direction_N=direction_N, return_N=np.where(later_N, np.nan, rows.return_N), part_N=part_N)


def _manifest(path: Path, digest: str) -> dict[str, Any]:
    try:
        manifest = read_json(path)
    except ModelError as error:
        msg = f"the data set's manifest cannot be read: {error}"
        raise DatasetError(msg) from error
    needed = ("digest", "feature_set", "products", "span", "horizon_minutes", "borders", "sources")
    if missing := [key for key in needed if key not in manifest]:
        msg = f"the manifest {path} lacks {', '.join(missing)}; build the data set again: make features"
        raise DatasetError(msg)
    if manifest["digest"] != digest:
        msg = f"the manifest {path} belongs to data set {manifest['digest'][:16]}, not {digest[:16]}; build it again: make features"
        raise DatasetError(msg)
    return manifest
