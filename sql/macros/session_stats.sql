-- session_stats: one product by trading session: minutes, volume, typical range and move, such as from session_stats('BTC').
--
-- grain        one row per trading session
-- reads        candles_1m
-- known        at any time
-- causal       not a feature
-- parameters   coin (BTC-USD, or BTC for it)
--
-- product             exchange product id
-- session             tokyo, london or new_york: UTC hour 0-7, 8-15, 16-23
-- stored_minutes      minutes with a candle
-- volume_pct          share of the product's volume, percent
-- typical_range_bps   median of high - low over close of a minute, basis points
-- range_99_bps        the same, 99 of 100 minutes lie below
-- mean_move_bps       mean of 10000 * abs(ln(close / open)) of a minute, basis points
create or replace macro session_stats(coin) as table
    with placed as (
        select
            product,
            case epoch_us(open_time) // 28800000000 % 3 when 0 then 'tokyo' when 1 then 'london' else 'new_york' end
                as session,
            volume,
            1e4 * cast(high - low as double) / cast(close as double) as range_bps,
            1e4 * abs(ln(cast(close as double) / cast(open as double))) as move_bps
        from candles_1m
        where product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
    )

    select
        product,
        session,
        count(*) as stored_minutes,
        round(1e2 * cast(sum(volume) as double) / sum(cast(sum(volume) as double)) over (), 2) as volume_pct,
        round(median(range_bps), 2) as typical_range_bps,
        round(quantile_cont(range_bps, 0.99), 2) as range_99_bps,
        round(avg(move_bps), 2) as mean_move_bps
    from placed
    group by
        product,
        session
    order by
        product,
        session;
