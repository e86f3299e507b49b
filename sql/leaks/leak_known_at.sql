-- leak_known_at: planted: how long after its minute a candle was learned, which is long where it was revised later.
--
-- grain     one row per (product, minute)
-- reads     candles_dense, candles_1m
-- known     at known_at
-- causal    no: planted, when a candle was learned is told by its last version
-- warm-up   0 minutes
--
-- product         exchange product id
-- open_time       UTC start of the minute
-- minute          the same as whole minutes since 1970
-- is_filled       whether nobody traded in this minute
-- close           last trade price, quote currency
-- delay_minutes   known_at less open_time; 0 where nobody traded
create or replace view leak_known_at as
select
    dense.product,
    dense.open_time,
    dense.minute,
    dense.is_filled,
    dense.close,
    coalesce((epoch_us(candle.known_at) - epoch_us(candle.open_time)) / 6e7, 0) as delay_minutes
from candles_dense as dense
left join candles_1m as candle on dense.product = candle.product and dense.open_time = candle.open_time;
