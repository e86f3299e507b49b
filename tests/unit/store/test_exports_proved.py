"""Exports with manifests, and what `desk verify` finds when something was tampered with: each fault caught and named."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from core.candles import MINUTE, Candle, Page, Span
from core.errors import CandleFileError
from core.integrity import sha256_of
from core.settings import load_settings
from market.ingest.import_file import restore_file
from store.database import write_transaction
from store.feature_store import FeatureStore
from store.verification import proofs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.settings import Settings
    from store.verification import Proof

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + 600 * MINUTE)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, walk: Callable[..., list[Candle]], as_pages: Callable[..., list[Page]]
) -> Path:
    """A folder with ten hours of one product, a tenth of its minutes without a trade, and their export."""
    paths = load_settings(desk_home=tmp_path_factory.mktemp("made")).paths.make()
    with FeatureStore(paths.market_db) as store:
        store.migrate()
        store.record_pages(as_pages(walk("BTC-USD", 600, start=T0, missing=0.1), SPAN))
        store.export_raw("BTC-USD", SPAN, paths.raw)
    return paths.home


@pytest.fixture
def store(made: Path, settings: Settings) -> FeatureStore:
    """A copy of it for each test."""
    shutil.copytree(made, settings.paths.home, dirs_exist_ok=True)
    return FeatureStore(settings.paths.market_db)


@pytest.fixture
def export(store: FeatureStore, settings: Settings) -> Path:
    return next(settings.paths.raw.glob("*.parquet"))


def faults(store: FeatureStore, settings: Settings) -> list[Proof]:
    return [proof for proof in proofs(store, settings.paths) if not proof.holds]


def change(settings: Settings, statement: str) -> None:
    with write_transaction(settings.paths.market_db) as connection:
        connection.execute(statement)


def test_manifest_tells_content_cut_sources_ledger_and_code(store: FeatureStore, export: Path) -> None:
    told = json.loads(export.with_suffix(".json").read_text(encoding="utf-8"))
    stored = store.coverage()[0]["stored_minutes"]
    assert (told["rows"], told["missing"], told["sha256"]) == (stored, 600 - stored, sha256_of(export))
    assert (told["start"], told["end"]) == (SPAN.start.isoformat(), SPAN.end.isoformat())
    assert told["known_at_cut"] == (SPAN.end + timedelta(days=1)).isoformat()
    assert told["sources"] == {"synthetic": stored}
    assert (told["ledger"]["stored"], told["ledger"]["proved_empty"]) == (stored, 600 - stored)
    assert told["schema_version"] >= 1
    assert len(told["sql_sha256"]) == 64


def test_verify_untouched_store_holds(store: FeatureStore, export: Path, settings: Settings) -> None:
    found = list(proofs(store, settings.paths))
    assert [proof for proof in found if not proof.holds] == []
    assert sum(proof.subject == export.name for proof in found) == 4


@pytest.mark.parametrize("where", [0, 0.3, 0.7, -1])
def test_verify_one_byte_of_an_export_is_caught(
    store: FeatureStore, export: Path, settings: Settings, where: float
) -> None:
    content = bytearray(export.read_bytes())
    content[int(where * len(content)) if where >= 0 else -1] ^= 1
    export.write_bytes(content)
    (fault,) = faults(store, settings)
    assert fault.subject == export.name
    assert "the manifest says" in fault.evidence
    assert "export=true" in fault.repair


def test_verify_deleted_candle_is_named_and_restored_from_the_export(
    store: FeatureStore, export: Path, settings: Settings
) -> None:
    moment = store.span_stored("BTC-USD").start  # type: ignore[union-attr]
    change(settings, f"delete from candles_1m where open_time = '{moment.isoformat()}'")
    fault = next(one for one in faults(store, settings) if one.subject == export.name)
    assert f"1 no longer stored: {moment:%Y-%m-%d %H:%M}" in fault.evidence
    assert fault.repair == f".venv/bin/desk import --restore {export}"
    assert restore_file(store, export) == 1
    assert faults(store, settings) == []


def test_verify_altered_candle_is_named(store: FeatureStore, export: Path, settings: Settings) -> None:
    change(
        settings,
        "update candles_1m set close = close - 0.00000001 where open_time = (select max(open_time) from candles_1m)",
    )
    fault = next(one for one in faults(store, settings) if one.subject == export.name)
    assert fault.evidence.startswith("1 stored differently: ")


def test_verify_candle_smuggled_in_is_named(store: FeatureStore, export: Path, settings: Settings) -> None:
    hole = store.gaps()[0]["gap_start"]
    change(
        settings,
        f"insert into candles_1m select * replace (timestamptz '{hole.isoformat()}' as open_time) from candles_1m limit 1",
    )
    fault = next(one for one in faults(store, settings) if one.subject == export.name)
    assert fault.evidence == f"1 stored and not in the export: {hole:%Y-%m-%d %H:%M}"


def test_verify_removed_ledger_row_is_named(store: FeatureStore, export: Path, settings: Settings) -> None:
    change(settings, "delete from ledger")
    found = {proof.subject: proof for proof in faults(store, settings)}
    assert "lie in no answered window" in found["BTC-USD"].evidence
    assert found["sql/checks/candles_unasked"].repair == "make backfill"
    assert found[export.name].evidence == "600 minutes unanswered, 0 at the export"


def test_verify_removed_ledger_row_over_an_empty_minute_is_named(
    store: FeatureStore, export: Path, settings: Settings
) -> None:
    hole = Span(store.gaps()[0]["gap_start"], store.gaps()[0]["gap_end"])
    change(
        settings,
        f"""create temp table cut as select * from ledger;
        delete from ledger;
        insert into ledger by name select * replace (timestamptz '{hole.start.isoformat()}' as end_time) from cut;
        insert into ledger by name select * replace (timestamptz '{hole.end.isoformat()}' as start_time) from cut;""",
    )
    fault = next(one for one in faults(store, settings) if one.subject == export.name)
    assert fault.evidence == f"{hole.minutes} minutes unanswered, 0 at the export"


def test_verify_later_revision_is_listed_and_no_fault(store: FeatureStore, export: Path, settings: Settings) -> None:
    late = Candle("BTC-USD", T0 + MINUTE, *(Decimal(100),) * 4, Decimal(1))
    known_at = SPAN.end + timedelta(days=9)
    store.record_pages([Page("BTC-USD", Span(T0 + MINUTE, T0 + 2 * MINUTE), (late,), known_at, "synthetic")])
    found = list(proofs(store, settings.paths))
    assert [proof for proof in found if not proof.holds] == []
    listed = next(proof for proof in found if proof.claim == "later revisions are known")
    assert listed.evidence == "1 candles have a later version: 2024-03-01 00:01"


def test_export_with_other_content_gets_a_name_of_its_own(
    store: FeatureStore, export: Path, settings: Settings
) -> None:
    before = export.read_bytes(), export.with_suffix(".json").read_bytes()
    late = Candle("BTC-USD", T0, *(Decimal(100),) * 4, Decimal(1))
    known_at = SPAN.end + timedelta(days=9)
    store.record_pages([Page("BTC-USD", Span(T0, T0 + MINUTE), (late,), known_at, "synthetic")])
    later = store.export_raw("BTC-USD", SPAN, settings.paths.raw)
    assert later.name == f"{export.stem}_known_{known_at:%Y-%m-%dT%H%M%S}.parquet"
    assert (export.read_bytes(), export.with_suffix(".json").read_bytes()) == before
    assert faults(store, settings) == []


def test_verify_missing_export_and_missing_manifest_are_named(
    store: FeatureStore, export: Path, settings: Settings
) -> None:
    content = export.read_bytes()
    export.unlink()
    assert [fault.evidence for fault in faults(store, settings)] == ["the file is missing"]
    export.with_suffix(".json").unlink()
    export.write_bytes(content)
    assert [(fault.subject, fault.evidence) for fault in faults(store, settings)] == [(export.name, "it has none")]
    # the export run again writes the manifest that is missing
    store.export_raw("BTC-USD", SPAN, settings.paths.raw)
    assert faults(store, settings) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"product": 3}', "\x00"])
def test_verify_broken_manifest_is_named(store: FeatureStore, export: Path, settings: Settings, text: str) -> None:
    export.with_suffix(".json").write_text(text, encoding="utf-8")
    (fault,) = faults(store, settings)
    assert "is no manifest of an export" in fault.evidence


def test_verify_manifest_with_other_counts_is_named(store: FeatureStore, export: Path, settings: Settings) -> None:
    path = export.with_suffix(".json")
    told = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(told | {"rows": told["rows"] - 1}), encoding="utf-8")
    (fault,) = faults(store, settings)
    assert fault.evidence.endswith(
        f"the manifest says {told['rows'] - 1} and {told['missing']}, sources {told['sources']}"
    )


def test_restore_refuses_a_file_its_manifest_does_not_tell_of(
    store: FeatureStore, export: Path, settings: Settings
) -> None:
    export.write_bytes(export.read_bytes() + b" ")
    with pytest.raises(CandleFileError, match="is not the file its manifest tells of"):
        restore_file(store, export)


def test_restore_into_an_empty_store_gives_the_same_export(store: FeatureStore, export: Path, tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "other.duckdb") as other:
        other.migrate()
        restore_file(other, export)
        again = other.export_raw("BTC-USD", SPAN, tmp_path / "raw")
    assert sha256_of(again) == sha256_of(export)
