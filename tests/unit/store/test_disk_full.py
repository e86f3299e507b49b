"""A full disk: nothing committed is lost, the error names the repair, and the same command completes afterwards.

Two ways to be full: a small file system of its own (where one may be mounted) and a quota on the size of files (always).
"""

from __future__ import annotations

import gzip
import resource
import shutil
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import DiskFullError
from store.database import connect, write_transaction
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "v1"
T0 = datetime(2024, 3, 1, tzinfo=UTC)


class SmallDisk:
    """A file system of 16 MiB in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full_but_for(self, spare: int) -> Iterator[None]:
        """Leave only ``spare`` bytes."""
        filler = self.folder / "filler"
        with filler.open("wb") as stream:
            stream.write(bytes(max(shutil.disk_usage(self.folder).free - spare, 0)))
        try:
            yield
        finally:
            filler.unlink()


class Quota:
    """An ordinary folder in a process whose files may not grow beyond a size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full_but_for(self, spare: int) -> Iterator[None]:
        """Let no file be written beyond its first ``spare`` bytes."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (spare, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(params=["file system", "quota"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk | Quota]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "quota":
        yield Quota(folder)
        return
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here; the quota stands for it")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def pages(walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]) -> list[Page]:
    """Twenty pages, as one commit of a backfill has."""
    span = Span(T0, T0 + 6000 * MINUTE)
    return as_pages(walk("BTC-USD", 6000, start=T0), span)


@pytest.fixture
def store(disk: SmallDisk | Quota, pages: list[Page], fresh_market: Callable[[Path], FeatureStore]) -> FeatureStore:
    """A store with one page committed."""
    made = fresh_market(disk.folder / "market.duckdb")
    made.record_pages(pages[:1])
    return made


def stored(store: FeatureStore) -> int:
    return sum(int(row["stored_minutes"]) for row in store.coverage())


def test_full_during_a_write_keeps_what_was_committed_and_the_same_write_completes(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    with disk.full_but_for(16_000), pytest.raises(DiskFullError, match=r"market\.duckdb.*free some disk space"):
        store.record_pages(pages)
    assert stored(store) == 300
    assert store.record_pages(pages).stored == 5700
    assert stored(store) == 6000
    assert [row["check"] for row in store.quality() if row["bad_rows"]] == []


def test_full_during_the_closing_checkpoint_loses_nothing(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    with disk.full_but_for(120_000):
        # fits into the log, whose checkpoint does not fit
        assert store.record_pages(pages[1:2]).stored == 300
        assert (disk.folder / "market.duckdb.wal").stat().st_size > 0
        assert stored(store) == 600
    assert store.record_pages(pages[:3]).stored == 300
    assert stored(store) == 900
    assert not (disk.folder / "market.duckdb.wal").exists()


def test_full_during_publishing_keeps_the_copy_before(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    copy = store.publish(disk.folder / "market_read.duckdb")
    before = copy.read_bytes()
    store.record_pages(pages)
    with disk.full_but_for(200_000), pytest.raises(DiskFullError, match="free some disk space"):
        store.publish(copy)
    assert copy.read_bytes() == before
    assert sorted(one.name for one in disk.folder.iterdir() if "tmp" in one.name) == []
    store.publish(copy)
    assert stored(FeatureStore(copy)) == stored(store) == 6000


def test_full_during_the_checkpoint_of_publishing_is_named(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    with disk.full_but_for(120_000):
        store.record_pages(pages[1:2])
        with pytest.raises(DiskFullError, match=r"market\.duckdb.*nothing committed is lost"):
            store.publish(disk.folder / "market_read.duckdb")
    store.publish(disk.folder / "market_read.duckdb")
    assert stored(FeatureStore(disk.folder / "market_read.duckdb")) == 600


def test_full_during_an_export_leaves_no_half_file(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    store.record_pages(pages)
    raw, span = disk.folder / "raw", Span(T0, T0 + 6000 * MINUTE)
    raw.mkdir()
    with disk.full_but_for(20_000), pytest.raises(DiskFullError, match="free some disk space"):
        store.export_raw("BTC-USD", span, raw)
    assert list(raw.iterdir()) == []
    assert store.export_raw("BTC-USD", span, raw).exists()


def test_full_during_a_data_set_leaves_no_half_file(
    disk: SmallDisk | Quota, store: FeatureStore, pages: list[Page]
) -> None:
    store.record_pages(pages)
    folder, span = disk.folder / "datasets", Span(T0, T0 + 6000 * MINUTE)
    folder.mkdir()
    with disk.full_but_for(20_000), pytest.raises(DiskFullError, match="free some disk space"):
        store.export_dataset(["BTC-USD"], span, folder, feature_set="seed39")
    assert [one for one in folder.rglob("*") if one.is_file()] == []
    assert Path(store.export_dataset(["BTC-USD"], span, folder, feature_set="seed39").path).exists()


def test_full_during_a_migration_leaves_the_old_version_whole(disk: SmallDisk | Quota) -> None:
    path = disk.folder / "market.duckdb"
    path.write_bytes(gzip.decompress((GOLDEN / "market_v1.duckdb.gz").read_bytes()))
    with disk.full_but_for(16_000), pytest.raises(DiskFullError, match="free some disk space"):
        FeatureStore(path).migrate()
    connection = connect(path)
    assert connection.execute("select max(version) from schema_version").fetchall() == [(1,)]
    assert connection.execute("select count(*) from candles_1m").fetchall() == [(356,)]
    connection.close()
    assert FeatureStore(path).migrate()
    assert stored(FeatureStore(path)) == 356


def test_full_while_a_database_is_made_leaves_none(disk: SmallDisk | Quota) -> None:
    path = disk.folder / "market.duckdb"
    with disk.full_but_for(100_000), pytest.raises(DiskFullError, match="free some disk space"):
        FeatureStore(path).migrate()
    assert not path.exists()
    assert FeatureStore(path).migrate()


def test_other_mistakes_are_not_called_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "market.duckdb"
    with pytest.raises(FileNotFoundError), write_transaction(path):
        (tmp_path / "nowhere" / "file").write_text("")
