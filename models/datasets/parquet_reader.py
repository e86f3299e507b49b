"""Read the rows of a data set file into arrays, row group by row group, so that no second copy of the inputs is ever held.

Shapes: N rows that are kept, F inputs.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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
