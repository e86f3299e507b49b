-- returns: one product's moves over so many minutes, minute by minute, such as from returns('BTC', 60).
--
-- grain        one row per minute whose close that many minutes before exists in the same segment; filled minutes too
-- reads        candles_dense
-- known        at open_time + 1 minute
-- causal       depends on the minute and those before it
-- parameters   coin (BTC-USD, or BTC for it), over_minutes (15 by default)
--
-- product        exchange product id
-- open_time      UTC start of the minute
-- close_before   close that many minutes before, quote currency
-- close          last trade price, quote currency
-- return_bps     10000 * ln(close / close_before), basis points
-- is_filled      whether nobody traded in this minute
create or replace macro returns(coin, over_minutes := 15) as table
    with stepped as (
        select
            *,
            lag(close, cast(over_minutes as integer)) over (partition by segment_start order by minute) as close_before
        from candles_dense
        where product = if(contains(coin, '-'), upper(coin), upper(coin) || '-USD')
    )

    select
        product,
        open_time,
        close_before,
        close,
        1e4 * ln(cast(close as double) / cast(close_before as double)) as return_bps,
        is_filled
    from stepped
    where close_before is not null
    order by open_time;
