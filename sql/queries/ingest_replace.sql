-- ingest_replace: put the versions in force, and when they were first told, into candles_1m.
--
-- reads        versions, candles_1m
-- result       rows changed in candles_1m
update candles_1m
set
    open = versions.open,
    high = versions.high,
    low = versions.low,
    close = versions.close,
    volume = versions.volume,
    source = versions.source,
    known_at = versions.known_at
from versions
where
    candles_1m.product = versions.product
    and candles_1m.open_time = versions.open_time
    and versions.is_version
    and versions.superseded_at is null;
