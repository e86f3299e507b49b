"""Export a product's candles as one immutable Parquet file with a manifest beside it, and read them back.

A name never changes its content: where the same span was exported before and has other candles now (late answers,
revisions), the new file's name also says until when it knows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.candles import MINUTE, Candle, Page, Span
from core.errors import CandleFileError, DatasetError, StoreError
from core.failpoints import failpoint
from core.files import write_json
from core.integrity import sha256_of
from store.database import memory_session
from store.schema import SCHEMA_VERSION, schema_hash
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from store.month_cache import CandleSource

_ROWS_AT_ONCE = 16_384
_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class ExportManifest:
    """What is written beside an export."""

    product: str
    span: Span
    cut: datetime
    """Only candle versions learned until then are in the file."""
    rows: int
    missing: int
    sha256: str
    sources: dict[str, int]
    """Rows by who told them."""
    ledger: dict[str, int]
    """Minutes of the span in each state when it was exported."""


def export(
    product: str, span: Span, cut: datetime, folder: Path, store: CandleSource, ledger: Mapping[str, int] | None = None
) -> Path:
    """Write the candles of ``span`` as known at ``cut``; an equal file that is there already is kept as it is.

    Raises:
        DatasetError: the span holds no candle.
        StoreError: the name is taken by a file that is not what its manifest says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{product}_1m_{span.start:%Y-%m-%d}_{span.end:%Y-%m-%d}"
    draft = folder / f".{stem}.{os.getpid()}.draft"
    try:
        sources = _write(product, span, cut, draft, store)
        digest = sha256_of(draft)
        path = _free_path(folder, stem, cut, digest)
        failpoint("export.before_rename")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    failpoint("export.before_manifest")
    rows = sources.total()
    manifest = ExportManifest(product, span, cut, rows, span.minutes - rows, digest, dict(sources), dict(ledger or {}))
    _write_manifest(path.with_suffix(".json"), manifest)
    return path


def _free_path(folder: Path, stem: str, cut: datetime, digest: str) -> Path:
    for name in (stem, f"{stem}_known_{cut:%Y-%m-%dT%H%M%S}"):
        path = folder / f"{name}.parquet"
        if not path.exists() or sha256_of(path) == digest:
            return path
        kept = path.with_suffix(".json")
        if not kept.exists() or read_manifest(kept).sha256 != sha256_of(path):
            break
    msg = (
        f"{path} is there with another content, which no manifest tells of; move it away and run the same command again"
    )
    raise StoreError(msg)


def _write(product: str, span: Span, cut: datetime, draft: Path, store: CandleSource) -> Counter[str]:
    """Write the file and return how many rows each source told."""
    with memory_session(draft.parent) as connection:
        connection.execute(load_sql("tables/candles_1m"))
        store.copy_candles(connection, product, span, cut)
        table = connection.sql(load_sql("queries/raw_rows")).to_arrow_table()
    if table.num_rows == 0:
        msg = f"no candle of {product} is stored in {span}; run: make backfill"
        raise DatasetError(msg)
    pq.write_table(table, draft, compression="zstd", compression_level=9, version="2.6", row_group_size=131_072)
    counted = table["source"].value_counts().to_pylist()
    return Counter(
        {entry["values"]: entry["counts"] for entry in sorted(counted, key=lambda entry: str(entry["values"]))}
    )


def _write_manifest(path: Path, manifest: ExportManifest) -> None:
    if path.exists() and read_manifest(path).sha256 == manifest.sha256:
        return  # it tells of this very content, as it was told then
    content = {
        "product": manifest.product,
        "start": manifest.span.start.isoformat(),
        "end": manifest.span.end.isoformat(),
        "known_at_cut": manifest.cut.isoformat(),
        "rows": manifest.rows,
        "missing": manifest.missing,
        "sha256": manifest.sha256,
        "sources": manifest.sources,
        "ledger": manifest.ledger,
        "schema_version": SCHEMA_VERSION,
        "sql_sha256": schema_hash(),
        "candledesk": version("candledesk"),
    }
    write_json(path, content)


def read_manifest(path: Path) -> ExportManifest:
    """Read the manifest at ``path``.

    Raises:
        CandleFileError: it is missing, or not what an export writes.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ExportManifest(
            str(content["product"]),
            Span(_moment(content["start"]), _moment(content["end"])),
            _moment(content["known_at_cut"]),
            int(content["rows"]),
            int(content["missing"]),
            str(content["sha256"]),
            dict(content.get("sources", {})),
            dict(content.get("ledger", {})),
        )
    except FileNotFoundError as error:
        msg = f"{path} is missing; export again: .venv/bin/python flows/backfill.py -p export=true"
        raise CandleFileError(msg) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is no manifest of an export ({error!r}); move it and its file away, then export again: .venv/bin/python flows/backfill.py -p export=true"
        raise CandleFileError(msg) from error


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def exported_pages(path: Path) -> Iterator[list[Page]]:
    """Yield the rows of an export as the pages they once came in, with their source and time of learning.

    Raises:
        CandleFileError: the file is not what the manifest beside it says.
    """
    manifest = read_manifest(path.with_suffix(".json"))
    if not path.exists() or sha256_of(path) != manifest.sha256:
        msg = f"{path} is not the file its manifest tells of; restore a copy of it, nothing was changed"
        raise CandleFileError(msg)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            yield list(_pages(manifest.product, batch))


def _pages(product: str, batch: pa.RecordBatch) -> Iterator[Page]:
    run: list[Candle] = []
    content: tuple[datetime, str] | None = None
    for row in batch.to_pylist():
        candle = Candle(product, row["open_time"].astimezone(UTC), *(row[name] for name in _PRICES))
        now = (row["known_at"].astimezone(UTC), row["source"])
        if run and (now != content or candle.open_time - run[-1].open_time > MINUTE):
            yield _page(run, *content)  # type: ignore[misc]  # a run has a teller
            run = []
        run.append(candle)
        content = now
    if run and content is not None:
        yield _page(run, *content)


def _page(run: list[Candle], known_at: datetime, source: str) -> Page:
    window = Span(run[0].open_time, run[-1].open_time + MINUTE)
    return Page(run[0].product, window, tuple(run), known_at, source)
