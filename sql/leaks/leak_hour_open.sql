-- leak_hour_open: planted: the hour's bar, joined by the time it opens, so that every minute knows how its hour ends.
--
-- grain     one row per (product, minute)
-- reads     candles_dense, candles_1h
-- known     when the hour has closed
-- causal    no: planted, the bar is joined by its open time
-- warm-up   0 minutes
--
-- product      exchange product id
-- open_time    UTC start of the minute
-- minute       the same as whole minutes since 1970
-- is_filled    whether nobody traded in this minute
-- close        last trade price, quote currency
-- hour_close   close of the hour's bar over close
create or replace view leak_hour_open as
select
    dense.product,
    dense.open_time,
    dense.minute,
    dense.is_filled,
    dense.close,
    bar.close / dense.close as hour_close
from candles_dense as dense
inner join candles_1h as bar
    on dense.product = bar.product and dense.open_time >= bar.open_time and dense.open_time < bar.close_time;
