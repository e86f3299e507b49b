"""A manifest says what the columns mean: a reference carries its hash, and no manifest names other rows than its own."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from core.dataset_files import DatasetRef
from core.errors import DatasetError
from core.files import write_json
from models.datasets.dataset import load_dataset
from models.datasets.folds import FoldBorders, write_view
from models.datasets.remote_dataset import fetch_dataset, publish_dataset


def changed(path: Path, **changes: object) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def reversed_columns(path: Path) -> dict[str, object]:
    features = json.loads(path.read_text())["feature_set"]
    return features | {"columns": features["columns"][::-1]}


def test_rows_exchanged_under_a_fitting_base_digest_are_refused(make_dataset, tmp_path):
    reference = make_dataset(minutes=300)
    path = Path(reference.path)
    path.write_bytes(path.read_bytes() + b"other rows")
    changed(Path(reference.manifest_path), base_digest=sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match=r"names another file than its own and is no fold's.*make features"):
        load_dataset(reference)


def test_fold_that_names_other_rows_is_refused(make_dataset, tmp_path):
    base = make_dataset(minutes=300)
    first = int(load_dataset(base).minute_N[0])
    fold = write_view(base, FoldBorders(first, first + 100, first + 150, first + 200, first + 290), tmp_path)
    assert fold.manifest_sha256 and len(load_dataset(fold).minute_N)
    path = Path(fold.path)
    path.write_bytes(path.read_bytes() + b"other rows")
    changed(Path(fold.manifest_path), base_digest=sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DatasetError, match=r"was changed|has sha256"):
        load_dataset(replace(fold, manifest_sha256=""))


def test_columns_reversed_on_a_shared_place_are_refused_and_taken_when_they_are_right_again(make_dataset, tmp_path):
    local, uri = make_dataset(minutes=300), (tmp_path / "shared").as_uri()
    shared = publish_dataset(local, uri)
    there = tmp_path / "shared" / Path(local.manifest_path).name
    whole = there.read_bytes()
    changed(there, feature_set=reversed_columns(there))
    with pytest.raises(DatasetError, match=r"has sha256 .*, expected .*remove it there"):
        fetch_dataset(shared, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.json"))
    # same size, other content: put there anew by whoever publishes
    there.write_bytes(whole[::-1])
    publish_dataset(local, uri)
    fetched = fetch_dataset(shared, tmp_path / "cache")
    np.testing.assert_array_equal(load_dataset(fetched).x_NF, load_dataset(local).x_NF)
    # the copy here counts no more than the one there
    changed(Path(fetched.manifest_path), feature_set=reversed_columns(Path(fetched.manifest_path)))
    with pytest.raises(DatasetError, match="was handed on with"):
        load_dataset(fetched)
    assert load_dataset(fetch_dataset(shared, tmp_path / "cache")).columns == load_dataset(local).columns


def test_reference_of_an_older_version_is_taken(make_dataset, tmp_path):
    local = make_dataset(minutes=300)
    old = DatasetRef(**{name: getattr(local, name) for name in ("digest", "path", "manifest_path")})
    shared = replace(publish_dataset(old, (tmp_path / "shared").as_uri()), manifest_sha256="")
    assert len(load_dataset(fetch_dataset(shared, tmp_path / "cache")).minute_N) == len(load_dataset(old).minute_N)
