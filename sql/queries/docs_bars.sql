-- docs_bars: price and volume of every product in bars of so many minutes, for the data page.
--
-- reads        candles_1m
-- parameters   minutes
-- result       product, open_time, high, low, close, volume_usd (close times volume, quote currency); doubles
with placed as (
    select
        *,
        time_bucket(to_minutes($minutes), open_time) as bar_time
    from candles_1m
)

select
    product,
    bar_time as open_time,
    cast(max(placed.high) as double) as high,
    cast(min(placed.low) as double) as low,
    cast(arg_max(placed.close, placed.open_time) as double) as close,
    sum(cast(placed.close as double) * cast(placed.volume as double)) as volume_usd
from placed
group by
    product,
    bar_time
order by
    product,
    bar_time;
