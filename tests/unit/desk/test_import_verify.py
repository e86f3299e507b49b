"""`desk import` and `desk verify` as a person runs them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from core.candles import MINUTE, Span
from core.errors import CandleFileError, StoreError
from desk import __main__ as command_line
from store.database import write_transaction
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from click.testing import Result

    from core.candles import Candle, Page
    from core.settings import Settings

T0 = datetime(2024, 3, 1, tzinfo=UTC)
SPAN = Span(T0, T0 + 200 * MINUTE)


@pytest.fixture
def desk() -> Callable[..., Result]:
    def run(*words: str) -> Result:
        result = CliRunner().invoke(command_line.build(words[0]), list(words), env={"COLUMNS": "160"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def file(tmp_path: Path, walk: Callable[..., list[Candle]]) -> Path:
    path = tmp_path / "BTC-USD.csv"
    path.write_text("\n".join(lines(walk("BTC-USD", 100, start=T0, missing=0.1))), encoding="utf-8")
    return path


def lines(candles: Sequence[Candle]) -> list[str]:
    return [
        "time,open,high,low,close,volume",
        *(f"{c.open_time:%Y-%m-%d %H:%M},{c.open},{c.high},{c.low},{c.close},{c.volume}" for c in candles),
    ]


def test_import_stores_shows_counts_and_publishes(desk: Callable[..., Result], file: Path, settings: Settings) -> None:
    shown = desk("import", str(file))
    rows = file.read_text(encoding="utf-8").count("\n")
    assert shown.exit_code == 0
    assert f"{rows - 1}" in shown.output
    assert "1 quarantined as last_of_file" in shown.output
    assert "columns time,open,high,low,close,volume" in shown.output
    assert settings.paths.market_copy.exists()
    assert desk("verify").exit_code == 0


def test_import_dry_run_stores_nothing(desk: Callable[..., Result], file: Path, settings: Settings) -> None:
    first = desk("import", "--dry-run", str(file))
    assert not settings.paths.market_db.exists()
    assert "dry run: nothing was stored" in first.output
    desk("import", str(file))
    before = settings.paths.market_db.read_bytes()
    again = desk("import", "--dry-run", "--last-is-closed", str(file))
    assert settings.paths.market_db.read_bytes() == before
    assert again.exit_code == 0


def test_import_wrong_name_stores_no_file_at_all(desk: Callable[..., Result], file: Path, settings: Settings) -> None:
    nameless = file.with_name("candles.csv")
    nameless.write_bytes(file.read_bytes())
    with pytest.raises(CandleFileError, match="--product"):
        desk("import", str(file), str(nameless))
    assert not settings.paths.market_db.exists()


def test_import_explain_says_how_a_file_is_read_and_changes_nothing(
    desk: Callable[..., Result], file: Path, settings: Settings
) -> None:
    path = file.with_name("Coinbase_BTCUSD_minute.csv")
    rows = file.read_text(encoding="utf-8").splitlines()[1:]
    head = ["https://www.CryptoDataDownload.com", "date,open,high,low,close,Volume BTC"]
    path.write_text("\n".join([*head, *rows[:50], "yesterday,1,2,1,2,3", "1,2", *rows[50:]]), encoding="utf-8")
    shown = desk("import", "--explain", str(path))
    assert shown.exit_code == 0
    for words in (
        r"6 +Volume BTC +volume",
        r"above the data +2 line",
        r"time +date and time as text",
        r"product +BTC-USD",
        r"interval +1 minute",
        rf"first, last +2024-03-01 00:00 .. {rows[-1][:16]} UTC",
        rf"rows +{len(rows) + 2}, of {len(rows)} different minutes",
        r"set aside +1 as last_of_file \(--last-is-closed stores it\), 1 as no_time, 1 as torn_row",
    ):
        assert re.search(words, shown.output), words
    assert not settings.paths.market_db.exists()


def test_import_remarks_can_be_followed(
    desk: Callable[..., Result],
    file: Path,
    settings: Settings,
    as_pages: Callable[..., list[Page]],
    walk: Callable[..., list[Candle]],
) -> None:
    with FeatureStore(settings.paths.market_db) as store:
        store.migrate()
        store.record_pages(as_pages(walk("BTC-USD", 100, start=T0, missing=0.1)[:20], Span(T0, T0 + 20 * MINUTE)))
    text = file.read_text(encoding="utf-8").splitlines()
    text[3] = text[3].rpartition(",")[0] + ",77"
    file.write_text("\n".join(text), encoding="utf-8")
    shown = desk("import", str(file)).output
    assert "1 quarantined as contradicts_exchange (--replace believes the file)" in shown
    assert "1 quarantined as last_of_file (--last-is-closed stores it)" in shown
    again = desk("import", "--replace", "--last-is-closed", str(file)).output
    assert "quarantined" not in again
    with FeatureStore(settings.paths.market_db) as store:
        assert (
            len(
                store._rows("queries/candles_as_of", product="BTC-USD", since=T0, until=SPAN.end, cut=datetime.now(UTC))
            )
            == len(text) - 1
        )


def test_verify_without_a_store_says_what_comes_first(desk: Callable[..., Result]) -> None:
    with pytest.raises(StoreError, match="there is nothing to prove; run: make backfill"):
        desk("verify")


def test_verify_names_a_lost_row_and_the_command_shown_repairs_it(
    desk: Callable[..., Result],
    settings: Settings,
    walk: Callable[..., list[Candle]],
    as_pages: Callable[..., list[Page]],
) -> None:
    store = FeatureStore(settings.paths.market_db)
    store.migrate()
    store.record_pages(as_pages(walk("BTC-USD", 200, start=T0), SPAN))
    export = store.export_raw("BTC-USD", SPAN, settings.paths.raw)
    with write_transaction(settings.paths.market_db) as connection:
        connection.execute("delete from candles_1m where open_time = '2024-03-01 00:17:00+00'")
    shown = desk("verify")
    assert shown.exit_code == 1
    assert f"{export.name}: 1 no longer stored: 2024-03-01 00:17" in shown.output
    told = json.loads(desk("verify", "--format", "json").output)
    (fault,) = [proof for proof in told if not proof["holds"]]
    words = fault["repair"].removeprefix(".venv/bin/desk ").split()
    assert "1 rows put back" in desk(*words).output
    assert desk("verify").exit_code == 0
