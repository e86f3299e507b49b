-- candles: one product's candles in bars of any length, such as from candles('BTC-USD', interval '15 minutes').
--
-- grain        one row per bar with a candle
-- reads        candles_1m
-- known        at close_time
-- causal       depends on its own bar alone
-- parameters   coin, every (15 minutes by default); bars start at multiples of it since Monday, 2000-01-03, UTC
--
-- product          exchange product id
-- open_time        UTC start of the bar
-- close_time       UTC start of the next bar: the first moment the row may be used
-- open             first trade price, quote currency
-- high             highest trade price, quote currency
-- low              lowest trade price, quote currency
-- close            last trade price, quote currency
-- volume           traded amount, base currency
-- stored_minutes   minutes with a candle
create or replace macro candles(coin, every := interval '15 minutes') as table
    with placed as (
        select
            *,
            time_bucket(every, open_time) as bar_time,
            time_bucket(every, open_time) + every as close_time
        from candles_1m
        where product = coin
    )

    select
        product,
        bar_time as open_time,
        close_time,
        arg_min(placed.open, placed.open_time) as open,
        max(placed.high) as high,
        min(placed.low) as low,
        arg_max(placed.close, placed.open_time) as close,
        sum(placed.volume) as volume,
        count(*) as stored_minutes
    from placed
    group by
        product,
        bar_time,
        close_time
    order by bar_time;
