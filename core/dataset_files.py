"""Name a data set's files, and read and write the typed manifest beside its rows.

The store writes them, `models` reads them; neither imports the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.candles import Span
from core.errors import DatasetError, ModelError
from core.files import read_json, write_json
from core.integrity import require_id

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST_VERSION = 2
"""Version 1 is every manifest without a version: the same keys, whose files stay readable."""


@dataclass(frozen=True, slots=True)
class DatasetRef:
    """Where an immutable data set lies; ``digest`` is the sha256 of its Parquet file."""

    digest: str
    path: str
    manifest_path: str

    def __post_init__(self) -> None:
        """Refuse a digest that names no file of a data folder."""
        require_id(self.digest, "data set")

    @classmethod
    def at(cls, digest: str, path: Path) -> DatasetRef:
        """Return the reference of a Parquet file whose manifest lies beside it under the same name."""
        return cls(digest, str(path), str(path.with_suffix(".json")))

    def manifest(self) -> DatasetManifest:
        """Read the manifest.

        Raises:
            DatasetError: it is missing, damaged, of newer code, or that of another data set.
        """
        path = Path(self.manifest_path)
        manifest = DatasetManifest.read(path)
        if manifest.digest != self.digest:
            msg = f"the manifest {path} belongs to data set {manifest.digest[:16]}, not {self.digest[:16]}; build it again: make features"
            raise DatasetError(msg)
        return manifest


@dataclass(frozen=True, slots=True)
class ManifestFeatures:
    """The feature set that a data set's inputs are of, as its SQL was then."""

    name: str
    version: int
    sha256: str
    columns: tuple[str, ...]
    warm_up_minutes: int = 0


@dataclass(frozen=True, slots=True)
class PartBorders:
    """First minute of each later part; training comes before ``early_stop``."""

    early_stop: datetime
    calibration: datetime
    test: datetime


@dataclass(frozen=True, slots=True)
class DatasetManifest:
    """What a data set is made of; all moments are aware UTC."""

    digest: str
    """sha256 of the Parquet file; of a fold, its own name."""
    feature_set: ManifestFeatures
    products: tuple[str, ...]
    span: Span
    horizon_minutes: int
    borders: PartBorders
    sources: tuple[str, ...]
    """Where the candles came from."""
    known_at_cut: datetime | None = None
    """Candle versions learned later do not exist for the data set."""
    purge_minutes: int = 0
    embargo_minutes: int = 0
    folds: tuple[Mapping[str, datetime], ...] = ()
    """Borders of the default walk-forward folds."""
    rows: Mapping[str, Mapping[str, int]] | None = None
    """Product -> part -> number of rows."""
    base_digest: str | None = None
    """Of a fold: the sha256 of the file that it is cut from."""
    fold: Mapping[str, int] | None = None
    """Of a fold: its borders in minutes since 1970."""
    shuffled: str | None = None
    """How the labels were shuffled, in the data set of a null check."""

    def __post_init__(self) -> None:
        """Refuse digests that name no file of a data folder."""
        for digest in (self.digest, self.file_digest):
            require_id(digest, "data set")

    @property
    def file_digest(self) -> str:
        """The sha256 that the Parquet file must have."""
        return self.base_digest or self.digest

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest of this version or an older one.

        Raises:
            DatasetError: it is missing or damaged, lacks a key, or newer code wrote it.
        """
        try:
            return cls.from_json(read_json(path))
        except ModelError as error:
            msg = f"the data set's manifest cannot be read: {error}"
            raise DatasetError(msg) from error
        except DatasetError as error:
            msg = f"the manifest {path} {error}"
            raise DatasetError(msg) from error

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the manifest that `as_json` gave.

        Raises:
            DatasetError: a key is missing or holds something else, or newer code wrote it; the text goes on from the file's name.
        """
        if int(content.get("version", 1)) > MANIFEST_VERSION:
            msg = f"is of version {content['version']}, this code reads up to {MANIFEST_VERSION}; bring Candledesk up to date: git pull, then make setup"
            raise DatasetError(msg)
        needed = ("digest", "feature_set", "products", "span", "horizon_minutes", "borders", "sources")
        if missing := [key for key in needed if key not in content]:
            msg = f"lacks {', '.join(missing)}; build the data set again: make features"
            raise DatasetError(msg)
        try:
            return cls._from(content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"is damaged ({error!r}); build the data set again: make features"
            raise DatasetError(msg) from error

    @classmethod
    def _from(cls, content: Mapping[str, Any]) -> Self:
        features, span, borders = content["feature_set"], content["span"], content["borders"]
        cut = content.get("known_at_cut")
        return cls(
            digest=str(content["digest"]),
            feature_set=ManifestFeatures(
                str(features["name"]),
                int(features["version"]),
                str(features["sha256"]),
                tuple(features["columns"]),
                int(features.get("warm_up_minutes", 0)),
            ),
            products=tuple(content["products"]),
            span=Span(datetime.fromisoformat(span["start"]), datetime.fromisoformat(span["end"])),
            horizon_minutes=int(content["horizon_minutes"]),
            borders=PartBorders(
                *(datetime.fromisoformat(borders[name]) for name in ("early_stop", "calibration", "test"))
            ),
            sources=tuple(content["sources"]),
            known_at_cut=datetime.fromisoformat(cut) if cut else None,
            purge_minutes=int(content.get("purge_minutes", 0)),
            embargo_minutes=int(content.get("embargo_minutes", 0)),
            folds=tuple(
                {name: datetime.fromisoformat(moment) for name, moment in fold.items()}
                for fold in content.get("folds", ())
            ),
            rows=content.get("rows"),
            base_digest=content.get("base_digest"),
            fold=content.get("fold"),
            shuffled=content.get("shuffled"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what is written: the keys of version 1 and the version; what does not apply is left out."""
        features = self.feature_set
        content: dict[str, Any] = {
            "version": MANIFEST_VERSION,
            "digest": self.digest,
            "feature_set": {
                "name": features.name,
                "version": features.version,
                "sha256": features.sha256,
                "columns": list(features.columns),
                "warm_up_minutes": features.warm_up_minutes,
            },
            "products": list(self.products),
            "span": {"start": self.span.start.isoformat(), "end": self.span.end.isoformat()},
            "known_at_cut": self.known_at_cut.isoformat() if self.known_at_cut else None,
            "horizon_minutes": self.horizon_minutes,
            "purge_minutes": self.purge_minutes,
            "embargo_minutes": self.embargo_minutes,
            "borders": {
                "early_stop": self.borders.early_stop.isoformat(),
                "calibration": self.borders.calibration.isoformat(),
                "test": self.borders.test.isoformat(),
            },
            "folds": [{name: moment.isoformat() for name, moment in fold.items()} for fold in self.folds] or None,
            "rows": self.rows,
            "sources": list(self.sources),
            "base_digest": self.base_digest,
            "fold": dict(self.fold) if self.fold is not None else None,
            "shuffled": self.shuffled,
        }
        return {name: value for name, value in content.items() if value is not None}

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            DiskFullError: there was no room; nothing is left.
        """
        write_json(path, self.as_json())
