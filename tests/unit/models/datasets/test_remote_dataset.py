"""Data sets and candidates by URI: what arrives is right or refused, and half of a file is never seen."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from core.dataset_files import DatasetRef
from core.errors import DatasetError, DiskFullError, RemoteFolderError
from core.remote_folder import is_uri, open_folder, split, within
from models.datasets import remote_dataset
from models.datasets.dataset import load_dataset
from models.datasets.remote_dataset import fetch_dataset, publish_dataset
from models.training import remote_candidate
from models.training.candidate import CandidateRef
from models.training.remote_candidate import fetch_candidate, publish_candidate
from tests.judged_models import write_candidate


@pytest.fixture
def place(tmp_path):
    return (tmp_path / "a shared place").as_uri()


@pytest.fixture
def published(make_dataset, place):
    return publish_dataset(make_dataset(minutes=300), place)


def folder_of(uri):
    return Path(uri.removeprefix("file://").replace("%20", " "))


@pytest.fixture
def web(tmp_path):
    """A web server that gives out tmp_path/www."""
    (tmp_path / "www").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def candidate_in(folder, weights=b"weights"):
    home = write_candidate(folder / "lstm-BTC-USD-1", weights=weights, weights_sha256=sha256(b"weights").hexdigest())
    (home / "train.log").write_text("")
    return CandidateRef("lstm-BTC-USD-1", "lstm", ("BTC-USD",), str(home))


def test_dataset_by_uri_is_the_same_data_set(make_dataset, place, tmp_path):
    local = make_dataset(products=("BTC-USD", "ETH-USD"), minutes=300)
    shared = publish_dataset(local, place)
    here, there = (load_dataset(fetch_dataset(one, tmp_path / "cache"), ["ETH-USD"]) for one in (local, shared))
    assert is_uri(shared.path)
    assert there.digest == here.digest
    np.testing.assert_array_equal(there.x_NF, here.x_NF)


def test_fetch_twice_asks_the_place_once(published, tmp_path, monkeypatch):
    first = fetch_dataset(published, tmp_path / "cache")
    monkeypatch.setattr(remote_dataset, "open_folder", lambda uri: pytest.fail(f"asked {uri} again"))
    assert fetch_dataset(published, tmp_path / "cache") == first


def test_fetch_by_many_at_once_asks_the_place_once(published, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(remote_dataset, "open_folder", lambda uri: asked.append(uri) or open_folder(uri))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fetch_dataset(published, tmp_path / "cache"), range(8)))
    assert len(set(found)) == 1
    assert len(asked) == 2  # the manifest and the rows


def test_fetch_puts_a_spoiled_copy_right(published, tmp_path):
    local = fetch_dataset(published, tmp_path / "cache")
    Path(local.path).write_bytes(b"spoiled")
    again = fetch_dataset(published, tmp_path / "cache")
    assert again == local
    assert sha256(Path(again.path).read_bytes()).hexdigest() == published.digest


def test_fetch_of_other_bytes_is_refused_and_leaves_nothing(published, place, tmp_path):
    (folder_of(place) / Path(published.path).name).write_bytes(b"others")
    with pytest.raises(DatasetError, match=r"has sha256 .*, expected .*; remove it there"):
        fetch_dataset(published, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.parquet"))
    assert not list((tmp_path / "cache").glob(".*.tmp"))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"digest": "1234"}'])
def test_fetch_with_another_manifest_is_refused(published, place, tmp_path, text):
    (folder_of(place) / Path(published.manifest_path).name).write_text(text)
    with pytest.raises(DatasetError, match="is the manifest of"):
        fetch_dataset(published, tmp_path / "cache")


def test_publish_again_writes_nothing_and_a_torn_file_anew(make_dataset, place):
    local = make_dataset(minutes=300)
    file = folder_of(place) / Path(publish_dataset(local, place).path).name
    before = file.stat().st_mtime_ns
    publish_dataset(local, place)
    assert file.stat().st_mtime_ns == before
    file.write_bytes(b"torn")
    publish_dataset(local, place)
    assert file.read_bytes() == Path(local.path).read_bytes()


def test_dataset_from_a_web_server(make_dataset, web, tmp_path):
    local = make_dataset(minutes=300)
    publish_dataset(local, (tmp_path / "www").as_uri())
    shared = publish_dataset(local, web)  # it is there, so nothing has to be written
    assert load_dataset(fetch_dataset(shared, tmp_path / "cache")).digest == local.digest


def test_web_server_without_the_data_set_cannot_be_written(make_dataset, web):
    with pytest.raises(RemoteFolderError, match="only gives files out"):
        publish_dataset(make_dataset(minutes=300), web)


def test_web_server_that_is_gone_names_the_setting(tmp_path):
    gone = DatasetRef("0" * 64, "http://127.0.0.1:9/x.parquet", "http://127.0.0.1:9/hush/x.json")
    with pytest.raises(
        RemoteFolderError, match=r"x\.json at http://127\.0\.0\.1:9/\S+ cannot be read .*DATASETS_URI"
    ) as caught:
        fetch_dataset(gone, tmp_path)
    assert "hush" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_no_room_here_is_told_as_such(published):
    folder, name = split(published.path)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(DiskFullError, match="free some disk space"):
        open_folder(folder).read(name, full, 1 << 30)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://key:hush@bucket/x",
        "https://user:hush@host/x",
        "abfs://account:hush@container/x",
        "http://host:hush/x",
        "https://host/x?sig=hush",
        "https://host/x;token=hush",
        "gs://bucket/x?client_secret=hush",
        "s3://bucket/x#hush",
    ],
)
def test_uri_with_credentials_is_refused_without_showing_them(uri):
    with pytest.raises(RemoteFolderError, match="credentials") as caught:
        open_folder(uri)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("uri", ["abfs://container@account/x", "abfss://container@account.dfs.core.windows.net/x"])
def test_container_of_azure_is_no_credential(uri):
    assert open_folder(uri).uri == uri


def test_file_that_never_ends_is_given_up_at_a_size_and_leaves_nothing(published, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_dataset, "_MOST_ROWS", 1_000)
    with pytest.raises(RemoteFolderError, match=r"\.parquet is larger than 1,000 bytes"):
        fetch_dataset(published, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.parquet*"))
    assert not list((tmp_path / "cache").glob(".*.tmp"))


def test_web_server_that_sends_more_than_may_be_is_given_up(web, tmp_path):
    (tmp_path / "www" / "x").write_bytes(b"0" * 3_000_000)
    sink = io.BytesIO()
    with pytest.raises(RemoteFolderError, match=r"x at http://\S+ is larger than 2,000,000 bytes"):
        open_folder(web).read("x", sink, 2_000_000)
    assert len(sink.getvalue()) <= 2_000_000
    open_folder(web).read("x", sink, 3_000_000)


def test_candidate_that_is_too_large_is_refused_and_leaves_nothing(place, tmp_path, monkeypatch):
    publish_candidate(candidate_in(tmp_path / "worker", weights=b"w" * 5_000), place)
    monkeypatch.setattr(remote_candidate, "_MOST", 4_000)
    with pytest.raises(RemoteFolderError, match=r"weights\.pt is larger than 4,000 bytes"):
        fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk")
    assert not (tmp_path / "desk" / "lstm-BTC-USD-1").exists()


def test_unknown_kind_of_uri_names_the_known_ones():
    with pytest.raises(RemoteFolderError, match="s3, gs"):
        open_folder("ftp://host/x")


@pytest.mark.parametrize("uri", ["file:///srv/desk", "s3://bucket/desk?endpoint_override=127.0.0.1%3A9", "http://h/"])
def test_within_and_split_are_inverse(uri):
    assert split(within(uri, "a b.json")) == (uri.replace("h/", "h"), "a%20b.json")


def test_candidate_makes_the_round_trip(place, tmp_path):
    candidate = candidate_in(tmp_path / "worker")
    shared = publish_candidate(candidate, place)
    assert shared.path == within(place, "lstm-BTC-USD-1")
    fetched = fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk")
    assert Path(fetched.path) == tmp_path / "desk" / "lstm-BTC-USD-1"
    assert (Path(fetched.path) / "weights.pt").read_bytes() == b"weights"


def test_candidate_that_is_nowhere_is_none(place, tmp_path):
    assert fetch_candidate("lstm-BTC-USD-1", place, tmp_path) is None


def test_candidate_with_other_weights_is_refused(place, tmp_path):
    publish_candidate(candidate_in(tmp_path / "worker", weights=b"others"), place)
    with pytest.raises(RemoteFolderError, match="not whole"):
        fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk")
    assert not (tmp_path / "desk" / "lstm-BTC-USD-1" / "candidate.json").exists()


def test_candidate_whose_marker_is_not_there_yet_is_none(place, tmp_path):
    publish_candidate(candidate_in(tmp_path / "worker"), place)
    (folder_of(place) / "lstm-BTC-USD-1" / "candidate.json").unlink()
    assert fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk") is None


def test_publish_into_its_own_folder_leaves_the_files_alone(tmp_path):
    candidate = candidate_in(tmp_path)
    before = (Path(candidate.path) / "weights.pt").stat().st_ino
    publish_candidate(candidate, tmp_path.as_uri())
    assert (Path(candidate.path) / "weights.pt").stat().st_ino == before


def test_written_file_is_never_seen_in_part(place, tmp_path):
    source = tmp_path / "big"
    source.write_bytes(b"x" * (4 << 20))
    there, seen, done = open_folder(place), set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add(there.size("big"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        there.write("big", source)
    done.set()
    watcher.join()
    assert seen <= {None, 4 << 20}
    assert [file.name for file in folder_of(place).iterdir()] == ["big"]


@pytest.mark.parametrize("marker", ["{}", "no JSON", "[" * 100_000, '{"candidate_id": "../../escape"}'])
def test_candidate_whose_marker_is_bad_is_never_kept_and_a_repaired_one_is_taken(place, tmp_path, marker):
    candidate = candidate_in(tmp_path / "worker")
    publish_candidate(candidate, place)
    shared = folder_of(place) / "lstm-BTC-USD-1" / "candidate.json"
    whole = shared.read_bytes()
    shared.write_text(marker)
    with pytest.raises(RemoteFolderError, match=r"not whole: its candidate.json is damaged.*remove it there"):
        fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk")
    assert not (tmp_path / "desk" / "lstm-BTC-USD-1").exists()
    shared.write_bytes(whole)
    assert fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk").products == ("BTC-USD",)


def test_candidate_that_an_older_version_kept_unseen_is_fetched_again(place, tmp_path):
    publish_candidate(candidate_in(tmp_path / "worker"), place)
    kept = tmp_path / "desk" / "lstm-BTC-USD-1"
    kept.mkdir(parents=True)
    (kept / "candidate.json").write_text("{}")
    (kept / "weights.pt").write_bytes(b"weights")
    assert fetch_candidate("lstm-BTC-USD-1", place, tmp_path / "desk").products == ("BTC-USD",)


def test_candidate_of_another_name_is_refused(place, tmp_path):
    publish_candidate(candidate_in(tmp_path / "worker"), place)
    (folder_of(place) / "lstm-BTC-USD-1").rename(folder_of(place) / "lstm-BTC-USD-2")
    with pytest.raises(RemoteFolderError, match="is that of lstm-BTC-USD-1"):
        fetch_candidate("lstm-BTC-USD-2", place, tmp_path / "desk")
