"""The generated page of tables and views."""

from __future__ import annotations

from store.schema import objects
from store.schema_doc import schema_markdown
from store.sql_files import headers


def test_schema_page_names_every_object_column_and_question() -> None:
    page = schema_markdown()
    for database in ("market", "signals"):
        for name, (_, header) in objects(database).items():
            assert f"`{name}`" in page
            assert all(f"| `{column}` |" in page for column in header.columns)
    assert all(f"- `{name}`:" in page for name in (*headers("adhoc"), *headers("checks")))


def test_schema_page_is_the_same_each_time() -> None:
    assert schema_markdown() == schema_markdown()
