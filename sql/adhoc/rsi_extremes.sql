-- rsi_extremes: what followed when rsi was very low or very high? The next fifteen minutes, by coin, before any cost.
--
-- database   market
-- reads      seed39_rows, labels_15m
with extreme as (
    select
        features.product,
        case when features.rsi < 25 then 'below 25' when features.rsi > 75 then 'above 75' else 'between' end as rsi,
        labels.direction_15m,
        labels.return_15m
    from seed39_rows as features
    inner join labels_15m as labels on features.product = labels.product and features.minute = labels.minute
)

select
    product,
    rsi,
    count(*) as minutes,
    round(1e2 * avg(direction_15m), 2) as rose_pct,
    round(1e4 * avg(return_15m), 2) as mean_return_bps
from extreme
group by
    product,
    rsi
order by
    product,
    rsi;
