-- candle_bars: the candles of every product in bars of some whole minutes, such as from candle_bars(30).
--
-- grain        one row per (product, bar) with a candle
-- reads        candles_1m
-- known        at close_time
-- causal       depends on its own bar alone
-- parameters   minutes (bars start at multiples of them since 1970, UTC)
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
create or replace macro candle_bars(minutes) as table
    with barred as (
        select
            *,
            60000000 * (epoch_us(open_time) // 60000000 // minutes * minutes) as bar_us,
            60000000 * cast(minutes as bigint) as length_us
        from candles_1m
    )

    select
        product,
        make_timestamptz(bar_us) as open_time,
        make_timestamptz(bar_us + length_us) as close_time,
        arg_min(barred.open, barred.open_time) as open,
        max(barred.high) as high,
        min(barred.low) as low,
        arg_max(barred.close, barred.open_time) as close,
        sum(barred.volume) as volume,
        count(*) as stored_minutes
    from barred
    group by
        product,
        bar_us,
        length_us;
