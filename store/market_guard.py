"""One market a folder: what two exchanges, or a real and a simulated one, say of a minute is no revision of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import MixedSourcesError
from store.sql_files import load_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from core.candles import Page


def market_of(source: str) -> str:
    """Return the market that ``source`` belongs to: ccxt's coinbase is coinbase.

    Older versions could build minutes from live trades; their source ends in ``:trades`` and is the same market.
    """
    return source.removesuffix(":trades").removeprefix("ccxt:")


def require_one_market(connection: duckdb.DuckDBPyConnection, pages: Sequence[Page]) -> None:
    """Refuse pages of another market than the one that answered for their product so far; files may come from anywhere.

    Raises:
        MixedSourcesError: naming both.
    """
    products = sorted({page.product for page in pages})
    rows = connection.execute(load_sql("queries/answered_sources"), {"products": products}).fetchall()
    known = dict(rows)
    for page in pages:
        if page.source.startswith("import:"):
            continue
        before = known.setdefault(page.product, page.source)
        if market_of(page.source) == market_of(before):
            continue
        msg = (
            f"{page.product} was answered for by {before} in this folder, and now by {page.source}: two markets must not be "
            "mixed. Set DESK_HOME to a folder of its own for each, or go back to the PROVIDER and COINBASE_BASE_URL used before"
        )
        raise MixedSourcesError(msg)
