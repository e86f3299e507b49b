-- coin_correlation: how alike do the coins move? Correlation of their hourly returns, pair by pair.
--
-- database   market
-- reads      candles_1h
with moved as (
    select
        product,
        open_time,
        ln(cast(close as double) / cast(lag(close) over (partition by product order by open_time) as double)) as move
    from candles_1h
)

select
    one.product as product_a,
    other.product as product_b,
    count(*) as hours,
    round(corr(one.move, other.move), 3) as correlation
from moved as one
inner join moved as other on one.open_time = other.open_time and one.product < other.product
where one.move is not null and other.move is not null
group by
    one.product,
    other.product
order by correlation desc;
