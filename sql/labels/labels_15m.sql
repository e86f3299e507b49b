-- labels_15m: what the close does in the 15 minutes after each minute; only files in sql/labels may look forward.
--
-- grain     one row per (product, minute) that has a label
-- reads     candles_dense
-- known     at open_time + 16 minutes, when the candle 15 minutes later closes
-- causal    no: these are the answers, never inputs
-- warm-up   0 minutes
--
-- product         exchange product id
-- open_time       UTC start of the minute
-- minute          the same as whole minutes since 1970
-- direction_15m   1 if the close 15 minutes later is higher, else 0; no row where either minute is filled or the segment ends between
-- return_15m      (close 15 minutes later - close) / close
create or replace view labels_15m as
with paired as (
    select
        product,
        open_time,
        minute,
        close,
        is_filled,
        lead(close, 15) over () as close_later,
        lead(is_filled, 15) over () as is_later_filled,
        -- rows come sorted, and this is 15 only in one segment of one product
        lead(minute_of_segment, 15) over () - minute_of_segment as minutes_later
    from candles_dense
)

select
    product,
    open_time,
    minute,
    cast(close_later > close as tinyint) as direction_15m,
    cast(close_later - close as double) / cast(close as double) as return_15m
from paired
where minutes_later = 15 and not is_filled and not is_later_filled;
