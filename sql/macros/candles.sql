-- candles: one product's candles in bars of any length, such as from candles('BTC', '1h').
--
-- grain        one row per bar with a candle
-- reads        candles_1m
-- known        at close_time
-- causal       depends on its own bar alone
-- parameters   coin (BTC-USD, or BTC for it), every (15m by default; 1m, 90m, 4h, 1d, 1w or interval '2 hours'; bars start at multiples of it since Monday, 2000-01-03, UTC)
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
create or replace macro candles(coin, every := '15m') as table
    with known as (
        select distinct product
        from candles_1m
    ),

    told as (
        select
            if(contains(coin, '-'), upper(coin), upper(coin) || '-USD') as wanted,
            coalesce(string_agg(product, ', ' order by product), 'nothing') as there,
            coalesce(list_contains(list(product), if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')), false)
                as is_known,
            coalesce(epoch_us(try_cast(every as interval)), 0) as every_us
        from known
    ),

    asked as (
        select
            case
                when not is_known then error('there is no candle of ' || wanted || ', only of ' || there)
                when every_us not between 60000000 and 604800000000 or every_us % 60000000 <> 0
                    then error(
                        'there are no bars of ' || cast(every as varchar)
                        || '; name whole minutes up to a week: 1m, 15m, 4h, 1d, 1w'
                    )
                else true
            end as is_sound
        from told
    ),

    placed as (
        select
            *,
            -- not time_bucket: of a timestamptz it and a sum with days follow the calendar of the session's time zone
            make_timestamptz(
                epoch_us(open_time) - (epoch_us(open_time) - 946857600000000) % epoch_us(cast(every as interval))
            ) as bar_time,
            make_timestamptz(epoch_us(bar_time) + epoch_us(cast(every as interval))) as close_time
        from candles_1m
        where product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD') and (select is_sound from asked)
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
