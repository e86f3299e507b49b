"""Make a walk-forward fold a data set of its own, under its own name, without copying a row.

A fold is a manifest that names the file's hash and the borders; `models.datasets.dataset.load_dataset` reads only the
fold's rows and assigns them to the fold's parts. So training, calibration, judging and `verify` need to know nothing of
folds, and nothing after a fold's end can reach them: those rows are not read. Shapes: N rows.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import Span, minute_start
from core.dataset_files import DatasetRef, PartBorders
from core.errors import DatasetError
from core.files import as_json_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from core.dataset_files import DatasetManifest

_NONE = -1


@dataclass(frozen=True, slots=True)
class FoldBorders:
    """First minute of each part of a fold, and the minute after its last; minutes since 1970 UTC."""

    train: int
    early_stop: int
    calibration: int
    test: int
    end: int
    every: int = 1
    """Judge only minutes that this divides: labels of 15 minutes overlap, so little is lost."""

    def __post_init__(self) -> None:
        """Refuse parts that are not in the order of time.

        Only because every part comes after all that is fitted for it is a purge of the horizon enough: were a test to
        precede training, the longest feature window would have to be left out after it too (embargo).

        Raises:
            DatasetError: a part is empty or precedes an earlier one, or ``every`` is below 1.
        """
        edges = (self.train, self.early_stop, self.calibration, self.test, self.end)
        if any(later <= earlier for earlier, later in pairwise(edges)):
            msg = f"a fold's parts begin at the minutes {', '.join(map(str, edges[:4]))} and end at {self.end}: each must come after the one before; choose fewer folds or a longer span"
            raise DatasetError(msg)
        if self.every < 1:
            msg = f"judging every {self.every}-th minute is impossible; take 1 or more"
            raise DatasetError(msg)

    def parts(self, minute_N: NDArray[np.int64], horizon: int) -> NDArray[np.int8]:
        """Return each row's part as an index into ``PARTS``, -1 where its label reaches across a border.

        The end of the test part is a border too: a label that looks past it would show what came after the fold.
        """
        edges = np.array([self.early_stop, self.calibration, self.test, self.end])
        part_N = edges.searchsorted(minute_N, side="right")
        none_N = part_N != edges.searchsorted(minute_N + horizon, side="right")
        none_N |= (minute_N < self.train) | (minute_N >= self.end)
        none_N |= (part_N == 3) & (minute_N % self.every != 0)
        return np.where(none_N, _NONE, part_N).astype(np.int8)


def write_view(base: DatasetRef, borders: FoldBorders, folder: Path) -> DatasetRef:
    """Write a fold's manifest into ``folder`` and return the reference that stands for the fold.

    Raises:
        DatasetError: ``base`` is itself a fold, or its manifest is damaged or belongs to another file.
    """
    manifest = base.manifest()
    if manifest.fold is not None:
        msg = f"{base.manifest_path} is not the manifest of the whole data set {base.digest[:16]}; build it again: make features"
        raise DatasetError(msg)
    view = replace(
        manifest,
        digest=view_digest(base.digest, borders),
        base_digest=base.digest,
        fold=asdict(borders),
        borders=PartBorders(*map(minute_start, (borders.early_stop, borders.calibration, borders.test))),
        span=Span(minute_start(borders.train), minute_start(borders.end)),
        folds=(),
        rows=None,
    )
    path = folder / f"{view.digest[:16]}.json"
    # several runs share a fold: one that is there is left alone
    if not (path.exists() and path.read_bytes() == as_json_bytes(view.as_json())):
        view.write(path)
    return DatasetRef(view.digest, base.path, str(path)).with_manifest()


def minutes_of(reference: DatasetRef) -> tuple[int, int]:
    """Return the first minute that any product of a data set has, and the one after the last; minutes since 1970 UTC.

    Raises:
        DatasetError: the file cannot be read or is empty.
    """
    try:
        minute_N = pq.read_table(reference.path, columns=["minute"])["minute"].to_numpy()
    except (pa.ArrowException, OSError) as error:
        msg = f"the data set {reference.path} cannot be read ({str(error).splitlines()[0]}); build it again: make features"
        raise DatasetError(msg) from error
    if not len(minute_N):
        msg = f"the data set {reference.path} holds no row; backfill a longer span: make backfill, then make features"
        raise DatasetError(msg)
    return int(minute_N.min()), int(minute_N.max()) + 1


def view_digest(base_digest: str, borders: FoldBorders) -> str:
    """Return the name of a fold: sha256 over the file's hash and the borders."""
    content = json.dumps({"base": base_digest, "fold": asdict(borders)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def borders_of(manifest: DatasetManifest) -> FoldBorders | None:
    """Return the borders a manifest gives if it is that of a fold, None for a whole data set.

    Raises:
        DatasetError: the manifest was changed: its name no longer follows from file and borders.
    """
    if manifest.fold is None:
        return None
    try:
        borders = FoldBorders(**manifest.fold)
        is_whole = view_digest(str(manifest.base_digest), borders) == manifest.digest
    except TypeError:
        is_whole = False
    if not is_whole:
        msg = f"the manifest of fold {manifest.digest[:16]} was changed; remove it and run again: desk walk-forward"
        raise DatasetError(msg)
    return borders
