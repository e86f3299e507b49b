-- leak_whole_history: planted: close in standard deviations from its mean, both over all of history.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     when history ends
-- causal    no: planted, mean and deviation contain every later minute
-- warm-up   0 minutes
--
-- product     exchange product id
-- open_time   UTC start of the minute
-- minute      the same as whole minutes since 1970
-- is_filled   whether nobody traded in this minute
-- close       last trade price, quote currency
-- z_close     (close - mean) / standard deviation
create or replace view leak_whole_history as
select
    product,
    open_time,
    minute,
    is_filled,
    close,
    (close - avg(close) over (partition by product)) / stddev_pop(close) over (partition by product) as z_close
from candles_dense;
