"""Two real files as they were found, through `desk import`: newest first, duplicates, a minute told twice, open minutes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from market.ingest.import_file import LAST_OF_FILE, import_file, import_order
from store.feature_store import FeatureStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

_EQUAL_TO_CLEAN = """
select
    count(*) as told,
    count(*) filter (where
        (ours.open::double, ours.high::double, ours.low::double, ours.close::double, ours.volume::double)
        = (clean.open, clean.high, clean.low, clean.close, clean.volume)
    ) as equal
from candles_1m as ours
full join clean on ours.open_time = clean.time
"""


def test_newest_first_file_with_duplicates_equals_its_clean_twin(recorded_candles: Path) -> None:
    path = recorded_candles / "dirty" / "coinbase_SOL-USD_api-order-descending.csv.gz"
    clean = pq.read_table(recorded_candles / "coinbase_SOL-USD_1m.parquet")
    with FeatureStore.in_memory() as store:
        result = import_file(store, import_order(path))
        connection = store._connection()
        connection.register("clean", clean)
        equal = connection.execute(_EQUAL_TO_CLEAN).fetchall()
        kept = connection.execute("select open_time, volume from candle_revisions").fetchall()
        held = connection.execute("select open_time, reason from candle_quarantine").fetchall()
        assert [check["check"] for check in store.quality() if check["bad_rows"]] == []
    assert (result.product, result.columns) == ("SOL-USD", "time,low,high,open,close,volume")
    assert (result.count.rows, result.count.stored, result.count.known, result.count.revised) == (
        58_905,
        58_759,
        144,
        1,
    )
    assert equal == [(58_759, 58_759)]
    assert [moment.astimezone(UTC) for moment, _ in kept] == [datetime(2024, 1, 2, 13, 26, tzinfo=UTC)]
    assert [(moment.astimezone(UTC), why) for moment, why in held] == [
        (datetime(2024, 1, 5, 3, 49, tzinfo=UTC), LAST_OF_FILE)
    ]


def test_minutes_saved_while_open_are_suspected_and_kept(recorded_candles: Path) -> None:
    path = recorded_candles / "dirty" / "coinbase_BTC_USD_2025-02-13.jsonl.gz"
    with FeatureStore.in_memory() as store:
        result = import_file(store, import_order(path, last_is_closed=True))
        moments = store._connection().execute("select open_time from dq_early_saves").fetchall()
        (outage,) = store.gaps()
    assert result.count.stored == 1416
    assert (outage["gap_start"], outage["missing_minutes"], outage["empty_minutes"]) == (
        datetime(2025, 2, 13, 16, 41, tzinfo=UTC),
        24,
        0,
    )
    minutes = [moment.astimezone(UTC).minute for (moment,) in moments]
    assert 25 <= len(minutes) <= 35
    # whoever wrote the file came between minutes 9 and 37 and at minute 47 of each hour; the rest is saved whole
    assert sum(minute in range(38, 46) or minute >= 49 or minute <= 8 for minute in minutes) <= 2
