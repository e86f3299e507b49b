-- labels_filled: planted: what the close does in the next 15 minutes, minutes without a trade included.
--
-- grain     one row per (product, minute) with a minute 15 later in its segment
-- reads     candles_dense
-- known     at open_time + 16 minutes
-- causal    no: labels, and planted: a filled minute is no price anybody could trade at
-- warm-up   0 minutes
--
-- product         exchange product id
-- minute          whole minutes since 1970
-- direction_15m   1 if the close 15 minutes later is higher, else 0
-- return_15m      (close 15 minutes later - close) / close
create or replace view labels_filled as
with paired as (
    select
        product,
        minute,
        close,
        lead(close, 15) over coin as close_later,
        lead(minute, 15) over coin - minute as minutes_later
    from candles_dense
    window coin as (partition by product order by minute)
)

select
    product,
    minute,
    cast(close_later > close as tinyint) as direction_15m,
    cast(close_later - close as double) / cast(close as double) as return_15m
from paired
where minutes_later = 15;
