-- candles_15m: candles of fifteen minutes; a bar counts once its last minute has closed, so join it on its close, never its open.
--
-- grain     one row per (product, bar) with a candle
-- reads     candles_1m
-- known     at close_time
-- causal    depends on its own bar alone
-- warm-up   0 minutes
--
-- product          exchange product id
-- open_time        UTC start of the bar
-- close_time       UTC start of the next bar: the first moment the row may be used
-- open             first trade price, quote currency
-- high             highest trade price, quote currency
-- low              lowest trade price, quote currency
-- close            last trade price, quote currency
-- volume           traded amount, base currency
-- stored_minutes   minutes with a candle, of 15
create or replace view candles_15m as
select
    product,
    make_timestamptz(epoch_us(open_time) // 900000000 * 900000000) as open_time,
    make_timestamptz(epoch_us(open_time) // 900000000 * 900000000 + 900000000) as close_time,
    arg_min(candles_1m.open, candles_1m.open_time) as open,
    max(candles_1m.high) as high,
    min(candles_1m.low) as low,
    arg_max(candles_1m.close, candles_1m.open_time) as close,
    sum(candles_1m.volume) as volume,
    count(*) as stored_minutes
from candles_1m
group by
    product,
    epoch_us(candles_1m.open_time) // 900000000;
