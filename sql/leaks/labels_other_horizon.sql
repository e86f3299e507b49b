-- labels_other_horizon: planted: what the close does in the next 10 minutes, under the name of 15.
--
-- grain     one row per (product, minute) that has a label
-- reads     candles_dense
-- known     at open_time + 11 minutes
-- causal    no: labels, and planted: of another horizon than they say
-- warm-up   0 minutes
--
-- product         exchange product id
-- minute          whole minutes since 1970
-- direction_15m   1 if the close 10 minutes later is higher, else 0
-- return_15m      (close 10 minutes later - close) / close
create or replace view labels_other_horizon as
with paired as (
    select
        product,
        minute,
        close,
        is_filled,
        lead(close, 10) over coin as close_later,
        lead(is_filled, 10) over coin as is_later_filled,
        lead(minute, 10) over coin - minute as minutes_later
    from candles_dense
    window coin as (partition by product order by minute)
)

select
    product,
    minute,
    cast(close_later > close as tinyint) as direction_15m,
    cast(close_later - close as double) / cast(close as double) as return_15m
from paired
where minutes_later = 10 and not is_filled and not is_later_filled;
