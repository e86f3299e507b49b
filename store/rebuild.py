"""Build a past data set again, from nothing but the store, and see that it has the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from core.candles import Span
from core.errors import DatasetError
from store.feature_sets import recorded_set

if TYPE_CHECKING:
    from core.settings import Settings
    from store.feature_store import FeatureStore


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild came to."""

    digest: str
    path: Path
    rows: int
    was_missing: bool
    """Whether the file was gone (or not the one it is named by), and lies there again now."""


def recorded(store: FeatureStore, digest: str) -> dict[str, Any]:
    """Return the catalogue's row of the data set whose hash begins with ``digest``.

    Raises:
        DatasetError: none does, or several do.
    """
    rows = store.recorded_datasets()
    found = [row for row in rows if row["digest"].startswith(digest)]
    if len(found) != 1 or not digest:
        known = ", ".join(row["digest"][:16] for row in rows) or "none"
        what = "none begins" if not found else f"{len(found)} begin"
        msg = f"{what} with {digest!r} of the data sets recorded here: {known}; see: desk dataset list"
        raise DatasetError(msg)
    return found[0]


def rebuild(settings: Settings, store: FeatureStore, digest: str) -> Rebuilt:
    """Compute every row of a recorded data set again, as the candles were known then, and compare the bytes.

    Nothing cached is used. A file that is missing or spoiled is put back; one that is whole is left alone.

    Raises:
        DatasetError: the data set is not recorded, or the bytes differ.
        ConfigError: the SQL of its feature set is another one today.
    """
    row = recorded(store, digest)
    features = recorded_set(row["feature_set"], row["feature_hash"], row["feature_set"])
    path = settings.paths.home / row["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".rebuild-", dir=path.parent) as folder:
        built = store.build_dataset(
            row["products"].split(","),
            Span(row["start_time"], row["end_time"]),
            Path(folder),
            features,
            row["known_at_cut"],
            threads=settings.feature_threads,
            memory_mb=settings.feature_memory_mb,
        )
        if built.reference.digest != row["digest"]:
            msg = (
                f"data set {row['digest'][:16]} came out as {built.reference.digest[:16]}: the store no longer holds what it held, "
                "or another version of the libraries writes other bytes; desk verify looks at the store"
            )
            raise DatasetError(msg)
        is_whole = path.exists() and _same(Path(built.reference.path), path)
        if not is_whole:
            Path(built.reference.manifest_path).replace(path.with_suffix(".json"))
            Path(built.reference.path).replace(path)
    return Rebuilt(row["digest"], path, built.rows, not is_whole)


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
