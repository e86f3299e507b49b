-- raw_rows: the candles of a store, as a raw export holds them.
--
-- reads        candles_1m
-- result       open_time, open, high, low, close, volume, source, known_at; sorted by open_time
select
    open_time,
    open,
    high,
    low,
    close,
    volume,
    source,
    known_at
from candles_1m
order by open_time;
