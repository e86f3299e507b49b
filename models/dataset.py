"""Read an immutable data set: one Parquet file and the manifest beside it.

Shapes: N rows of the file, F inputs of the feature set, C coins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from desk.errors import DatasetError, ModelError
from models.artefacts import read_json, sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from desk.market import DatasetRef

PARTS = ("train", "early_stop", "calibration", "test")
UNLABELLED = -1


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

    Raises:
        DatasetError: the file is missing, changed, or lacks a product or column.
    """
    path = Path(reference.path)
    if not path.exists():
        msg = f"the data set {path} is missing; build it again: make features"
        raise DatasetError(msg)
    if (found := sha256_of(path)) != reference.digest:
        msg = f"the data set {path.name} has sha256 {found[:16]}, expected {reference.digest[:16]}; delete it and build it again: make features"
        raise DatasetError(msg)
    manifest = _manifest(Path(reference.manifest_path), reference.digest)
    coins = tuple(products) if products is not None else tuple(manifest["products"])
    columns = tuple(manifest["feature_set"]["columns"])
    if missing := [coin for coin in coins if coin not in manifest["products"]]:
        msg = f"the data set {path.name} holds {', '.join(manifest['products'])}, not {', '.join(missing)}; build it for these: make features"
        raise DatasetError(msg)
    table = _table(path, coins, columns)
    return _from_table(table, reference.digest, manifest, coins, columns)


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


def _table(path: Path, coins: Sequence[str], columns: Sequence[str]) -> pa.Table:
    names = ["product", "minute", "close", *columns, "direction_15m", "return_15m", "part"]
    try:
        table = pq.read_table(path, columns=names, filters=[("product", "in", list(coins))], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        msg = f"the data set {path} cannot be read ({str(error).splitlines()[0]}); build it again: make features"
        raise DatasetError(msg) from error
    if missing := [name for name in names if name not in table.column_names]:
        msg = f"the data set {path.name} lacks the columns {', '.join(missing)}; build it again: make features"
        raise DatasetError(msg)
    return table


def _from_table(
    table: pa.Table, digest: str, manifest: dict[str, Any], coins: tuple[str, ...], columns: tuple[str, ...]
) -> Dataset:
    x_NF = np.empty((table.num_rows, len(columns)), dtype=np.float32)
    for position, name in enumerate(columns):
        x_NF[:, position] = table[name].to_numpy()
    if not np.isfinite(x_NF).all():
        bad = columns[int(np.flatnonzero(~np.isfinite(x_NF).all(axis=0))[0])]
        msg = f"the data set {digest[:16]} holds values that are not finite, the first in column {bad}; build it again: make features"
        raise DatasetError(msg)
    return Dataset(
        digest=digest,
        manifest=manifest,
        coins=coins,
        columns=columns,
        coin_N=_codes(table["product"], coins).astype(np.int64),
        minute_N=table["minute"].to_numpy().astype(np.int64),
        close_N=table["close"].to_numpy().astype(np.float64),
        x_NF=x_NF,
        direction_N=table["direction_15m"].fill_null(UNLABELLED).to_numpy().astype(np.int8),
        return_N=table["return_15m"].to_numpy().astype(np.float64),
        part_N=_codes(table["part"], PARTS),
    )


def _codes(column: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.int8]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words = encoded.dictionary.to_pylist()
    codes = np.array([names.index(word) if word in names else UNLABELLED for word in words] + [UNLABELLED], np.int8)
    return np.asarray(codes[encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)])
