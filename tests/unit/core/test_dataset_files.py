import json

import pytest

from core.dataset_files import MANIFEST_VERSION, DatasetManifest, DatasetRef
from core.errors import DatasetError

VERSION_1 = {
    "digest": "a" * 64,
    "feature_set": {"name": "flow", "version": 1, "sha256": "f" * 64, "columns": ["return_1"], "warm_up_minutes": 60},
    "products": ["BTC-USD"],
    "span": {"start": "2024-01-01T00:00:00+00:00", "end": "2024-02-01T00:00:00+00:00"},
    "known_at_cut": "2024-02-01T00:00:07.123456+00:00",
    "horizon_minutes": 15,
    "purge_minutes": 15,
    "embargo_minutes": 0,
    "borders": {
        "early_stop": "2024-01-22T16:48:00+00:00",
        "calibration": "2024-01-25T00:36:00+00:00",
        "test": "2024-01-27T08:24:00+00:00",
    },
    "folds": [{"train_start": "2024-01-01T00:00:00+00:00"}],
    "rows": {"BTC-USD": {"train": 3}},
    "sources": ["coinbase"],
}


def written(folder, content):
    path = folder / "d.json"
    path.write_text(json.dumps(content))
    return path


def test_manifest_of_version_1_is_read_and_written_with_the_same_keys(tmp_path):
    manifest = DatasetManifest.read(written(tmp_path, VERSION_1))
    assert manifest.as_json() == VERSION_1 | {"version": MANIFEST_VERSION}
    manifest.write(tmp_path / "again.json")
    assert DatasetManifest.read(tmp_path / "again.json") == manifest


def test_manifest_without_what_version_1_could_lack_is_read(tmp_path):
    optional = {"known_at_cut", "purge_minutes", "embargo_minutes", "folds", "rows"}
    manifest = DatasetManifest.read(written(tmp_path, {k: v for k, v in VERSION_1.items() if k not in optional}))
    assert (manifest.known_at_cut, manifest.folds, manifest.rows) == (None, (), None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": MANIFEST_VERSION + 1}, "bring Candledesk up to date"),
        ({"borders": {"test": "2024-01-27T08:24:00+00:00"}}, "is damaged"),
        ({"span": "2024"}, "is damaged"),
    ],
)
def test_manifest_that_cannot_be_read_is_refused_with_the_repair(tmp_path, change, words):
    path = written(tmp_path, VERSION_1 | change)
    with pytest.raises(DatasetError, match=words) as refused:
        DatasetManifest.read(path)
    assert str(path) in str(refused.value)


def test_manifest_that_lacks_a_key_names_it(tmp_path):
    path = written(tmp_path, {k: v for k, v in VERSION_1.items() if k != "sources"})
    with pytest.raises(DatasetError, match="lacks sources; build the data set again: make features"):
        DatasetManifest.read(path)


def test_manifest_of_another_data_set_is_refused(tmp_path):
    reference = DatasetRef.at("b" * 64, tmp_path / "d.parquet")
    written(tmp_path, VERSION_1)
    with pytest.raises(DatasetError, match="belongs to data set aaaaaaaaaaaaaaaa, not bbbbbbbbbbbbbbbb"):
        reference.manifest()


def test_manifest_that_is_missing_names_the_repair(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        DatasetManifest.read(tmp_path / "d.json")
