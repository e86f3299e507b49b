"""Read an immutable data set, one Parquet file and the manifest beside it; no second copy of the inputs is ever held.

Shapes: N rows that are kept, F inputs of the feature set, C coins.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DatasetError
from core.integrity import sha256_of
from models.datasets.folds import borders_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from core.dataset_files import DatasetManifest, DatasetRef
    from models.datasets.folds import FoldBorders

NO_CODE = -1
_LABEL_COLUMNS = ("product", "minute", "close", "direction_15m", "return_15m", "part")
"""The columns beside the inputs; they decide which rows are kept."""
_TEXTS = ["product", "part"]
# a column copied whole into rows of F values touches a cache line for each of them: 0.97 s CPU for 3.15 million rows of 42
# inputs; 2,048 rows of all columns fit the second-level cache: 0.15 s
_BLOCK_ROWS = 2048
# decompression is most of the work and lets other threads run; more than four wait for the disk
_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """Arrays of the rows kept, in the order of the file."""

    x_NF: NDArray[np.float32]
    """C-contiguous."""
    product_N: NDArray[np.int16]
    """Position among the requested products."""
    part_N: NDArray[np.int8]
    """Position among the parts, `NO_CODE` where the row belongs to none."""
    minute_N: NDArray[np.int64]
    close_N: NDArray[np.float64]
    direction_N: NDArray[np.int8]
    """`NO_CODE` where the row has no label."""
    return_N: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Group:
    """One row group: which of its rows are kept, and where they go."""

    number: int
    kept: NDArray[np.int64] | None
    """Row numbers within the group; None is all of them."""
    first: int
    count: int


def read_rows(
    path: Path,
    products: Sequence[str],
    inputs: Sequence[str],
    parts: Sequence[str],
    minutes: tuple[int, int] | None = None,
) -> DatasetRows:
    """Read the rows of ``products``; with ``minutes`` only those from the first up to, not including, the second.

    Raises:
        DatasetError: the file cannot be read, lacks a column, or an input holds a value that is not finite.
    """
    try:
        metadata = pq.read_metadata(path)
        missing = [name for name in (*_LABEL_COLUMNS, *inputs) if name not in metadata.schema.names]
        if missing:
            msg = f"the data set {path.name} lacks the columns {', '.join(missing)}; build it again: make features"
            raise DatasetError(msg)
        numbers = [number for number in range(metadata.num_row_groups) if _may_hold(metadata, number, products)]
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=_TEXTS) as file:
            table = file.read_row_groups(numbers, columns=list(_LABEL_COLUMNS))
        kept_N = _codes(table["product"], products) != NO_CODE
        if minutes is not None:
            minute_N = table["minute"].to_numpy()
            kept_N &= (minute_N >= minutes[0]) & (minute_N < minutes[1])
        # row group by row group 1.8 to 2.4 CPU s and a peak of 1.07 GB for 3.15 million rows of 42 inputs; by way of one whole table
        # 5 CPU s and 2.06 GB (docs/log.md)
        groups = _groups(metadata, numbers, kept_N)
        x_NF = _inputs(path, metadata, groups, inputs)
    except (pa.ArrowException, OSError) as error:
        msg = f"the data set {path} cannot be read ({str(error).splitlines()[0]}); build it again: make features"
        raise DatasetError(msg) from error
    if not kept_N.all():
        table = table.filter(pa.array(kept_N))
    return DatasetRows(
        x_NF=x_NF,
        product_N=_codes(table["product"], products),
        part_N=_codes(table["part"], parts).astype(np.int8),
        minute_N=table["minute"].to_numpy().astype(np.int64),
        close_N=table["close"].to_numpy().astype(np.float64),
        direction_N=table["direction_15m"].fill_null(NO_CODE).to_numpy().astype(np.int8),
        return_N=table["return_15m"].to_numpy().astype(np.float64),
    )


def _may_hold(metadata: pq.FileMetaData, number: int, products: Sequence[str]) -> bool:
    """Return whether a row group may hold one of ``products``, by the smallest and largest name in its statistics."""
    group = metadata.row_group(number)
    column = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "product")
    names = column.statistics
    if names is None or not names.has_min_max:
        return True
    return any(names.min <= product <= names.max for product in products)


def _groups(metadata: pq.FileMetaData, numbers: Sequence[int], kept_N: NDArray[np.bool_]) -> list[_Group]:
    sizes = [metadata.row_group(number).num_rows for number in numbers]
    ends = list(accumulate(sizes, initial=0))
    groups, first = [], 0
    for number, start, end in zip(numbers, ends[:-1], ends[1:], strict=True):
        kept = np.flatnonzero(kept_N[start:end])
        if len(kept):
            groups.append(_Group(number, None if len(kept) == end - start else kept, first, len(kept)))
            first += len(kept)
    return groups


def _inputs(
    path: Path, metadata: pq.FileMetaData, groups: Sequence[_Group], inputs: Sequence[str]
) -> NDArray[np.float32]:
    x_NF = np.empty((sum(group.count for group in groups), len(inputs)), dtype=np.float32)

    def fill(mine: Sequence[_Group]) -> set[str]:
        """Read every group of ``mine`` into its rows; return the inputs that hold a value that is not finite."""
        unfit: set[str] = set()
        with pq.ParquetFile(path, metadata=metadata) as file:
            for group in mine:
                table = file.read_row_group(group.number, columns=list(inputs), use_threads=False)
                if group.kept is not None:
                    table = table.take(pa.array(group.kept))
                columns_FN = np.stack([table[name].to_numpy() for name in inputs])
                unfit |= _copy(columns_FN, x_NF[group.first : group.first + group.count], inputs)
        return unfit

    with ThreadPoolExecutor(_READERS) as readers:
        unfit = set().union(*readers.map(fill, [groups[reader::_READERS] for reader in range(_READERS)]))
    if unfit:
        bad = next(name for name in inputs if name in unfit)
        msg = f"the data set {path.name} holds values that are not finite, the first in column {bad}; build it again: make features"
        raise DatasetError(msg)
    return x_NF


def _copy(columns_FN: NDArray[np.float32], rows_NF: NDArray[np.float32], inputs: Sequence[str]) -> set[str]:
    unfit: set[str] = set()
    for start in range(0, len(rows_NF), _BLOCK_ROWS):
        block = rows_NF[start : start + _BLOCK_ROWS]
        block[:] = columns_FN[:, start : start + _BLOCK_ROWS].T
        if not np.isfinite(block).all():
            unfit |= {inputs[int(column)] for column in np.flatnonzero(~np.isfinite(block).all(axis=0))}
    return unfit


def _codes(column: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.int16]:
    """Return for each value its position in ``names``, `NO_CODE` where it is none of them or null."""
    if not column.num_chunks:
        return np.empty(0, np.int16)
    encoded = column.unify_dictionaries().combine_chunks()
    words = encoded.dictionary.to_pylist()
    codes = np.array([names.index(word) if word in names else NO_CODE for word in words] + [NO_CODE], np.int16)
    return np.asarray(codes[encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)])


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
