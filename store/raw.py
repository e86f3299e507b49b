"""Raw exports: a product's candles as one immutable Parquet file with a manifest beside it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from desk.errors import DatasetError, StoreError
from store.database import connect
from store.queries import load_sql
from store.schema import apply_schema

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from desk.market import Span
    from store.datasets import Snapshot


def export(product: str, span: Span, cut: datetime, folder: Path, snapshot: Snapshot) -> Path:
    """Write the candles of ``span`` as known at ``cut``; an equal file that is there already is kept as it is.

    Raises:
        DatasetError: the span holds no candle.
        StoreError: the name is taken by a file with another content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{product}_1m_{span.start:%Y-%m-%d}_{span.end:%Y-%m-%d}.parquet"
    draft = path.with_name(f".{path.name}.draft")
    try:
        rows = _write(product, span, cut, draft, snapshot)
        digest = _digest(draft)
        if path.exists() and _digest(path) != digest:
            msg = (
                f"{path} is there already with another content, and a name never changes its content; "
                "move it away, or export another span"
            )
            raise StoreError(msg)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    manifest = {
        "product": product,
        "start": span.start.isoformat(),
        "end": span.end.isoformat(),
        "known_at_cut": cut.isoformat(),
        "rows": rows,
        "missing": span.minutes - rows,
        "sha256": digest,
    }
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return path


def _write(product: str, span: Span, cut: datetime, draft: Path, snapshot: Snapshot) -> int:
    connection = connect(":memory:")
    try:
        apply_schema(connection, "market", with_comments=False)
        snapshot(connection, product, span, cut)
        table = connection.sql(load_sql("queries/raw_rows")).to_arrow_table()
    finally:
        connection.close()
    if table.num_rows == 0:
        msg = f"no candle of {product} is stored in {span}; run: make backfill"
        raise DatasetError(msg)
    pq.write_table(table, draft, compression="zstd", compression_level=9, version="2.6", row_group_size=131_072)
    return int(table.num_rows)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
