-- candles_dense: the full minute grid of each product, minutes without a trade filled for at most an hour.
--
-- grain     one row per (product, minute); the tail after a product's last candle is not filled: unknown is not "no trade"
-- reads     candles_1m
-- known     at open_time + 1 minute; a filled minute at the first later candle, as only that shows the exchange was up
-- causal    a row depends on its own and earlier candles; whether a filled row exists, on the next candle as well
-- warm-up   0 minutes
--
-- product             exchange product id
-- open_time           UTC start of the minute
-- minute              the same as whole minutes since 1970; all arithmetic on time uses this, so no session time zone matters
-- segment_start       open_time of the first candle after a hole of more than 60 minutes (or of the history); nothing is computed across it
-- minute_of_segment   minutes since segment_start, 0 for its first row
-- open                first trade price, quote currency; the close before it in a filled minute
-- high                highest trade price, quote currency; the close before it in a filled minute
-- low                 lowest trade price, quote currency; the close before it in a filled minute
-- close               last trade price, quote currency; carried forward in a filled minute
-- volume              traded amount, base currency; 0 in a filled minute
-- is_filled           whether nobody traded in this minute
create or replace view candles_dense as
with candle as (
    select
        product,
        epoch_us(open_time) // 60000000 as minute,
        open,
        high,
        low,
        close,
        volume
    from candles_1m
),

stepped as (
    select
        *,
        lag(minute) over history as minute_before,
        lead(minute) over history as minute_after
    from candle
    window history as (partition by product order by minute)
),

segmented as (
    select
        *,
        max(case when minute_before is null or minute - minute_before > 61 then minute end) over (
            partition by product
            order by minute
            rows between unbounded preceding and current row
        ) as segment_minute
    from stepped
),

gridded as (
    select
        product,
        minute,
        segment_minute,
        open,
        high,
        low,
        close,
        volume,
        false as is_filled
    from segmented
    union all
    select
        product,
        minute + unnest(range(1, minute_after - minute)) as minute,
        segment_minute,
        close as open,
        close as high,
        close as low,
        close,
        cast(0 as decimal(28, 8)) as volume,
        true as is_filled
    from segmented
    where minute_after - minute between 2 and 61
)

select
    product,
    make_timestamptz(minute * 60000000) as open_time,
    minute,
    make_timestamptz(segment_minute * 60000000) as segment_start,
    minute - segment_minute as minute_of_segment,
    open,
    high,
    low,
    close,
    volume,
    is_filled
from gridded;
