-- leak_centred_window: planted: close over the mean of the ten closes before it, itself and the ten after.
--
-- grain     one row per (product, minute)
-- reads     candles_dense
-- known     at open_time + 11 minutes
-- causal    no: planted, the window is centred
-- warm-up   0 minutes
--
-- product     exchange product id
-- open_time   UTC start of the minute
-- minute      the same as whole minutes since 1970
-- is_filled   whether nobody traded in this minute
-- close       last trade price, quote currency
-- smooth_21   close over the centred mean of 21 closes
create or replace view leak_centred_window as
select
    product,
    open_time,
    minute,
    is_filled,
    close,
    close / avg(close) over (
        partition by product, segment_start order by minute
        rows between 10 preceding and 10 following
    ) as smooth_21
from candles_dense;
