-- coverage_daily: how complete each day of each product is.
--
-- grain     one row per (product, day) with a candle
-- reads     candles_1m
-- known     at the end of the day
-- causal    not a feature
-- warm-up   0 minutes
--
-- product           exchange product id
-- day               UTC day
-- stored_minutes    minutes with a candle, of 1440
-- missing_minutes   minutes without one between the day's first and last minute that history reaches
-- volume            traded amount, base currency
-- high              highest trade price, quote currency
-- low               lowest trade price, quote currency
create or replace view coverage_daily as
with candle as (
    select
        product,
        epoch_us(open_time) // 60000000 as minute,
        high,
        low,
        volume
    from candles_1m
),

history as (
    select
        product,
        min(minute) as first_minute,
        max(minute) as last_minute
    from candle
    group by product
),

daily as (
    select
        product,
        minute // 1440 as day_number,
        count(*) as stored_minutes,
        sum(volume) as volume,
        max(high) as high,
        min(low) as low
    from candle
    group by
        product,
        minute // 1440
)

select
    daily.product,
    date '1970-01-01' + cast(daily.day_number as integer) as day,
    daily.stored_minutes,
    least(history.last_minute, daily.day_number * 1440 + 1439) - greatest(history.first_minute, daily.day_number * 1440)
    + 1 - daily.stored_minutes as missing_minutes,
    daily.volume,
    daily.high,
    daily.low
from daily
inner join history on daily.product = history.product;
