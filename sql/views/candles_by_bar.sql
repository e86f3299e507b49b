-- candles_5m: candles of five minutes; a bar counts once its last minute has closed, so join it on its close, never its open.
--
-- grain     one row per (product, bar) with a candle
-- reads     candle_bars
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
-- stored_minutes   minutes with a candle, of 5
create or replace view candles_5m as
select *
from candle_bars(5);

-- candles_15m: candles of fifteen minutes; a bar counts once its last minute has closed, so join it on its close, never its open.
--
-- grain     one row per (product, bar) with a candle
-- carries   candles_5m
-- reads     candle_bars
-- known     at close_time
-- causal    depends on its own bar alone
-- warm-up   0 minutes
--
-- stored_minutes   minutes with a candle, of 15
create or replace view candles_15m as
select *
from candle_bars(15);

-- candles_1h: candles of an hour; a bar counts once its last minute has closed, so join it on its close, never its open.
--
-- grain     one row per (product, hour) with a candle
-- carries   candles_5m
-- reads     candle_bars
-- known     at close_time
-- causal    depends on its own hour alone
-- warm-up   0 minutes
--
-- stored_minutes   minutes with a candle, of 60
create or replace view candles_1h as
select *
from candle_bars(60);

-- candles_1d: candles of a day, UTC; a bar counts once its last minute has closed, so join it on its close, never its open.
--
-- grain     one row per (product, day) with a candle
-- carries   candles_5m
-- reads     candle_bars
-- known     at close_time
-- causal    depends on its own day alone
-- warm-up   0 minutes
--
-- stored_minutes   minutes with a candle, of 1440
create or replace view candles_1d as
select *
from candle_bars(1440);
