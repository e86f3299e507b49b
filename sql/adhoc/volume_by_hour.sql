-- volume_by_hour: at which UTC hours is a coin traded? Share of its volume by hour of the day, percent.
--
-- database   market
-- reads      candles_1h
with hourly as (
    select
        product,
        epoch_us(open_time) // 3600000000 % 24 as utc_hour,
        sum(volume) as volume
    from candles_1h
    group by
        product,
        epoch_us(open_time) // 3600000000 % 24
)

select
    product,
    utc_hour,
    round(1e2 * cast(volume as double) / sum(cast(volume as double)) over (partition by product), 2) as volume_pct
from hourly
order by
    product,
    utc_hour;
