-- volatility_by_session: when does each coin move? The typical size of a minute's range by trading session, basis points.
--
-- database   market
-- reads      candles_1m
with minute as (
    select
        product,
        case epoch_us(open_time) // 3600000000 % 24 // 8 when 0 then 'tokyo' when 1 then 'london' else 'new_york' end
            as session,
        1e4 * cast(high - low as double) / cast(close as double) as range_bps
    from candles_1m
)

select
    product,
    session,
    count(*) as minutes,
    round(median(range_bps), 2) as typical_range_bps,
    round(quantile_cont(range_bps, 0.99), 2) as range_99_bps
from minute
group by
    product,
    session
order by
    product,
    typical_range_bps desc;
