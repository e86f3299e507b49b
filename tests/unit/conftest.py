"""Makers of the small data set, for tests that need one of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.small_dataset import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.dataset_files import DatasetRef


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., DatasetRef]:
    """Return a maker of data sets under this test's folder."""

    def make(**options: object) -> DatasetRef:
        return write_dataset(tmp_path, **options)  # type: ignore[arg-type]

    return make
