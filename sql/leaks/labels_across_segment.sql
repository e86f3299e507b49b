-- labels_across_segment: planted: what the close does over the next 15 candles, however long they take.
--
-- grain     one row per (product, minute) with 15 candles after it
-- reads     candles_1m
-- known     when the fifteenth candle later closes
-- causal    no: labels, and planted: the fifteenth candle may lie in another segment
-- warm-up   0 minutes
--
-- product         exchange product id
-- minute          whole minutes since 1970
-- direction_15m   1 if the close 15 candles later is higher, else 0
-- return_15m      (close 15 candles later - close) / close
create or replace view labels_across_segment as
with paired as (
    select
        product,
        epoch_us(open_time) // 60000000 as minute,
        close,
        lead(close, 15) over (partition by product order by open_time) as close_later
    from candles_1m
)

select
    product,
    minute,
    cast(close_later > close as tinyint) as direction_15m,
    cast(close_later - close as double) / cast(close as double) as return_15m
from paired
where close_later is not null;
