"""Every SQL file under sql/ says of itself what is true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from core.candles import minute_start, session_of
from store.database import connect
from store.feature_sets import FEATURE_SETS
from store.feature_store import FeatureStore
from store.schema import apply_schema, objects
from store.sql_files import SQL_ROOT, all_columns, headers, load_sql, read_folder, statement, statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

OBJECTS = [
    (database, folder, name) for database in ("market", "signals") for name, (folder, _) in objects(database).items()
]
FOLDERS = ("tables", "views", "labels", "macros", "checks", "queries", "adhoc", "migrations", "leaks")
FILES = sorted(f"{folder}/{name}" for folder in FOLDERS for name in statements(folder))


@pytest.fixture(scope="module", params=["market", "signals"])
def built(request: pytest.FixtureRequest) -> Iterator[tuple[str, duckdb.DuckDBPyConnection]]:
    connection = connect(":memory:")
    apply_schema(connection, request.param)
    yield request.param, connection
    connection.close()


def references(text: str) -> set[str]:
    """Names after from and join that are neither functions nor named in a with clause."""
    words = re.sub(r"'[^']*'", "''", statement(text))
    named = set(re.findall(r"(?:with|,) (\w+) as \(", words))
    found = set(re.findall(r"(?:\bfrom|\bjoin|\binto|\bupdate) (\w+)(?!\w|\()", words))
    found |= {name for name in headers("macros") if re.search(rf"\b(?:from|join) {name}\(", words)}
    return found - named - {"where", "set", "select"}


@pytest.mark.parametrize("name", FILES)
def test_statement_opens_with_a_sentence(name: str) -> None:
    folder, _, own = name.partition("/")
    assert headers(folder)[own].sentence.endswith((".", "?"))


def test_every_file_lies_in_a_known_folder_and_those_for_people_hold_one_statement_of_their_name() -> None:
    assert {path.parent.name for path in SQL_ROOT.rglob("*.sql")} == set(FOLDERS)
    for folder in ("adhoc", "checks", "leaks", "migrations", "tables", "macros"):
        assert {path.stem for path in (SQL_ROOT / folder).glob("*.sql")} == set(statements(folder))


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- a: one.\nselect 1;\n\n-- b: another.\nselect 2;\n")
    assert list(read_folder(tmp_path)) == ["a", "b"]
    (tmp_path / "b.sql").write_text("-- b: again.\nselect 3;\n")
    with pytest.raises(ValueError, match=r"b stands twice.*b\.sql"):
        read_folder(tmp_path)


def test_sessions_of_sql_are_those_of_python() -> None:
    with FeatureStore.in_memory() as store:
        connection = store._connection()
        connection.execute(
            "insert into candles_1m select 'BTC-USD', timestamptz '2024-03-01 00:00+00' + to_minutes(n), 1, 1, 1, 1, 1, "
            "'synthetic', timestamptz '2024-03-02 00:00+00' + to_minutes(n) from range(1440) as t(n)"
        )
        rows = connection.execute("select minute, session from features_session").fetchall()
    assert len(rows) == 1440
    assert {(minute, session) for minute, session in rows} == {
        (minute, session_of(minute_start(minute))) for minute, _ in rows
    }


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("tables", "views", "labels", "macros"))])
def test_object_header_states_the_contract(name: str) -> None:
    folder, _, own = name.partition("/")
    header = headers(folder)[own]
    wanted = {"grain", "reads", "known"} | ({"causal", "warm-up"} if name.startswith(("views", "labels")) else set())
    assert wanted <= set(header.facts)


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.startswith(("views", "labels", "macros", "checks", "adhoc", "leaks"))]
)
def test_reads_are_the_real_references(name: str) -> None:
    folder, _, own = name.partition("/")
    header = headers(folder)[own]
    assert references(load_sql(name)) - {"duckdb_tables", "duckdb_views", "duckdb_functions"} == set(header.reads)


def test_header_columns_are_those_of_the_object(built: tuple[str, duckdb.DuckDBPyConnection]) -> None:
    database, connection = built
    for name, (folder, _) in objects(database).items():
        if folder != "macros":
            described = [row[0] for row in connection.execute(f"describe {name}").fetchall()]
            assert list(all_columns(folder, name)) == described, name


def test_macro_columns_are_those_of_its_header(built: tuple[str, duckdb.DuckDBPyConnection]) -> None:
    calls = {
        "candles": "candles('BTC-USD')",
        "candle_bars": "candle_bars(30)",
        "features_at": "features_at('BTC-USD', now())",
        "flow_at": "flow_at('BTC')",
        "gaps_of": "gaps_of('BTC')",
        "coverage_of": "coverage_of('BTC', '2024-03-01')",
        "returns": "returns('BTC')",
        "session_stats": "session_stats('BTC')",
        "signal_log": "signal_log()",
    }
    database, connection = built
    for name in (name for name, (folder, _) in objects(database).items() if folder == "macros"):
        described = [row[0] for row in connection.execute(f"describe from {calls[name]}").fetchall()]
        header = headers("macros")[name]
        assert described == list(header.columns or all_columns("views", header.reads[0])), name


def test_everything_a_person_can_see_has_a_comment(built: tuple[str, duckdb.DuckDBPyConnection]) -> None:
    _, connection = built
    columns = connection.execute(
        "select table_name, column_name from duckdb_columns() where not internal and comment is null"
    ).fetchall()
    assert columns == []
    for listing in ("duckdb_tables()", "duckdb_views()"):
        assert connection.execute(f"select * from {listing} where not internal and comment is null").fetchall() == []


def test_no_view_but_a_label_looks_forward() -> None:
    # candles_dense, gaps and dq_spikes look at the next candle to see where a hole ends, which their headers say
    forward = {
        name
        for name in FILES
        if name.startswith(("views/features", "views/seed39")) and re.search(r"\blead\(|following", load_sql(name))
    }
    assert forward == set()


@pytest.mark.parametrize("name", FEATURE_SETS)
def test_feature_set_lists_what_its_view_has_in_order(name: str) -> None:
    chosen = FEATURE_SETS[name]
    assert [column for column in all_columns("views", chosen.view) if column in chosen.columns] == list(chosen.columns)
    assert chosen.view in chosen.views
    assert "candles_dense" in chosen.views
    assert re.fullmatch(r"[0-9a-f]{64}", chosen.sha256)


def test_seed39_has_its_39_columns_after_the_product() -> None:
    columns = list(all_columns("views", "seed39"))
    assert columns[0] == "product"
    assert len(columns[1:]) == 39
    assert columns[1:8] == ["open_time", "open", "high", "low", "close", "volume", "session"]
    assert columns[-4:] == ["volatility_regime", "volatility_low", "volatility_medium", "volatility_high"]
    assert len(FEATURE_SETS["seed39"].columns) == 31
    assert FEATURE_SETS["seed39"].warm_up_minutes == 288


def test_statement_ignores_layout_and_words() -> None:
    assert statement("-- a: b.\nselect   1 -- one\nfrom t;") == statement("select 1\n    from t;")
