"""A file that is damaged, newer or something else is refused with the repair named, and left byte for byte as it is."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.errors import NotADatabaseError, StoreBusyError
from core.settings import Paths
from store.database import connect, publish
from store.feature_store import FeatureStore
from store.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
HEADER_BYTES = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, fresh_market: Callable[[Path], FeatureStore]) -> bytes:
    """An empty market database, checkpointed."""
    path = tmp_path_factory.mktemp("sound") / "market.duckdb"
    fresh_market(path)
    return path.read_bytes()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]


def checksum(data: bytes) -> int:
    """DuckDB's checksum of a block whose length is a multiple of eight."""
    total = 5381
    for (word,) in struct.iter_unpack("<Q", data):
        total ^= word * 0xBF58476D1CE4E5B9 % 2**64
    return total


def of_newer_duckdb(data: bytes) -> bytes:
    """The same file, its storage version raised and its header's checksum made to fit."""
    header = bytearray(data[:HEADER_BYTES])
    assert struct.unpack_from("<Q", header)[0] == checksum(bytes(header[8:]))
    (version,) = struct.unpack_from("<Q", header, 12)
    struct.pack_into("<Q", header, 12, version + 900)
    struct.pack_into("<Q", header, 0, checksum(bytes(header[8:])))
    return bytes(header) + data[HEADER_BYTES:]


SPOILED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "emptied": (lambda _: b"", "go back to the published copy"),
    "a few bytes left": (lambda data: data[:100], "go back to the published copy"),
    "header only": (lambda data: data[:HEADER_BYTES], "go back to the published copy"),
    "cut in half": (lambda data: data[: len(data) // 2], "go back to the published copy"),
    "magic word flipped": (lambda data: flipped(data, 9), "go back to the published copy"),
    "header flipped": (lambda data: flipped(data, 12), "go back to the published copy"),
    "second header flipped": (lambda data: flipped(data, HEADER_BYTES + 10), "go back to the published copy"),
    "catalogue flipped": (lambda data: flipped(data, 3 * HEADER_BYTES + 2000), "go back to the published copy"),
    "noise": (lambda _: bytes(range(256)) * 200, "go back to the published copy"),
    "another program's": (lambda _: b"SQLite format 3\0" + bytes(8000), "go back to the published copy"),
    "a web page": (lambda _: b"<html>502 Bad Gateway</html>", "go back to the published copy"),
    "a newer DuckDB's": (of_newer_duckdb, "make setup"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_file_is_refused_by_every_way_in_and_left_as_it_is(tmp_path: Path, sound: bytes, name: str) -> None:
    spoil, repair = SPOILED[name]
    path, copy = tmp_path / "market.duckdb", tmp_path / "market_read.duckdb"
    spoiled = spoil(sound)
    path.write_bytes(spoiled)
    store = FeatureStore(path)
    ways: list[Callable[[], object]] = [store.migrate, store.coverage, lambda: store.publish(copy)]
    ways.append(lambda: store.append("execution_costs", [{"product": "*"}]))
    for way in ways:
        with pytest.raises(NotADatabaseError, match=repair) as caught:
            way()
        assert str(path) in str(caught.value)
        assert path.read_bytes() == spoiled
    assert not copy.exists()


@pytest.mark.parametrize("name", ["emptied", "cut in half", "header flipped", "a newer DuckDB's"])
def test_spoiled_copy_is_refused_by_the_reader(tmp_path: Path, sound: bytes, name: str) -> None:
    paths = Paths(tmp_path)
    paths.market_copy.write_bytes(SPOILED[name][0](sound))
    with pytest.raises(NotADatabaseError, match="desk publish"):
        Reader(paths)


def test_damaged_rows_are_found_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    connection = connect(path)
    connection.execute("create table rows as select random() as value from range(200000)")
    connection.execute("checkpoint")
    connection.close()
    data = bytearray(path.read_bytes())
    for place in range(4 * HEADER_BYTES, len(data), HEADER_BYTES):
        data[place] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(NotADatabaseError, match="make backfill"):
        FeatureStore(path).migrate()
    assert path.read_bytes() == bytes(data)


# commits five times and dies, so that all of it lies in the write-ahead log only
UNCLEAN = """
import os, sys
from pathlib import Path
from store.database import connect
connection = connect(Path(sys.argv[1]))
connection.execute("create table rows (n integer)")
connection.execute("checkpoint")
for number in range(5):
    connection.execute(f"insert into rows select {number} from range(1000)")
os._exit(0)
"""


@pytest.fixture(scope="module")
def unclean(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A database file and its log, as a killed writer left them."""
    path = tmp_path_factory.mktemp("unclean") / "market.duckdb"
    command = [sys.executable, "-c", UNCLEAN, str(path)]
    subprocess.run(command, check=True, cwd=ROOT)
    return path.read_bytes(), path.with_name("market.duckdb.wal").read_bytes()


def laid(folder: Path, data: bytes | None, log: bytes) -> Path:
    path = folder / "market.duckdb"
    if data is not None:
        path.write_bytes(data)
    path.with_name("market.duckdb.wal").write_bytes(log)
    return path


def test_log_of_a_killed_writer_is_taken_up(tmp_path: Path, unclean: tuple[bytes, bytes]) -> None:
    path = laid(tmp_path, *unclean)
    connection = connect(path)
    assert connection.execute("select count(*) from rows").fetchall() == [(5000,)]
    connection.close()
    assert not path.with_name("market.duckdb.wal").exists()


def test_log_torn_at_its_end_loses_only_the_commit_that_was_never_acknowledged(
    tmp_path: Path, unclean: tuple[bytes, bytes]
) -> None:
    data, log = unclean
    connection = connect(laid(tmp_path, data, log[:-7]))
    assert connection.execute("select distinct n from rows order by n").fetchall() == [(0,), (1,), (2,), (3,)]
    connection.close()


@pytest.mark.parametrize("place", [0, 2, 60, 0.5, -5])
def test_log_with_a_flipped_bit_is_refused_and_left_as_it_is(
    tmp_path: Path, unclean: tuple[bytes, bytes], place: float
) -> None:
    data, log = unclean
    where = int(len(log) * place) if isinstance(place, float) else place % len(log)
    path = laid(tmp_path, data, flipped(log, where))
    with pytest.raises(NotADatabaseError, match="make backfill"):
        connect(path)
    assert path.read_bytes() == data
    assert path.with_name("market.duckdb.wal").read_bytes() == flipped(log, where)


def test_log_of_another_database_is_refused(tmp_path: Path, unclean: tuple[bytes, bytes], sound: bytes) -> None:
    path = laid(tmp_path, sound, unclean[1])
    with pytest.raises(NotADatabaseError, match="make backfill"):
        FeatureStore(path).migrate()
    assert path.read_bytes() == sound


def test_log_without_its_database_is_refused_and_not_deleted(tmp_path: Path, unclean: tuple[bytes, bytes]) -> None:
    path = laid(tmp_path, None, unclean[1])
    for way in (lambda: connect(path), FeatureStore(path).migrate):
        with pytest.raises(NotADatabaseError, match="the database itself is gone"):
            way()
    assert not path.exists()
    assert path.with_name("market.duckdb.wal").read_bytes() == unclean[1]


def test_published_copy_is_a_way_back(tmp_path: Path, sound: bytes) -> None:
    path, copy = tmp_path / "market.duckdb", tmp_path / "market_read.duckdb"
    path.write_bytes(sound)
    publish(path, copy)
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(NotADatabaseError) as caught:
        FeatureStore(path).coverage()
    # the command it names, as it stands there
    command = str(caught.value).partition("published copy: ")[2].partition(", or")[0].split()
    path.unlink()
    subprocess.run(command, check=True)
    assert FeatureStore(path).coverage() == []


def test_file_held_open_by_another_program_is_named(tmp_path: Path, sound: bytes) -> None:
    path = tmp_path / "market.duckdb"
    path.write_bytes(sound)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StoreBusyError, match="another program"):
            FeatureStore(path).coverage()
    finally:
        other.communicate("")
    assert FeatureStore(path).coverage() == []
