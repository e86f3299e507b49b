-- coverage_daily: what became of every minute of each day of each product.
--
-- grain     one row per (product, day) from the first day wanted or asked for to the last
-- reads     coverage_windows, candles_1m
-- known     at the end of the day
-- causal    not a feature
-- warm-up   0 minutes
--
-- product               exchange product id
-- day                   UTC day
-- stored_minutes        minutes with a candle, of 1440
-- empty_minutes         minutes the exchange has nothing for (answered, no candle)
-- quarantined_minutes   minutes of which only rows were told that broke a rule
-- failed_minutes        minutes that could not be fetched so far
-- unasked_minutes       minutes wanted that nobody asked for
-- missing_minutes       minutes without a candle, whatever the reason: the sum of the last four
-- volume                traded amount, base currency; null without a candle
-- high                  highest trade price, quote currency; null without a candle
-- low                   lowest trade price, quote currency; null without a candle
create or replace view coverage_daily as
with piece as (
    select
        product,
        state,
        epoch_us(start_time) // 60000000 as first_minute,
        epoch_us(end_time) // 60000000 as end_minute,
        unnest(range(epoch_us(start_time) // 86400000000, (epoch_us(end_time) - 1) // 86400000000 + 1)) as day_number
    from coverage_windows
),

part as (
    select
        product,
        state,
        day_number,
        least(end_minute, (day_number + 1) * 1440) - greatest(first_minute, day_number * 1440) as minutes
    from piece
),

asked as (
    select
        product,
        day_number,
        coalesce(sum(minutes) filter (where state = 'stored'), 0) as stored_minutes,
        coalesce(sum(minutes) filter (where state = 'empty'), 0) as empty_minutes,
        coalesce(sum(minutes) filter (where state = 'quarantined'), 0) as quarantined_minutes,
        coalesce(sum(minutes) filter (where state = 'failed'), 0) as failed_minutes,
        coalesce(sum(minutes) filter (where state = 'not_asked'), 0) as unasked_minutes,
        coalesce(sum(minutes) filter (where state <> 'stored'), 0) as missing_minutes
    from part
    group by
        product,
        day_number
),

traded as (
    select
        product,
        epoch_us(open_time) // 86400000000 as day_number,
        sum(volume) as volume,
        max(high) as high,
        min(low) as low
    from candles_1m
    group by
        product,
        epoch_us(open_time) // 86400000000
)

select
    asked.product,
    date '1970-01-01' + cast(asked.day_number as integer) as day,
    cast(asked.stored_minutes as bigint) as stored_minutes,
    cast(asked.empty_minutes as bigint) as empty_minutes,
    cast(asked.quarantined_minutes as bigint) as quarantined_minutes,
    cast(asked.failed_minutes as bigint) as failed_minutes,
    cast(asked.unasked_minutes as bigint) as unasked_minutes,
    cast(asked.missing_minutes as bigint) as missing_minutes,
    traded.volume,
    traded.high,
    traded.low
from asked
left join traded on asked.product = traded.product and asked.day_number = traded.day_number;
