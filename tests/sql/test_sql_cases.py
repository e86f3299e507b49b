"""One generic test for every folder `tests/sql/<object>/<case>`: tables as CSV in, the object's rows out.

Each CSV but `expect.csv` fills the table of its name; `expect.csv` names the columns it speaks of and holds all rows, in the
order of its columns. An empty cell is null. Doubles are compared to 1e-12 of their size.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from store.feature_store import FeatureStore

HERE = Path(__file__).resolve().parent
CASES = sorted(path.parent.relative_to(HERE).as_posix() for path in HERE.glob("*/*/expect.csv"))


def literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


@pytest.mark.parametrize("case", CASES)
def test_object_returns_what_the_case_expects(case: str) -> None:
    folder = HERE / case
    name = case.partition("/")[0]
    with FeatureStore.in_memory() as store:
        connection = store._connection()
        for table in sorted(folder.glob("*.csv")):
            if table.stem != "expect":
                connection.execute(f"insert into {table.stem} by name select * from read_csv({literal(table)})")
        types = {row[0]: row[1] for row in connection.execute(f"describe {name}").fetchall()}
        expect = f"read_csv({literal(folder / 'expect.csv')}, all_varchar = true)"
        columns = [row[0] for row in connection.execute(f"describe from {expect}").fetchall()]
        wanted = ", ".join(f"cast({column} as {types[column]}) as {column}" for column in columns)
        expected = connection.execute(f"select {wanted} from {expect} order by all").fetchall()
        found = connection.execute(f"select {', '.join(columns)} from {name} order by all").fetchall()
    assert len(found) == len(expected)
    for row, other in zip(found, expected, strict=True):
        for column, value, wish in zip(columns, row, other, strict=True):
            if isinstance(wish, float):
                assert value == pytest.approx(wish, rel=1e-12, abs=1e-12), (column, row)
            else:
                assert value == wish, (column, row)


def test_every_view_of_the_market_has_a_case() -> None:
    from store.schema import objects

    views = {name for name, (folder, header) in objects("market").items() if folder in {"views", "labels"}}
    # help lists the catalogue; seed39 and seed39_rows only choose columns of features_session
    assert views - {case.partition("/")[0] for case in CASES} <= {"help", "seed39", "seed39_rows"}
