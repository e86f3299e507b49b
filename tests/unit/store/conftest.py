"""What the tests of the store share: databases of version 1, and an empty one of this version."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.feature_store import FeatureStore

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v1"


@pytest.fixture
def old_databases(tmp_path: Path) -> dict[str, Path]:
    """Copies of the two databases as the code of version 1 left them."""
    found = {}
    for name in ("market", "signals"):
        found[name] = tmp_path / f"{name}.duckdb"
        found[name].write_bytes(gzip.decompress((GOLDEN / f"{name}_v1.duckdb.gz").read_bytes()))
    return found


@pytest.fixture
def store(tmp_path: Path, fresh_market: Callable[[Path], FeatureStore]) -> FeatureStore:
    """An empty market database on a file; modules that need another define their own."""
    return fresh_market(tmp_path / "market.duckdb")
